"""What else is to be said of a verdict: texts of `words`, and the values in their braces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator import units
from orchestrator.analysis.comparison import Comparison, Finding
from orchestrator.experiment.claims import Claim
from orchestrator.experiment.looks import Looks, marked
from orchestrator.sentences import Sentence
from orchestrator.statistics.intervals import ENOUGH, Interval
from orchestrator.statistics.pairs import Withheld

WITHHELD: Mapping[Withheld, str] = {
    "narrowed": "no verdict while flags leave out planned seeds",
    "open": "no verdict while seeds may still be added",
    "missing": "no verdict while planned cells are missing",
    "few": "no verdict from fewer than {enough} pairs of seeds",
    "no spread": "no spread seen: all pairs say the same, which gives no verdict",
    "lost": "no verdict, because it would not stand with the lost cells at their worst",
}


def doubts(finding: Finding) -> Iterator[Sentence]:
    """Why there is no verdict or what would give one, which cells were lost, and what the verdict assumes."""
    if len(finding.looks.plans) > 1:
        yield _looked(finding.looks)
    if finding.is_last:
        yield "decided once, at the last look: no seeds are added for it", {}
    if finding.waits:
        yield "secondary: waits until every primary claim has a verdict", {}
    if finding.verdict != finding.alone:
        yield "{verdict} if it were the only question", {"verdict": marked(finding.alone, finding.looks.standing)}
    if finding.withheld and not finding.too_few:
        yield WITHHELD[finding.withheld], {"enough": ENOUGH}
    yield from _counsel(finding)
    if finding.collapsed:
        yield "{count} of {cells} cells collapsed", {"count": finding.collapsed, "cells": finding.cells}
    if finding.lost:
        yield _lost(finding)
    if finding.calibrated:
        yield from finding.calibrated.sentences()
    if finding.doubted:
        text = "a sign test disagrees (p = {p}), so the verdict rests on differences being about normal"
        yield text, {"p": f"{finding.signs:.2f}"}


def _counsel(finding: Finding) -> Iterator[Sentence]:
    """What would give a verdict, or that nothing practical would."""
    if finding.seeds_needed:
        yield SEEDS, {"count": finding.seeds_needed}
    if finding.bound is not None:
        text = "no practical number of seeds decides; the 95 % interval leaves a size of up to {bound}"
        yield text, {"bound": units.size(finding.bound, finding.claim.metrics)}


SEEDS = "about {count} seeds would decide if the true difference is as estimated; adding them now is a new look (exploratory), unless `seeds: {{min, max, until}}` planned them"  # noqa: E501 - one key of words.json


def _looked(looks: Looks) -> Sentence:
    plans = {"plans": " → ".join(looks.plans), "count": len(looks.plans)}
    if looks.error is None:
        text = "at least {count} looks (seeds: {plans}); not all cells record which seeds were planned, so the error is not known"  # noqa: E501 - one key of words.json
        return text, plans
    text = "{count} looks (seeds: {plans}): error up to {percent} %"
    return text, plans | {"percent": round(100 * looks.error)}


def looked(comparison: Comparison) -> Iterator[Sentence]:
    """What a reader must know of the number of seeds: that it was changed after results, or that this is not known."""
    looks = comparison.looks
    if comparison.is_narrowed:
        yield "Flags leave out planned seeds: no verdict and no star.", {}
    if looks.standing == "exploratory":
        text = "The seeds were changed after results (seeds: {plans}): verdicts on these cells are exploratory, wrong in up to 5 % for each look; they have no star, and p and intervals are those of one look."  # noqa: E501 - one key of words.json
        yield text, {"plans": " → ".join(looks.plans)}
    if looks.unknown or not looks.plans:
        text = "Looks: not known. Not all cells record which seeds this experiment planned when they began (old, imported and other experiments' cells do not), so nobody can tell whether seeds were added after results; there is no star."  # noqa: E501 - one key of words.json
        yield text, {}


def kinds(comparison: Comparison) -> Sentence | None:
    """By what losses decide, where some do not by raw scores."""
    told = ", ".join(f"{loss} ({by})" for loss, by in comparison.decide_by.items())
    text = "Not raw scores but what 'decide_by' says is compared with the threshold, and called uniform: {losses}."
    return (text, {"losses": told}) if told else None


WRONG = {3: (10, 73), 5: (12, 58), 10: (9, 36), 20: (8, 13)}
"""Percent of simulated experiments, of one claim and no true difference, with a wrong verdict, by seeds: where
differences are exponential, and where one seed in ten collapses by 40 points (benchmarks.verdicts)."""


def assumption(comparison: Comparison) -> Sentence | None:
    """What the verdicts assume of differences, and how often they are wrong where it fails; None without a verdict."""
    # The n of a population counts data sets.
    judged = [finding for finding in comparison.findings if finding.verdict != "undecided"]
    pairs = [finding.difference.n for finding in judged if not finding.claim.population]
    n = min((count for count in pairs if count >= ENOUGH), default=0)
    if not n:
        return None
    about = max(known for known in WRONG if known <= n)
    skew, collapse = WRONG[about]
    text = "Verdicts assume that differences between seeds are about normal. Simulated without a true difference, with {about} seeds: {skew} % of experiments with one claim get a wrong verdict where differences are exponential, {collapse} % where one seed in ten collapses. {n} seeds without a collapse leave it possible in up to {unseen} % of seeds."  # noqa: E501 - one key of words.json
    values = {"about": about, "skew": skew, "collapse": collapse, "n": n}
    return text, values | {"unseen": f"{100 * (1 - 0.05 ** (1 / n)):.0f}"}


def _lost(finding: Finding) -> Sentence:
    values = {"count": finding.lost, "pairs": finding.difference.n + finding.lost}
    if finding.at_worst is None:
        return (
            "{count} of {pairs} pairs lost; the measure has no worst value, so a sign test counts them against",
            values,
        )
    return "{count} of {pairs} pairs lost; at their worst {difference}", values | {
        "difference": shown(finding.at_worst, finding.claim)
    }


def difference(finding: Finding) -> Sentence:
    """What was found; where the samples are too few for it, how many it needs."""
    return finding.too_few.sentence() if finding.too_few else shown(finding.difference, finding.claim)


def shown(interval: Interval, claim: Claim) -> Sentence:
    """`+1.23 [+1.00, +1.46] points, n = 5`, in the unit of the claim's measures."""
    if not interval.n:
        return "no pair of seeds", {}
    return "{difference}, n = {n}", {"difference": units.shown(interval, claim.metrics), "n": interval.n}
