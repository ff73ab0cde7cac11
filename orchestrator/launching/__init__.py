"""A launch: its stages, each a plan that is carried out, recorded and reported to people."""
