"""The findings of a comparison: what the results say of each claim, with verdicts corrected for all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from orchestrator.adaptive.seeds import ALPHA, Row, decided, look, partners
from orchestrator.analysis.fairness import Inequality
from orchestrator.analysis.limits import Calibrated, TooFew
from orchestrator.analysis.settings import keys_of
from orchestrator.experiment.claims import Claim
from orchestrator.experiment.looks import NOT_KNOWN, Looked, Looks, leaves_out, marked
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.questions import Key, Part, Question, followed, followed_together, parts, verdicts
from orchestrator.experiment.seed_rule import Sequential
from orchestrator.outcome import Result
from orchestrator.pairing import followed as over_settings
from orchestrator.pairing.blocks import is_cell
from orchestrator.pairing.combination import Together, combine
from orchestrator.pairing.evidence import evidence
from orchestrator.statistics import multiplicity, power
from orchestrator.statistics.intervals import Interval
from orchestrator.statistics.pairs import Judgement, SeedRule, Withheld, judge
from orchestrator.statistics.verdicts import Verdict

Unit = Literal["seeds", "samples", "groups", "identities"]
"""What an interval is over; all but seeds only where each system has one run."""


@dataclass(frozen=True)
class Finding:
    """What the results of one setting, or of several together, say of one claim."""

    claim: Claim
    dataset: str
    """Empty where the verdict is on several."""
    backbone: str
    """The same."""
    difference: Interval
    """With its 95 % interval: of one look, or where seeds are sequential of all looks together."""
    verdict: Verdict
    """After correction for the number of claims and settings."""
    alone: Verdict
    """The verdict before correction for the other questions."""
    p: float
    """How sure it is (`scopes.Levels`), adjusted by Holm over all findings; where seeds are sequential by Bonferroni,
    and NaN for claims that are looked at after every seed."""
    seeds_needed: int | None = None
    """How many seeds in all would decide if the true difference is as estimated; None if decided or unknown, and where
    `power.PRACTICAL` would not."""
    cells: int = 0
    """Results of both losses."""
    collapsed: int = 0
    diverged: int = 0
    lost: int = 0
    """Pairs of which a cell diverged or lacks the measure: they count as the worst, and a verdict stands with them."""
    at_worst: Interval | None = None
    """The difference with these at the measure's bound; None where there are none, or no bound."""
    withheld: Withheld | None = None
    """Why there is no verdict, where it is not the interval alone."""
    signs: float = math.nan
    """p of a sign test of the verdict; NaN without a verdict or with too few pairs."""
    doubted: bool = False
    """Whether that test disagrees sharply, so that the verdict rests on differences being about normal."""
    bound: float | None = None
    """The largest size of the difference that is left open, where no practical number of seeds would decide."""
    unequal: tuple[Inequality, ...] = ()
    """What the two losses were not given equally."""
    parts: int = 1
    """How many settings, or comparisons of settings, the verdict is on."""
    decisive: str | None = None
    """Of a claim about all or some of them, the one whose difference this is, which decides."""
    is_last: bool = False
    """Whether it is decided once, when no more seeds are to come that other claims ask for."""
    calibrated: Calibrated | None = None
    """The temperatures of calibrated probabilities that it rests on; None where it rests on none."""
    too_few: TooFew | None = None
    """A rate that the samples cannot carry, for which there is no figure; None where there is none."""
    waits: bool = False
    """Whether the claim is secondary and some primary one has no verdict yet."""
    looks: Looks = NOT_KNOWN
    """Under how many plans of seeds its cells began: with several, its verdict is exploratory."""
    unit: Unit = "seeds"
    """Over what the interval is, and what its n counts."""

    @property
    def marked(self) -> str:
        """The verdict, with what looks make of it."""
        return marked(self.verdict, self.looks.standing)


