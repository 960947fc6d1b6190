"""What makes answers of what a task's network decided, where that is more than a few lines."""
