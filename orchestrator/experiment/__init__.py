"""What is asked: an experiment file, its claims, and the cells that follow from them."""
