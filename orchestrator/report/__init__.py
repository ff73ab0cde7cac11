"""What people read: comparisons, tables, live progress. Reads results only."""
