"""The registry: an index of plans, attempts and what was left, in SQL."""
