"""Particle Markov chain Monte Carlo: parameters and states of state-space models."""
