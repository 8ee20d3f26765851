"""Surrogates: networks in the place of expensive likelihoods, and what makes them exact."""
