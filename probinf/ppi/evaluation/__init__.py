"""Ranking and comparing systems with few judgements."""
