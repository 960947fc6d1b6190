"""The command `spanbert-tf`."""