def findings_of(
    experiment: Experiment,
    by_key: Mapping[Key, Sequence[Row]],
    whole: Experiment | None = None,
    looked: Looked | None = None,
) -> Iterator[Finding]:
    """Verdicts that stand although many were asked for, with the seeds that open ones still need, and their looks.

    Args:
        experiment: What is asked.
        by_key: The results, of replicas, too, by dataset, backbone and loss.
        whole: The experiment as its file has it, where flags leave something out.
        looked: Under which plans of seeds cells began; not known without it.
    """
    seen = SeenLooks(looked, experiment)
    for finding in _found(experiment, by_key, whole or experiment):
        yield replace(finding, looks=seen.at(finding))


class SeenLooks(NamedTuple):
    """The looks at what an experiment compares."""

    looked: Looked | None
    experiment: Experiment

    def at(self, finding: Finding) -> Looks:
        """At what a finding rests on."""
        return self._of(key for question in questions_of(finding, self.experiment) for key in question.measures)

    def of(self, question: Question) -> Looks:
        """At a claim in one setting."""
        return self._of(question.measures)

    def fixed(self) -> frozenset[Key]:
        """The losses in settings of which, and of the baseline there, the number of seeds was planned."""
        baseline = self.experiment.baseline
        pairs = {key: (key, (*key[:2], baseline)) for key in keys_of(self.experiment)}
        return frozenset(key for key, both in pairs.items() if self._of(both).standing == "planned")

    def everywhere(self) -> Looks:
        """At any of it."""
        return self._of(keys_of(self.experiment))

    def _of(self, keys: Iterable[Key]) -> Looks:
        return self.looked.at(keys) if self.looked else NOT_KNOWN


def questions_of(finding: Finding, experiment: Experiment) -> Iterator[Question]:
    """The questions that a finding answers."""
    for part in parts(finding.claim, experiment):
        first = part.questions[0]
        if finding.dataset in ("", first.dataset) and finding.backbone in ("", first.backbone):
            yield from part.questions


def _found(experiment: Experiment, by_key: Mapping[Key, Sequence[Row]], whole: Experiment) -> Iterator[Finding]:
    if experiment.sequence:
        yield from _of_sequence(experiment, by_key, experiment.sequence, whole)
    else:
        found = [found for claim in experiment.claims for found in _of_claim(claim, experiment, by_key)]
        if leaves_out(whole, experiment):
            found = [_without_verdict(each, "narrowed") for each in found]
        yield from corrected(found, whole)


def _without_verdict(finding: Finding, why: Withheld) -> Finding:
    """The difference alone."""
    none: dict[str, Any] = {"verdict": "undecided", "alone": "undecided", "withheld": why}
    return replace(finding, **none, p=math.nan, signs=math.nan, doubted=False)


def _of_sequence(
    experiment: Experiment, by_key: Mapping[Key, Sequence[Row]], rule: Sequential, whole: Experiment
) -> Iterator[Finding]:
    """Verdicts of claims that are looked at after every seed, and of the others once these ask for no more."""
    sizes = {family: max(verdicts(each, family) for each in (whole, experiment)) for family in FAMILIES}
    found: dict[str, list[Finding]] = {claim.id: [] for claim in experiment.claims}
    for question in followed(experiment):
        found[question.claim.id].append(_in_sequence(question, by_key, rule, sizes["primary"]))
    is_open = any(_may_ask(finding, by_key, rule) for findings in found.values() for finding in findings)
    together = followed_together(experiment)
    for claim in together:
        found[claim.id] = [_followed_together(claim, experiment, by_key, sizes["primary"])]
        is_open |= found[claim.id][0].verdict == "undecided" and bool(may_get_seeds(claim, experiment, by_key))
    others = [claim for claim in experiment.claims if not claim.is_followed and claim not in together]
    for family, claims in ((name, [each for each in others if each.family == name]) for name in FAMILIES):
        own = {claim.id: list(_of_claim(claim, experiment, by_key, rule)) for claim in claims}
        primary = [each for findings in found.values() for each in findings if each.claim.family == "primary"]
        decided_all = len(primary) >= sizes["primary"] and all(each.verdict != "undecided" for each in primary)
        is_shut = family == "secondary" and not decided_all
        for name, findings in own.items():
            found[name] = [_at_last(each, sizes[family], is_open=is_open, is_shut=is_shut) for each in findings]
    yield from (finding for claim in experiment.claims for finding in found[claim.id])


