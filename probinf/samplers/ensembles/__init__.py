"""Ensembles of walkers that move without gradients."""
