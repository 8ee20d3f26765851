"""From an approximation to the exact posterior: weights where they can be trusted, engines else."""
