"""What networks are trained on: laws of tasks."""
