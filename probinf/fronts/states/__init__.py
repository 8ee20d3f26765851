"""State-space models written with NumPyro distributions, for ``from_state_space``."""
