"""Effective sizes, R-hat and weighted quantiles of draws; public as ``probinf.diagnostics``."""
