"""Before the first draw: starting points, step sizes, metrics."""
