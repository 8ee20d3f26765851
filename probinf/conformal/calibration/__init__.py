"""Thresholds from calibration scores, plain, by group, local or weighted."""
