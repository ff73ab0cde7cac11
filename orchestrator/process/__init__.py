"""This process on its machine: the signals that end it, the time it waits for others, and its temporary folders."""
