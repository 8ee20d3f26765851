"""Conformal sets from posteriors."""
