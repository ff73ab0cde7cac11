"""All settings at once: how the losses stand over them, from the results table.

A setting with a missing cell is left out of everything that compares losses here, and named.
Where claims decide how many seeds there are, the first ones count, which all losses are to have.
A loss's score in a setting is its mean over the seeds that did not diverge; it is last where
all did. Among single runs, one that diverged got nothing right.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.experiment import Experiment
from orchestrator.outcome import has_figures
from orchestrator.report.comparison import ALPHA, ALWAYS, compared
from orchestrator.statistics.aggregates import (
    interquartile_mean,
    optimality_gap,
    performance_profile,
    stratified_interval,
)
from orchestrator.statistics.bayes import Posterior, signed_rank
from orchestrator.statistics.mixed import Effect, loss_effect
from orchestrator.statistics.multiplicity import holm
from orchestrator.statistics.paired import paired_t_test
from orchestrator.statistics.ranks import (
    Friedman,
    average_ranks,
    cliques,
    friedman,
    holm_wilcoxon,
    nemenyi_difference,
)

if TYPE_CHECKING:
    from orchestrator.report.figures import Profile, Ranking

Array = NDArray[np.float64]
Row = Mapping[str, Any]

THRESHOLDS = 81

ROPE = 0.01
"""Half of the region of practical equivalence where no claim states a margin."""

EXACT_UP_TO = 50
"""Settings for which Wilcoxon's exact distribution is built; beyond, the normal one cannot be told from it."""

NUMBERS = 2_000_000
"""Drawn for one posterior, and for one bootstrap: with many settings a few draws tell as much."""


class Standing(NamedTuple):
    """One loss over all settings; None and NaN where there is nothing to compare it with."""

    loss: str
    rank: float
    wilcoxon: float
    """p of Wilcoxon's signed-rank test against the baseline, adjusted by Holm over the losses."""
    effect: Effect | None
    """The mean paired difference to the baseline, with setting as a random effect."""
    posterior: Posterior | None
    """How probable it is that the loss is practically worse, equivalent, or better than the baseline."""
    middle: tuple[float, float, float]
    """Interquartile mean over all runs, and its stratified bootstrap interval."""
    gap: float
    """By how much runs fall short of 1 on average."""


class Standings(NamedTuple):
    """All losses by one measure."""

    metric: str
    rope: float
    friedman: Friedman
    critical_difference: float
    losses: tuple[Standing, ...]


class Leaders(NamedTuple):
    """The best loss of a setting by its mean, and those not significantly worse (paired t, Holm over the losses)."""

    best: str
    level: tuple[str, ...]


