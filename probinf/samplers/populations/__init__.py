"""What engines share that move a weighted population along a path."""
