"""What is wrong here, and what to do: the checks behind `doctor`. They create, change and start nothing."""
