"""Layers: tensors in, tensors out, on every Keras backend."""
