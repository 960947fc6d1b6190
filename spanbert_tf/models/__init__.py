"""Networks with their preprocessing, loss and decoding: the backbone and one file per task."""

# Before any of them, so that all register with it: `spanbert_tf._register_classes` must meet none
# that is half loaded.
import keras_hub  # noqa: F401
