"""What a network says of an outcome: densities, labels, mixtures."""
