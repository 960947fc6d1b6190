"""Encoders on disk: Hugging Face folders, SavedModels, and the table that pairs their weights."""