def _may_ask(finding: Finding, by_key: Mapping[Key, Sequence[Row]], rule: Sequential) -> bool:
    """Whether a claim that is followed may still ask for seeds."""
    if finding.verdict != "undecided":
        return False
    question = Question(finding.claim, finding.dataset, finding.backbone)
    first = set(range(rule.min))
    if any(first - {row["seed"] for row in by_key.get(key, ())} for key in question.measures):
        return True
    pairs = evidence(finding.claim, *partners(question, by_key), ())
    # where all of the first seeds are lost, later ones are not asked for
    return bool(pairs.complete) and len(pairs.challenger) < rule.max


def _followed_together(
    claim: Claim, experiment: Experiment, by_key: Mapping[Key, Sequence[Row]], family: int
) -> Finding:
    """What the results say of a claim over several settings at any look, among as many as are asked (Bonferroni)."""

    def rows(question: Question) -> tuple[list[Row], list[Row]]:
        return partners(question, by_key)

    finding = _finding(claim, parts(claim, experiment), by_key, over_settings.judged(claim, experiment, rows))
    p = min(1.0, finding.p * family)
    return replace(finding, verdict=finding.alone if p <= ALPHA else "undecided", p=p)


def may_get_seeds(claim: Claim, experiment: Experiment, by_key: Mapping[Key, Sequence[Row]]) -> list[Question]:
    """The questions of an undecided claim over several settings for which seeds may still be added."""
    alpha = ALPHA / max(1, verdicts(experiment, "primary"))
    return over_settings.may_get_seeds(claim, experiment, lambda question: partners(question, by_key), alpha)


def _at_last(finding: Finding, family: int, *, is_open: bool, is_shut: bool) -> Finding:
    """A finding of a claim that is decided once, with what stands among all of its family (Bonferroni)."""
    if is_open:
        return replace(_without_verdict(finding, "open"), is_last=True)
    p = min(1.0, finding.p * family)
    stands = finding.alone if p <= ALPHA and not is_shut else "undecided"
    return replace(finding, verdict=stands, p=p, waits=is_shut, is_last=True)


def _of_claim(
    claim: Claim, experiment: Experiment, by_key: Mapping[Key, Sequence[Row]], rule: Sequential | None = None
) -> Iterator[Finding]:
    """What the results say of a claim before correction for other questions: in each setting, or once for all."""
    found = parts(claim, experiment)
    limits = rule and SeedRule(rule.min, rule.max)
    seeds = range(rule.min) if rule else experiment.seeds
    if not claim.is_combined:
        yield from (at_once(part.questions[0], by_key, seeds, limits) for part in found)
    elif claim.over == "each":
        yield from (_together(claim, [part], by_key, seeds, limits) for part in found)
    elif found:
        yield _together(claim, found, by_key, seeds, limits)


def _together(
    claim: Claim,
    found: Sequence[Part],
    by_key: Mapping[Key, Sequence[Row]],
    seeds: Sequence[int],
    rule: SeedRule | None = None,
) -> Finding:
    """One verdict on several effects."""
    return _finding(
        claim, found, by_key, combine(claim, found, lambda question: partners(question, by_key), seeds, rule)
    )


def _finding(claim: Claim, found: Sequence[Part], by_key: Mapping[Key, Sequence[Row]], together: Together) -> Finding:
    keys = {key for part in found for question in part.questions for key in question.measures}
    rows = [[row for row in by_key.get(key, ()) if is_cell(row)] for key in keys]
    first = found[0].questions[0]
    is_one = claim.over == "each"
    along = claim.trend.axis if claim.trend else None
    return Finding(
        claim,
        dataset=first.dataset if is_one and along != "dataset" else "",
        backbone=first.backbone if is_one and along != "backbone" else "",
        **_judged(together.judgement),
        cells=sum(map(len, rows)),
        collapsed=count_in_state("collapsed", *rows),
        diverged=count_in_state("diverged", *rows),
        parts=len(found),
        decisive=together.decisive,
    )


