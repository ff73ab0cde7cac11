"""What people read in a terminal, in Markdown and as JSON."""
