"""Judges anybody's scores: they become rows as those of cells, and from there on everything is the same."""
