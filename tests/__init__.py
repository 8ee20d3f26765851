"""Tests, and the cases that benches share with them."""
