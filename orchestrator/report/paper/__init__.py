"""What a paper takes: LaTeX tables."""
