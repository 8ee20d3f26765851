"""Neural posterior and likelihood estimation."""
