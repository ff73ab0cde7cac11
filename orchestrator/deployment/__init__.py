"""A model in use: its file and certificate, and whether new lots keep what was promised."""
