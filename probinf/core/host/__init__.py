"""Likelihoods that are ordinary Python: asked of the host between two compiled calls."""
