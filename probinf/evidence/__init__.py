"""What is done with posteriors: evidences, comparison, a posterior as the next prior."""
