"""Checks at the door: what users hand in becomes arrays, or an error that names the argument."""
