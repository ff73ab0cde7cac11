"""Small pure functions: numbers in, numbers out."""
