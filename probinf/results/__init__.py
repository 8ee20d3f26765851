"""What an engine found out: draws, summaries, findings, files and pictures."""
