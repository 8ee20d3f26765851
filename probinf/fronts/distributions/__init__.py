"""What NumPyro distributions lack, completed: draws, inverses, bounds of supports."""
