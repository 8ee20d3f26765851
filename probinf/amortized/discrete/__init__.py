"""Any-marginal models of discrete variables."""
