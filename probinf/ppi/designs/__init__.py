"""How rows are sampled and labelled: designs, active labelling, plans."""
