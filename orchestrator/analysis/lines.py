"""The lines of a comparison: each loss in each setting, with its means and its differences to the baseline."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.adaptive.seeds import Row, by_seed
from orchestrator.analysis.findings import Finding, count_in_state, may_get_seeds
from orchestrator.analysis.settings import keys_of, settings_of
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.questions import Key, Question
from orchestrator.outcome import has_figures
from orchestrator.pairing.blocks import is_cell, met, unpaired
from orchestrator.pairing.evidence import step
from orchestrator.statistics import multiplicity, paired
from orchestrator.statistics.intervals import Interval, mean_interval, paired_interval
from orchestrator.statistics.proportions import wilson

DRAWS = 10_000
"""Bootstrap resamples."""

ENOUGH_SEEDS = 20
"""Seeds from which a bootstrap interval over them is given. Where it says 95 %, it holds the truth in 91 to 95 of
100 cases with 20 seeds, in 84 to 93 with 5, and in 49 to 77 with 2."""


class TestedDifference(NamedTuple):
    """What tests say of one paired difference to the baseline."""

    t: float
    """p of Student's paired t test, to which the interval belongs."""
    holm: float
    """The same, so adjusted that of the whole table no difference is found wrongly (Holm 1979)."""
    fdr: float
    """The same, so adjusted that of those found few are found wrongly (Benjamini & Hochberg 1995)."""
    sign_flip: float
    """p of the exact sign-flip permutation test, which assumes no distribution."""
    bca_low: float
    bca_high: float
    effect: float
    """Hedges' d_z."""
    win: int
    tie: int
    loss: int


@dataclass(frozen=True)
class Line:
    """One loss in one setting (dataset x backbone)."""

    dataset: str
    backbone: str
    loss: str
    planned: int
    """Cells that were asked for, as far as the results tell."""
    finished: int
    """With figures, those that collapsed among them."""
    diverged: int
    means: Mapping[str, Interval]
    differences: Mapping[str, Interval] | None
    """Paired differences to the baseline; None for the baseline itself."""
    tests: Mapping[str, TestedDifference] | None = None
    """What tests say of the differences."""
    collapsed: int = 0
    """No better than a guess on their own training images; they count as they are."""
    unpaired: int = 0
    """Seeds of which the loss and the baseline both have a result, but none from the same environment."""
    is_fixed: bool = False
    """Whether all seeds that were planned beforehand count, and no others: a test holds at one look alone."""


def planned_seeds(
    experiment: Experiment, by_key: Mapping[Key, Sequence[Row]], findings: Sequence[Finding]
) -> dict[Key, int]:
    """How many seeds each loss was asked for in each setting.

    Where claims decide that, seeds are asked for in their order, so all up to the highest that
    is there; and where a claim is undecided, all that either of its losses has, and the next pair.
    """
    keys = keys_of(experiment)
    rule = experiment.sequence
    if rule is None:
        return dict.fromkeys(keys, len(experiment.seeds))
    reached = {key: 1 + max((row["seed"] for row in by_key.get(key, ())), default=-1) for key in keys}
    planned = {key: max(rule.min, reached[key]) for key in keys}
    for finding in findings:
        if finding.verdict == "undecided" and not finding.is_last:
            for concerned in _next_pairs(finding, experiment, by_key, reached):
                complete = min(reached[key] for key in concerned)
                most = min(rule.max, max(complete + 1, *(reached[key] for key in concerned)))
                planned |= {key: max(planned[key], most) for key in concerned}
    return planned


def _next_pairs(
    finding: Finding, experiment: Experiment, by_key: Mapping[Key, Sequence[Row]], reached: Mapping[Key, int]
) -> list[tuple[Key, ...]]:
    """The cells' keys of the next pair that an open claim waits for; over several settings, where seeds are fewest."""
    if finding.claim.over == "each":
        return [tuple(Question(finding.claim, finding.dataset, finding.backbone).measures)]
    asked = [tuple(question.measures) for question in may_get_seeds(finding.claim, experiment, by_key)]
    return sorted(asked, key=lambda keys: min(reached[key] for key in keys))[:1]


