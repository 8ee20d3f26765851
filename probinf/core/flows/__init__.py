"""Spline flows: densities on vectors that can be drawn from exactly."""