@dataclass(frozen=True)
class Overall:
    """What only several losses, or several settings, together tell."""

    baseline: str
    settings: int
    """Without a missing cell."""
    left_out: tuple[str, ...]
    """The other settings."""
    standings: tuple[Standings, ...]
    """By each measure that all losses have; none with fewer than two settings or losses."""
    leaders: Mapping[tuple[str, str, str], Leaders]
    """By dataset, backbone and measure."""
    lacking: tuple[str, ...] = ()
    """Measures that are compared, but that some loss does not have."""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and names."""
        return {
            "baseline": self.baseline,
            "settings": self.settings,
            "left_out": self.left_out,
            "lacking": self.lacking,
            "measures": [
                {
                    **each._asdict(),
                    "friedman": each.friedman._asdict(),
                    "losses": [_told(standing) for standing in each.losses],
                }
                for each in self.standings
            ],
            "leaders": [
                {"dataset": dataset, "backbone": backbone, "metric": metric, **leaders._asdict()}
                for (dataset, backbone, metric), leaders in self.leaders.items()
            ],
        }


def _told(standing: Standing) -> dict[str, Any]:
    estimate, low, high = standing.middle
    return {
        **standing._asdict(),
        "effect": standing.effect and standing.effect._asdict(),
        "posterior": standing.posterior and standing.posterior._asdict(),
        "middle": {"estimate": estimate, "low": low, "high": high},
    }


def overall(experiment: Experiment, rows: Sequence[Row]) -> Overall:
    """How the losses stand over all settings, and which lead in each.

    Args:
        experiment: What was asked.
        rows: The results table, one mapping a cell.
    """
    found = {metric: scores(experiment, rows, metric) for metric in compared(experiment)}
    common = {metric: _common(experiment, values) for metric, values in found.items()}
    whole = _whole(np.concatenate([common[metric] for metric in ALWAYS]))
    lacking = tuple(metric for metric, values in common.items() if not _whole(values)[whole].all())
    names = [f"{backbone} on {dataset}" for dataset, backbone in _settings(experiment)]
    several = whole.sum() > 1 and len(experiment.losses) > 1
    return Overall(
        baseline=experiment.baseline,
        settings=int(whole.sum()),
        left_out=tuple(name for name, kept in zip(names, whole, strict=True) if not kept),
        standings=tuple(
            _standings(experiment, runs[:, :, whole], metric)
            for metric, runs in common.items()
            if several and metric not in lacking
        ),
        leaders={
            (*setting, metric): leaders
            for metric, values in found.items()
            for setting, leaders in zip(_settings(experiment), _leaders(experiment, values), strict=True)
            if leaders
        },
        lacking=lacking if several else (),
    )


def scores(experiment: Experiment, rows: Sequence[Row], metric: str) -> Array:
    """The measure of each cell, shape (losses, seeds, settings): -inf where it diverged, NaN where it is missing."""
    place = {setting: index for index, setting in enumerate(_settings(experiment))}
    loss = {choice.label: index for index, choice in enumerate(experiment.losses)}
    seed = {number: index for index, number in enumerate(experiment.seeds)}
    found = np.full((len(loss), len(seed), len(place)), np.nan)
    for row in rows:
        value = row.get(metric) if has_figures(row["state"]) else -np.inf
        where = (loss[row["loss"]], seed[row["seed"]], place[row["dataset"], row["backbone"]])
        found[where] = np.nan if value is None else value
    return found


def _settings(experiment: Experiment) -> Iterator[tuple[str, str]]:
    for dataset, backbone in itertools.product(experiment.datasets, experiment.backbones):
        yield dataset.label, backbone.label


def _common(experiment: Experiment, found: Array) -> Array:
    """The scores under the seeds that every loss in every setting is asked for."""
    return found[:, : experiment.sequence.min] if experiment.sequence else found


def _whole(found: Array) -> NDArray[np.bool_]:
    """In which settings no planned cell is missing."""
    return np.asarray(~np.isnan(found).any(axis=(0, 1)))


def _means(runs: Array) -> Array:
    """Scores (losses, settings): means over the seeds that have one; -inf where all diverged, NaN where none has."""
    finite = np.isfinite(runs)
    counts = finite.sum(axis=1)
    sums = np.where(finite, runs, 0).sum(axis=1)
    otherwise = np.where((runs == -np.inf).any(axis=1), -np.inf, np.nan)
    return np.where(counts > 0, sums / np.maximum(counts, 1), otherwise)


def _standings(experiment: Experiment, runs: Array, metric: str) -> Standings:
    """From runs (losses, seeds, settings) of which none is missing."""
    names = [choice.label for choice in experiment.losses]
    baseline = names.index(experiment.baseline)
    means, rope = _means(runs).T, _rope(experiment, metric)
    ranks, against = average_ranks(means), _wilcoxon(means, baseline)
    counted = np.where(np.isfinite(runs), runs, 0)
    middle, low, high = _interquartile_means(counted)
    return Standings(
        metric=metric,
        rope=rope,
        friedman=friedman(means),
        critical_difference=nemenyi_difference(len(names), len(means)),
        losses=tuple(
            Standing(
                loss=name,
                rank=float(ranks[k]),
                wilcoxon=float(against[k]),
                effect=None if k == baseline else loss_effect(_difference(runs[k], runs[baseline]).T),
                posterior=None if k == baseline else _posterior(means[:, k], means[:, baseline], rope),
                middle=(float(middle[k]), float(low[k]), float(high[k])),
                gap=optimality_gap(counted[k]),
            )
            for k, name in enumerate(names)
        ),
    )


def _rope(experiment: Experiment, metric: str) -> float:
    """The margin of the first claim that compares the measure with the baseline and states one."""
    margins = (
        claim.margin
        for claim in experiment.claims
        if (claim.metric, claim.baseline_metric or metric) == (metric, metric)
        and experiment.baseline in (claim.challenger, claim.baseline)
        and claim.margin
    )
    return next(margins, ROPE)


def _difference(runs: Array, others: Array) -> Array:
    """Of runs that both finished; NaN elsewhere."""
    both = np.isfinite(runs) & np.isfinite(others)
    return np.where(both, np.where(both, runs, 0) - np.where(both, others, 0), np.nan)


def _wilcoxon(means: Array, baseline: int) -> Array:
    """Holm's p of each loss against the baseline, from means (settings, losses)."""
    if len(means) <= EXACT_UP_TO:
        return holm_wilcoxon(means, baseline)
    from scipy.stats import wilcoxon

    with np.errstate(invalid="ignore"):  # -inf - -inf: no difference to be seen, and 0 / 0 where none is anywhere
        differences = np.delete(means, baseline, axis=1) - means[:, [baseline]]
        p = wilcoxon(differences, method="asymptotic", correction=True, nan_policy="omit").pvalue  # pyright: ignore[reportCallIssue] - it has
    return holm(np.insert(np.nan_to_num(p, nan=1.0), baseline, np.nan))


