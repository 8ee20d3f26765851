"""From an approximation to the exact posterior."""
