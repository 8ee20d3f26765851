"""Calibrated probabilities of labels."""
