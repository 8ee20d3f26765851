"""What conformal methods return."""
