"""Tasks behind HTTP: TensorFlow Serving's REST API, for every format.

`spanbert-tf serve` is the way in.  A request goes through these modules:

    application (HTTP, limits) -> rest (JSON <-> texts and tensors) -> models (which version?)
    -> batching (joined with others) -> asking (the task)
"""
