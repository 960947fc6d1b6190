"""Networks with their preprocessing, loss and decoding: the backbone and one file per task."""
