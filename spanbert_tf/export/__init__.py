"""SavedModels: written for TF Hub and TF Serving, and loaded again."""
