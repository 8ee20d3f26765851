"""From an estimating equation to a result: moments, tuning, tests, the printed table."""
