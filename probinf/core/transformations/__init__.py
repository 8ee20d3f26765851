"""Programs out of programs: paths to them, other bases, other coordinates, extensions."""
