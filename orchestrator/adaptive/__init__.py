"""Which cells come next, where results decide it: more seeds, and trials of a tuning stage."""
