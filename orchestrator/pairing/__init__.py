"""Pairs of losses: trained in one environment, on one seed; and what the pairs say of a claim."""
