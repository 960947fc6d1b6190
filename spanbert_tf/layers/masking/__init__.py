"""Span masking: which pieces are masked, and by what."""
