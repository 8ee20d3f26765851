"""Intervals and regions for numbers."""
