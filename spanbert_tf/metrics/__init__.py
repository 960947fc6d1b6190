"""The figures by which each task is judged."""