def _judged(found: Judgement) -> dict[str, Any]:
    """What a finding has of a judgement if its question is the only one."""
    return {
        "difference": found.difference,
        "verdict": found.verdict,
        "alone": found.verdict,
        "p": found.p,
        "lost": found.lost,
        "at_worst": found.at_worst,
        "withheld": found.withheld,
        "signs": found.signs,
        "doubted": found.is_doubted,
    }


def at_once(
    question: Question, by_key: Mapping[Key, Sequence[Row]], seeds: Sequence[int], rule: SeedRule | None = None
) -> Finding:
    """What the results say of a claim in one setting before correction for other questions."""
    claim = question.claim
    challenger, baseline = partners(question, by_key)
    found = judge(evidence(claim, challenger, baseline, seeds), claim.direction, claim.tolerance, rule)
    return Finding(
        *question,
        **_judged(found),
        cells=len(challenger) + len(baseline),
        collapsed=count_in_state("collapsed", challenger, baseline),
        diverged=count_in_state("diverged", challenger, baseline),
    )


def _in_sequence(question: Question, by_key: Mapping[Key, Sequence[Row]], rule: Sequential, asked: int) -> Finding:
    """What the results say of a claim in one setting, looked at after every seed, among as many as are asked."""
    claim = question.claim
    challenger, baseline = partners(question, by_key)
    pairs = evidence(claim, challenger, baseline, ())
    found = judge(pairs, claim.direction, claim.tolerance)
    stands = decided(claim, challenger, baseline, rule, ALPHA / asked)
    # The last look has half of alpha, and no later one could come.
    advice = None if stands != "undecided" else power.advice(found.difference, claim.tolerance, ALPHA / asked / 2)
    return Finding(
        *question,
        difference=look(claim, challenger, baseline, rule),
        verdict=stands,
        alone=decided(claim, challenger, baseline, rule),
        p=math.nan,
        **_advised(advice),
        cells=len(challenger) + len(baseline),
        collapsed=count_in_state("collapsed", challenger, baseline),
        diverged=count_in_state("diverged", challenger, baseline),
        lost=found.lost,
        at_worst=found.at_worst,
        withheld=found.withheld if stands == "undecided" else None,
    )


def count_in_state(state: Result, *rows: Sequence[Row]) -> int:
    """How many of some rows are in a state."""
    return sum(row["state"] == state for each in rows for row in each)


def corrected(findings: Sequence[Finding], whole: Experiment) -> Iterator[Finding]:
    """The findings in their order, with verdicts that stand among all of their family and after those before it."""
    found = {name: [finding.p for finding in findings if finding.claim.family == name] for name in FAMILIES}
    sizes = {name: max(verdicts(whole, name), len(found[name])) for name in FAMILIES}
    # what flags leave out is asked nevertheless
    padded = [[*found[name], *[math.nan] * (sizes[name] - len(found[name]))] for name in FAMILIES]
    adjusted = multiplicity.gated(padded)
    is_shut = bool((adjusted[0] > ALPHA).any() or np.isnan(adjusted[0]).any())
    ordered = dict(zip(FAMILIES, map(iter, adjusted), strict=True))
    for finding in findings:
        claim = finding.claim
        p = float(next(ordered[finding.claim.family]))
        stands = finding.alone if p <= ALPHA else "undecided"
        waits = claim.family == "secondary" and is_shut
        is_open = stands == "undecided" and finding.withheld is None and not waits and _is_over_seeds(finding)
        alpha = ALPHA / sizes[claim.family]
        advice = power.advice(finding.difference, claim.tolerance, alpha) if is_open else None
        yield replace(finding, verdict=stands, p=p, waits=waits, **_advised(advice))


FAMILIES = ("primary", "secondary")


def _is_over_seeds(finding: Finding) -> bool:
    """Whether the shown interval alone decides, and more seeds make it narrower."""
    claim = finding.claim
    return finding.unit == "seeds" and claim.over in {"each", "mean"} and not claim.population


def _advised(advice: power.Advice | None) -> dict[str, Any]:
    """How many seeds would decide, or that no practical number would."""
    if advice is None:
        return {}
    return {"seeds_needed": advice.seeds, "bound": advice.bound if advice.seeds is None else None}
