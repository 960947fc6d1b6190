"""Raw text to a prepared corpus."""
