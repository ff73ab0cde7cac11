"""Running cells: one protocol, two places — this process, or a Ray cluster."""
