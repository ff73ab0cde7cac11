"""What people read, in three media. Reads results only."""
