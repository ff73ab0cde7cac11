"""Which cells come next, if results decide it: more seeds, and trials of a tuning stage."""
