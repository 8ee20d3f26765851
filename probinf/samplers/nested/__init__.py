"""Nested sampling, static and dynamic."""