def lines_of(experiment: Experiment, by_key: Mapping[Key, Sequence[Row]], planned: Mapping[Key, int]) -> Iterator[Line]:
    """Each loss in each setting, without its tests."""
    measures = experiment.shown
    for dataset, backbone in settings_of(experiment):
        for loss in experiment.losses:
            found = by_key.get((dataset, backbone, loss.label), [])
            others = by_key.get((dataset, backbone, experiment.baseline), [])
            rows = [row for row in found if is_cell(row)]
            (mine, theirs) = met(found, others)
            finished = sum(has_figures(row["state"]) for row in rows)
            differences = {
                name: paired_interval(by_seed(mine, name), by_seed(theirs, name), step=step(name, found))
                for name in measures
            }
            yield Line(
                dataset=dataset,
                backbone=backbone,
                loss=loss.label,
                planned=planned[dataset, backbone, loss.label],
                finished=finished,
                diverged=len(rows) - finished,
                collapsed=count_in_state("collapsed", rows),
                means={name: _mean(rows, name) for name in measures},
                differences=None if loss.label == experiment.baseline else differences,
                unpaired=0 if loss.label == experiment.baseline else unpaired(found, others),
            )


def _mean(rows: Sequence[Row], metric: str) -> Interval:
    """The mean of an accuracy over seeds; where all have 0 or all 1, seeds tell no spread but the test set does."""
    values = list(by_seed(rows, metric).values())
    interval = mean_interval(values, step=step(metric, rows))
    if not values or set(values) not in ({0.0}, {1.0}):
        return interval
    samples = min(row.get("samples") or 0 for row in rows if has_figures(row["state"]))
    if not samples:
        return interval
    low, high = wilson(round(values[0] * samples), samples)
    return Interval(values[0], float(low), float(high), len(values))


def tests_of(
    experiment: Experiment,
    by_key: Mapping[Key, Sequence[Row]],
    fixed: Collection[Key],
    whole: Experiment,
    rng: np.random.Generator,
) -> dict[Key, dict[str, TestedDifference]]:
    """Every test of every difference, by setting and loss; adjusted p only of those whose seeds were fixed."""
    keys = _challengers(experiment)
    if not keys:
        return {}
    differences = np.stack([_differences(key, experiment, by_key) for key in keys], axis=1)
    steps = np.array([[step(name, by_key.get(key, ())) for key in keys] for name in experiment.shown])
    t = paired.paired_t_test(differences, steps)
    pairs = (~np.isnan(differences)).sum(axis=-1)
    is_whole = (pairs == len(experiment.seeds)) & np.array([key in fixed for key in keys])
    kept = np.where(is_whole, t, np.nan)  # or a star would flatter
    others = len(set(_challengers(whole)) - set(keys))
    holm, fdr = (_among(correct, kept, others) for correct in (multiplicity.holm, multiplicity.benjamini_hochberg))
    flipped = paired.sign_flip_test(differences, rng, DRAWS)
    low, high = paired.bca_interval(differences, rng, DRAWS)
    tally = paired.wins(differences)
    columns = {
        "t": t,
        "holm": holm,
        "fdr": fdr,
        "sign_flip": flipped,
        "bca_low": np.where(pairs < ENOUGH_SEEDS, np.nan, low),
        "bca_high": np.where(pairs < ENOUGH_SEEDS, np.nan, high),
        "effect": paired.effect_size(differences, steps),
        "win": tally.win,
        "tie": tally.tie,
        "loss": tally.loss,
    }
    values = {column: numbers.tolist() for column, numbers in columns.items()}

    def tested(measure: int, key: int) -> TestedDifference:
        return TestedDifference(**{column: numbers[measure][key] for column, numbers in values.items()})

    names = experiment.shown
    return {key: {name: tested(m, k) for m, name in enumerate(names)} for k, key in enumerate(keys)}


def _challengers(experiment: Experiment) -> list[Key]:
    """What is compared with the baseline."""
    return [key for key in keys_of(experiment) if key[2] != experiment.baseline]


def _among(
    correct: Callable[[NDArray[np.float64]], NDArray[np.float64]], p: NDArray[np.float64], others: int
) -> NDArray[np.float64]:
    """Adjusted p (measures, keys) among those of as many more keys, which are left out of view."""
    return correct(np.pad(p, ((0, 0), (0, others)), constant_values=np.nan))[:, : p.shape[1]]


def _differences(key: Key, experiment: Experiment, by_key: Mapping[Key, Sequence[Row]]) -> NDArray[np.float64]:
    """Challenger - baseline of each tested measure, (measures, seeds); NaN where one of the two has none."""
    dataset, backbone, _ = key
    rows, others = met(by_key.get(key, ()), by_key.get((dataset, backbone, experiment.baseline), ()))
    measures = experiment.shown
    found = np.full((len(measures), len(experiment.seeds)), np.nan)
    for m, name in enumerate(measures):
        mine = by_seed(rows, name)
        theirs = by_seed(others, name)
        for s, seed in enumerate(experiment.seeds):
            if seed in mine and seed in theirs:
                found[m, s] = mine[seed] - theirs[seed]
    return found
