"""What results say: numbers only, read from the results table and the cells' files."""
