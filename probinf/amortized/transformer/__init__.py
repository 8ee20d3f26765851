"""Distribution Transformers: a prior and observations in, the posterior out."""
