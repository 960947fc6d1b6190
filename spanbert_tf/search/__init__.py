"""What vectors of texts are good for: search, classes by example, recommendation."""
