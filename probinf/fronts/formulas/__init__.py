"""Regressions from formulas: ``y ~ x + (1 | group)`` and a DataFrame become a Program."""
