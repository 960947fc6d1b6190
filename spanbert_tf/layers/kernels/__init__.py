"""Fast forms of what layers are made of."""