def _posterior(means: Array, others: Array, rope: float) -> Posterior:
    with np.errstate(invalid="ignore"):
        differences = means - others
    return signed_rank(differences, rope, np.random.default_rng(0), _draws(len(means), most=50_000))


def _interquartile_means(counted: Array) -> tuple[Array, Array, Array]:
    """Of each loss, and its interval, from runs (losses, seeds, settings)."""

    def middle(drawn: Array) -> Array:
        return interquartile_mean(np.moveaxis(drawn, -1, 0))

    stacked = np.moveaxis(counted, 0, -1)
    draws = _draws(counted.size, most=2_000)
    return middle(stacked), *stratified_interval(middle, stacked, np.random.default_rng(0), draws)


def _draws(size: int, most: int) -> int:
    return min(most, max(200, NUMBERS // size))


def _leaders(experiment: Experiment, runs: Array) -> Iterator[Leaders | None]:
    """The leaders of each setting, from runs (losses, seeds, settings); None where no loss has a score."""
    names, means = [choice.label for choice in experiment.losses], _means(runs)
    for place in range(runs.shape[2]):
        known = np.isfinite(means[:, place])
        if not known.any():
            yield None
            continue
        best = int(np.argmax(np.where(known, means[:, place], -np.inf)))
        differences = _difference(runs[:, :, place], runs[best, :, place])
        p = paired_t_test(differences)
        p[best] = np.nan
        level = np.flatnonzero(holm(p) > ALPHA)
        yield Leaders(names[best], tuple(names[k] for k in level))


def ranking(experiment: Experiment, rows: Sequence[Row], metric: str) -> Ranking | None:
    """Average ranks over the settings in which no cell is missing; None with fewer than two settings or losses."""
    from orchestrator.report.figures import Ranking

    found = _common(experiment, scores(experiment, rows, metric))
    means = _means(found[:, :, _whole(found)]).T
    settings, losses = means.shape
    if settings < 2 or losses < 2:  # noqa: PLR2004 - one has no order
        return None
    ranks, difference = average_ranks(means), nemenyi_difference(losses, settings)
    names = [choice.label for choice in experiment.losses]
    return Ranking(
        ranks=dict(zip(names, ranks.tolist(), strict=True)),
        critical_difference=difference,
        cliques=[tuple(names[index] for index in clique) for clique in cliques(ranks, difference)],
        settings=settings,
    )


def profiles(experiment: Experiment, rows: Sequence[Row], metric: str) -> tuple[list[float], dict[str, Profile]]:
    """Thresholds of the measure, and for each loss with a finished cell the share of runs above them.

    Cells that diverged or are missing are above none.
    """
    from orchestrator.report.figures import Profile

    found = _common(experiment, scores(experiment, rows, metric))
    reached = found[np.isfinite(found)]
    if not reached.size:
        return [], {}
    thresholds = np.round(np.linspace(max(reached.min() - 0.02, 0), min(reached.max() + 0.02, 1), THRESHOLDS), 4)
    profiled = dict[str, Profile]()
    for choice, runs in zip(experiment.losses, np.where(np.isnan(found), -np.inf, found), strict=True):
        if np.isfinite(runs).any():

            def share(drawn: Array) -> Array:
                return performance_profile(drawn, thresholds)

            low, high = stratified_interval(share, runs, np.random.default_rng(0))
            profiled[choice.label] = Profile(share(runs).tolist(), low.tolist(), high.tolist())
    return thresholds.tolist(), profiled
