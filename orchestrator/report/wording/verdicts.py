"""What was found on a claim, what else is to be said of its verdict, and what all verdicts hold against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.findings import Finding, Unit
from orchestrator.experiment import units
from orchestrator.experiment.claims import Claim
from orchestrator.experiment.looks import Looks, marked
from orchestrator.experiment.stated import Dated
from orchestrator.sentences import Sentence
from orchestrator.statistics.intervals import ENOUGH, Interval
from orchestrator.statistics.pairs import Withheld

MARK = "†"
"""At a verdict about two losses that were not given the same."""

WITHHELD: Mapping[Withheld, str] = {
    "narrowed": "no verdict while flags leave out planned seeds",
    "open": "no verdict while seeds may still be added",
    "missing": "no verdict while planned cells are missing",
    "few": "no verdict from fewer than {enough} pairs of seeds",
    "no spread": "no verdict: all pairs give the same difference, so its spread is unknown",
    "lost": "no verdict, because it would not stand with the lost cells at their worst",
}

TOO_FEW_SAMPLES = "no verdict from fewer than {enough} test samples, or groups of them"

OVER: Mapping[Unit, str] = {
    "samples": "{difference}, n = {n} test samples",
    "groups": "{difference}, n = {n} groups of test samples",
    "identities": "{difference}, n = {n} identities",
}
"""What was found, where it is not over seeds."""

SEEDS = "about {count} seeds should decide it, if the true difference is the observed one; adding them now is a new look (exploratory), unless `seeds: {{min, max, until}}` planned them"  # noqa: E501 - one key of words.json


def difference(finding: Finding) -> Sentence:
    """What was found; where the samples are too few for it, how many it needs."""
    if finding.too_few:
        return finding.too_few.sentence()
    if finding.unit in OVER and finding.difference.n:
        values = {"difference": units.shown(finding.difference, finding.claim.metrics), "n": finding.difference.n}
        return OVER[finding.unit], values
    return shown(finding.difference, finding.claim)


def shown(interval: Interval, claim: Claim) -> Sentence:
    """`+1.23 [+1.00, +1.46] points, n = 5`, in the unit of the claim's measures."""
    if not interval.n:
        return "no pair of seeds", {}
    return "{difference}, n = {n}", {"difference": units.shown(interval, claim.metrics), "n": interval.n}


def mark(finding: Finding) -> str:
    """The mark of a verdict that comes of unequal conditions; else nothing."""
    return MARK if finding.unequal else ""


def doubts(finding: Finding) -> Iterator[Sentence]:
    """What was unequal, why there is no verdict or what would give one, what was lost, and what is assumed."""
    if finding.unequal:
        reasons = joined([each.sentence for each in finding.unequal])
        yield "{mark} unequal conditions: {reasons}", {"mark": MARK, "reasons": reasons}
    if finding.looks.standing == "exploratory":
        yield _changed(finding.looks)
    if finding.is_last:
        yield "decided once, at the last look: no seeds are added for it", {}
    if finding.waits:
        yield "secondary: waits until every primary claim has a verdict", {}
    if finding.verdict != finding.alone:
        alone = marked(finding.alone, finding.looks.standing), {}
        yield "{verdict} before correction for the other questions", {"verdict": alone}
    if finding.withheld and not finding.too_few:
        text = TOO_FEW_SAMPLES if finding.unit in OVER and finding.withheld == "few" else WITHHELD[finding.withheld]
        yield text, {"enough": ENOUGH}
    yield from _advice(finding)
    yield from _losses(finding)
    if finding.doubted:
        text = "a sign test disagrees (p = {p}), so the verdict depends on differences being approximately normal"
        yield text, {"p": f"{finding.signs:.2f}"}


def joined(sentences: Sequence[Sentence]) -> Sentence:
    """Several as one, with semicolons between them."""
    first, *rest = sentences
    return ("{first}; {rest}", {"first": first, "rest": joined(rest)}) if rest else first


def _changed(looks: Looks) -> Sentence:
    values = {"plans": " → ".join(looks.plans), "back": "; ".join(looks.taken_back), "count": looks.least}
    what: Sentence = ("seeds: {plans}; taken back: {back}" if looks.taken_back else "seeds: {plans}", values)
    if looks.error is None:
        text = (
            "at least {count} looks ({what}); not all cells record which seeds were planned, so the error is not known"
        )
        return text, values | {"what": what}
    return "{count} looks ({what}): error up to {percent} %", values | {
        "what": what,
        "percent": round(100 * looks.error),
    }


