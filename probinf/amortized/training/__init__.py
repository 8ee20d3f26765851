"""Training, its checkpoints, and weights on disk."""
