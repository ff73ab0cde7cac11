"""The checks behind `doctor`: what is wrong here, and what to do. They create, change and start nothing."""
