"""What the test samples say of claims: the only evidence where each system has one run, and beside seeds the noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.findings import Finding, Unit, corrected
from orchestrator.analysis.sample_noise import Sampled, over_samples
from orchestrator.analysis.threshold_curves import Curve, Model, summarise
from orchestrator.experiment.claims import Claim
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.questions import Key, Question, questions
from orchestrator.judging.measures import answers, held_out_threshold
from orchestrator.judging.runs import Floats, ScoredRun
from orchestrator.judging.source import ScoresError
from orchestrator.records.files.summaries import SummaryRows
from orchestrator.statistics.intervals import CONFIDENCE, ENOUGH, Interval, mean_interval
from orchestrator.statistics.samples import paired_sample_interval
from orchestrator.statistics.scopes import UNKNOWN, levels
from trainers.metrics.names import FALSE_ACCEPTS
from trainers.metrics.over_identities import _resampled  # pyright: ignore[reportPrivateUsage] - draws that pair systems

Runs = Mapping[Key, Sequence[ScoredRun]]


def by_key(runs: Sequence[ScoredRun]) -> dict[Key, list[ScoredRun]]:
    """The runs of each system in each setting."""
    found = dict[Key, list[ScoredRun]]()
    for run in runs:
        if len(run.sample):
            found.setdefault((*run.place.setting, run.place.system), []).append(run)
    return found


def is_single(runs: Sequence[ScoredRun]) -> bool:
    """Whether no system has a second run in any setting."""
    return all(len(found) == 1 for found in by_key(runs).values())


def curves(runs: Runs) -> Iterator[Curve]:
    """What one threshold does, for each system with scores in each setting."""
    for key, own in runs.items():
        if all("positive" in run.values for run in own):
            models = [Model(run.place.seed, _rows(run), None, held_out_threshold(run)) for run in own]
            found = summarise(*key, models)
            yield from [found] if found else []


def _rows(run: ScoredRun) -> SummaryRows:
    sample = np.arange(len(run.sample), dtype=np.int32)
    # thresholds lie between scores of any precision
    return SummaryRows(sample, run.label.astype(np.int32), run.values["positive"], run.values["rival"])  # pyright: ignore[reportArgumentType]


def noise(experiment: Experiment, runs: Runs) -> tuple[Sampled, ...]:
    """Every claim about a mean over samples in each setting, over the samples of the runs that both systems have."""
    rng = np.random.default_rng(0)
    asked = [question for question in questions(experiment) if not question.claim.is_combined]
    return tuple(each for question in asked if (each := _noise(question, runs, rng)))


def _noise(question: Question, runs: Runs, rng: np.random.Generator) -> Sampled | None:
    claim = question.claim
    if claim.baseline is None:
        return None
    mine, theirs = _of_both(question, runs)
    seeds = sorted(mine.keys() & theirs.keys())
    challenger = [answers(mine[seed], claim.metric) for seed in seeds]
    baseline = [answers(theirs[seed], claim.baseline_metric or claim.metric) for seed in seeds]
    if not seeds or any(each is None for each in (*challenger, *baseline)):
        return None
    mine_of, theirs_of = (np.stack([each for each in found if each is not None]) for found in (challenger, baseline))
    return over_samples(question, seeds, mine_of, theirs_of, rng)


def _of_both(question: Question, runs: Runs) -> tuple[dict[int, ScoredRun], dict[int, ScoredRun]]:
    claim = question.claim
    setting = (question.dataset, question.backbone)
    mine, theirs = (
        {run.place.seed: run for run in runs.get((*setting, name or ""), ())}
        for name in (claim.challenger, claim.baseline)
    )
    return mine, theirs


def judged(comparison: Comparison, experiment: Experiment, runs: Runs) -> Comparison:
    """The comparison with verdicts over samples, for systems with one run each.

    Raises:
        ScoresError: A claim combines settings, for which samples are no pairs.
    """
    if strange := [claim for claim in experiment.claims if claim.is_combined]:
        text = "claim '{}' combines settings, which takes runs under several seeds: each system here has one run."
        raise ScoresError([text.format(claim.id) for claim in strange])
    found = [_finding(each, runs) for each in comparison.findings]
    return replace(comparison, findings=tuple(corrected(found, experiment)))


def _finding(finding: Finding, runs: Runs) -> Finding:
    """A finding over samples; what is no mean over samples stays without a verdict."""
    question = Question(finding.claim, finding.dataset, finding.backbone)
    own, others = _of_both(question, runs)
    interval = _interval(question, own, others, finding.difference.estimate)
    claim = finding.claim
    if interval is None:
        return replace(finding, verdict="undecided", alone="undecided", p=math.nan)
    is_few = interval.n < ENOUGH
    found = UNKNOWN if is_few else levels(interval, claim.direction, claim.tolerance)
    stands = found.verdict(1 - CONFIDENCE)
    has_spread = interval.high > interval.low
    withheld = "few" if is_few else None if has_spread else "no spread"
    return replace(
        finding,
        difference=interval,
        verdict=stands,
        alone=stands,
        p=math.nan if withheld else found.p,
        withheld=withheld,
        seeds_needed=None,
        bound=None,
        signs=math.nan,
        doubted=False,
        unit=_unit(next(iter(own.values()))),
    )


def _unit(run: ScoredRun) -> Unit:
    if "similarity" in run.values:
        return "identities"
    return "samples" if run.group is None else "groups"


def _interval(
    question: Question, mine: Mapping[int, ScoredRun], theirs: Mapping[int, ScoredRun], estimate: float
) -> Interval | None:
    """The difference of two systems for other samples like these; None where samples do not tell."""
    claim = question.claim
    if not mine or (claim.baseline is not None and not theirs):
        return None
    (own,) = mine.values()
    if claim.metric.startswith("verification_"):
        return _over_identities(claim, own, next(iter(theirs.values()), None), estimate)
    challenger = answers(own, claim.metric)
    if challenger is None:
        return None
    if claim.baseline is None:
        return mean_interval(challenger.astype(np.float64).tolist())
    (other,) = theirs.values()
    baseline = answers(other, claim.baseline_metric or claim.metric)
    if baseline is None:
        return None
    if _is_right_or_wrong(own, other) and own.group is None:
        return paired_sample_interval(challenger == 1, baseline == 1)
    return _over_groups((challenger - baseline).tolist(), own, other)


def _is_right_or_wrong(*runs: ScoredRun) -> bool:
    """Whether each sample of these runs adds 0 or 1 to a measure."""
    return all("value" not in run.values or bool(np.isin(run.values["value"], (0, 1)).all()) for run in runs)


def _over_groups(differences: list[float], own: ScoredRun, other: ScoredRun) -> Interval:
    """The mean over groups, or over values; where samples are right or wrong, with one more of each for the spread.

    As in `paired_sample_interval`, one sample more that only the one system gets right, and one more for the other: a
    few samples on which the systems differ would otherwise have a spread that is too small.
    """
    found = mean_interval(differences)
    if not _is_right_or_wrong(own, other):
        return found
    unit = len(differences) / len(own.sample)
    wider = mean_interval([*differences, unit, -unit])
    half = (wider.high - wider.low) / 2
    return Interval(found.estimate, found.estimate - half, found.estimate + half, found.n)


def _over_identities(claim: Claim, mine: ScoredRun, theirs: ScoredRun | None, estimate: float) -> Interval | None:
    """The difference of two rates, identities drawn with replacement, the same for both systems."""
    names = ["verification_eer", *(f"verification_{name}" for name in FALSE_ACCEPTS)]
    metrics = (claim.metric, claim.baseline_metric or claim.metric)
    if theirs is None or not {*metrics} <= {*names} or "similarity" not in {*mine.values} & {*theirs.values}:
        return None
    drawn = [_draws(run)[:, names.index(metric)] for run, metric in zip((mine, theirs), metrics, strict=True)]
    if not drawn[0].size or math.isnan(estimate):
        return None
    difference = drawn[0] - drawn[1]
    low, high = map(float, np.percentile(difference, [100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2]))
    people = np.unique([mine.values["identity_a"], mine.values["identity_b"]]).size
    return Interval(estimate, low, high, people)


def _draws(run: ScoredRun) -> Floats:
    values = run.values
    identities = np.stack([values["identity_a"], values["identity_b"]], axis=1)
    found = list(_resampled(values["similarity"], values["genuine"] == 1, identities, [*FALSE_ACCEPTS.values()]))
    return np.array(found).reshape(-1, 1 + len(FALSE_ACCEPTS))