def _advice(finding: Finding) -> Iterator[Sentence]:
    """What would give a verdict, or that nothing practical would."""
    if finding.seeds_needed:
        yield SEEDS, {"count": finding.seeds_needed}
    if finding.bound is not None:
        text = "no practical number of seeds decides it; the 95 % interval allows a difference of up to {bound}"
        yield text, {"bound": units.size(finding.bound, finding.claim.metrics)}


def _losses(finding: Finding) -> Iterator[Sentence]:
    """Which cells collapsed or were lost, and at which temperatures the others were judged."""
    if finding.collapsed:
        yield "{count} of {cells} cells collapsed", {"count": finding.collapsed, "cells": finding.cells}
    if finding.lost:
        yield _lost(finding)
    if finding.calibrated:
        yield from finding.calibrated.sentences()


def _lost(finding: Finding) -> Sentence:
    values = {"count": finding.lost, "pairs": finding.difference.n + finding.lost}
    if finding.at_worst is None:
        text = "{count} of {pairs} pairs lost; the measure has no worst value, so a sign test counts them against it"
        return text, values
    worst = shown(finding.at_worst, finding.claim)
    return "{count} of {pairs} pairs lost; at their worst {difference}", values | {"difference": worst}


STATED: Mapping[Dated, str] = {
    "before": "stated before these cells ran",
    "after": "STATED AFTER RESULTS",
    "unknown": "time of statement unknown",
}


def heading(comparison: Comparison) -> str:
    """When the claims were stated, and how often results were seen; for media without a section for each."""
    words = {comparison.when(finding.claim).word for finding in comparison.findings}
    when = "SOME STATED AFTER RESULTS" if "after" in words and len(words) > 1 else STATED[comparison.when_all]
    return f"Claims, {when}{_looks(comparison)}"


def _looks(comparison: Comparison) -> str:
    found = [finding.looks for finding in comparison.findings]
    if several := [looks.least for looks in found if looks.standing == "exploratory"]:
        errors = [looks.error for looks in found if looks.standing == "exploratory"]
        known = [error for error in errors if error is not None]
        error = f"error up to {100 * max(known):.0f} %" if len(known) == len(errors) else "error not known"
        return f"; EXPLORATORY ({'up to ' if len(set(several)) > 1 else ''}{max(several)} looks, {error})"
    return "; looks: not known" if any(looks.standing == "unknown" for looks in found) else ""


def held(comparison: Comparison) -> list[Sentence]:
    """What the verdicts hold against; nothing of one alone."""
    count = len(comparison.findings)
    if comparison.sequence and count:
        text = "The verdicts hold for all {count} at once, and at every look (Bonferroni)."
        return [(text if count > 1 else "The verdict holds at every look (Bonferroni).", {"count": count})]
    if second := comparison.secondary:
        text = "The verdicts hold for all {count} primary claims at once, then for the {second} secondary ones (Holm)."
        return [(text, {"count": count - second, "second": second})]
    return [("The verdicts hold for all {count} at once (Holm).", {"count": count})] if count > 1 else []


WRONG = {3: (10, 73), 5: (12, 58), 10: (9, 36), 20: (8, 13)}
"""Percent of simulated experiments, of one claim and no true difference, with a wrong verdict, by seeds: where
differences are exponential, and where one seed in ten collapses by 40 points (benchmarks.verdicts)."""


def assumed(comparison: Comparison) -> list[Sentence]:
    """What verdicts assume of differences, and how often they are wrong where it fails; nothing without one."""
    # The n of a population counts data sets.
    judged = [each for each in comparison.findings if each.verdict != "undecided" and each.unit == "seeds"]
    pairs = [finding.difference.n for finding in judged if not finding.claim.population]
    n = min((count for count in pairs if count >= ENOUGH), default=0)
    if not n:
        return []
    about = max(known for known in WRONG if known <= n)
    skew, collapse = WRONG[about]
    text = "Verdicts assume that differences between seeds are approximately normal. In simulations without a true difference, with {about} seeds, {skew} % of experiments with one claim get a wrong verdict if differences are exponential, and {collapse} % if one seed in ten collapses. {n} seeds without a collapse do not exclude collapses in up to {unseen} % of seeds."  # noqa: E501 - one key of words.json
    values = {"about": about, "skew": skew, "collapse": collapse, "n": n}
    return [(text, values | {"unseen": f"{100 * (1 - 0.05 ** (1 / n)):.0f}"})]
