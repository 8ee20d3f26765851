"""Driving a run: compiled chunks, progress, interruption, and folders from which it continues."""
