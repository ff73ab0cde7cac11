"""A launch: its stages, each a plan that is run, recorded and shown to people."""
