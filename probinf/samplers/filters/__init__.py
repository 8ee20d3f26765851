"""Filters and smoothers of state-space programs: by particles, and exact ones."""
