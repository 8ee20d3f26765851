"""Online calibration: long-run coverage on any sequence, one compiled scan over many series."""
