"""Nonconformity scores: how strange an outcome is, given a prediction."""
