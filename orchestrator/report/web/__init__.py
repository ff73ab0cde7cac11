"""What people read in a browser: one HTML page, in English and in Japanese."""
