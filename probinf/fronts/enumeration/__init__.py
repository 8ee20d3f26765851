"""Discrete latent sites summed out exactly, and found again given draws of the others."""
