"""Networks: attention, embeddings, flows."""
