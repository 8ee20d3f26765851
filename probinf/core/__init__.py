"""The representation: programs, transformations, weighted populations, checks at the door."""
