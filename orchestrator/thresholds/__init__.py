"""What a threshold does in use, and which one to choose."""
