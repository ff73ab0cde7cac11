"""What a paper takes: LaTeX tables and figures by matplotlib."""
