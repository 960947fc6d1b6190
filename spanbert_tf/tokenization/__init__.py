"""Text to word pieces, equal to Hugging Face's, inside TensorFlow graphs."""
