"""Networks: attention, embeddings, ensembles, regressions."""
