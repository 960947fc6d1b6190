"""Rows of tokens to batches with little padding."""
