"""All settings at once: how the losses stand over them, from the results table.

A setting with a missing cell is left out of everything that compares losses here, and named; so is one of which no
environment has all losses.
Where claims decide how many seeds there are, the first ones count, which all losses are to have.
A cell that diverged got nothing right: it counts as 0.

The unit is the data set. Its backbones share test images and seeds, so their scores are averaged
first. From five data sets on something is said of others like them; below, only of the settings as given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.adaptive.seeds import ALPHA
from orchestrator.analysis.lines import ENOUGH_SEEDS
from orchestrator.analysis.settings import settings_of
from orchestrator.experiment.model import ALWAYS, Experiment
from orchestrator.experiment.own_measures import trait
from orchestrator.outcome import has_figures
from orchestrator.pairing.blocks import Row, is_cell, together
from orchestrator.sentences import filled, setting_name
from orchestrator.statistics.aggregates import (
    interquartile_mean,
    optimality_gap,
    performance_profile,
    stratified_interval,
)
from orchestrator.statistics.bayes import Posterior, signed_rank
from orchestrator.statistics.intervals import Interval
from orchestrator.statistics.mixed import Effect, effect_as_given, loss_effect
from orchestrator.statistics.multiplicity import holm
from orchestrator.statistics.paired import paired_t_test
from orchestrator.statistics.ranks import (
    Friedman,
    average_ranks,
    chance,
    cliques,
    critical_difference,
    friedman,
    holm_wilcoxon,
)
from orchestrator.statistics.scopes import FEWEST_DATASETS

Array = NDArray[np.float64]

THRESHOLDS = 81

ROPE = 0.01
"""Half of the region of practical equivalence where no claim states a margin."""

NUMBERS = 2_000_000
"""Drawn for one posterior, and for one bootstrap: with many settings a few draws tell as much."""


class Standing(NamedTuple):
    """One loss over all settings; None and NaN where there is nothing to say."""

    loss: str
    rank: float
    """Mean over data sets."""
    wilcoxon: float
    """p of Wilcoxon's signed-rank test over data sets against the baseline, adjusted by Holm over the losses."""
    given: Interval | None
    """The mean paired difference to the baseline over the settings as given, for other seeds; its n counts these."""
    effect: Effect | None
    """The mean paired difference to the baseline over data sets like these."""
    posterior: Posterior | None
    """How probable it is that the loss is practically worse, equivalent, or better than the baseline."""
    middle: tuple[float, float, float]
    """Interquartile mean over all runs, and its stratified bootstrap interval; NaN below `ENOUGH_SEEDS`."""
    gap: float
    """By how much runs fall short of 1 on average."""


class Standings(NamedTuple):
    """All losses by one measure."""

    metric: str
    rope: float
    seeds: int
    datasets: int
    friedman: Friedman | None
    """None with fewer data sets than say anything of others."""
    critical_difference: float
    """How far mean ranks must lie apart to differ; infinite where none is that rare, NaN with too few data sets."""
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
    datasets: int
    """Of these settings."""
    left_out: tuple[str, ...]
    """The other settings."""
    standings: tuple[Standings, ...]
    """By each measure that all losses have; none with fewer than two settings or losses."""
    leaders: Mapping[tuple[str, str, str], Leaders]
    """By dataset, backbone and measure."""
    lacking: tuple[str, ...] = ()
    """Measures that are compared, but that some loss does not have."""

    @property
    def says_of_others(self) -> bool:
        """Whether there are data sets enough to speak of others like them."""
        return self.datasets >= FEWEST_DATASETS

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and names."""
        return {
            "baseline": self.baseline,
            "settings": self.settings,
            "datasets": self.datasets,
            "left_out": self.left_out,
            "lacking": self.lacking,
            "measures": [
                {
                    **each._asdict(),
                    "friedman": each.friedman and each.friedman._asdict(),
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
        "given": standing.given and standing.given._asdict(),
        "effect": standing.effect and standing.effect._asdict(),
        "posterior": standing.posterior and standing.posterior._asdict(),
        "middle": {"estimate": estimate, "low": low, "high": high},
    }


def overall(experiment: Experiment, rows: Sequence[Row]) -> Overall:
    """How the losses stand over all settings, and which lead in each.

    Losses are compared under seeds of one environment: the one that has most of them.

    Args:
        experiment: What was asked.
        rows: The results table, one mapping a cell, and that of the replicas.
    """
    paired = together(rows)
    found = {metric: scores(experiment, paired, metric) for metric in experiment.shown}
    common = {metric: _common(experiment, values) for metric, values in found.items()}
    decisive = [common[metric] for metric in ALWAYS if metric in common] or [*common.values()]
    whole = _whole(np.concatenate(decisive))
    lacking = tuple(metric for metric, values in common.items() if not _whole(values)[whole].all())
    names = [filled(setting_name(*each)) for each in settings_of(experiment)]
    kept = [dataset for (dataset, _), is_whole in zip(settings_of(experiment), whole, strict=True) if is_whole]
    several = len(kept) > 1 and len(experiment.losses) > 1
    return Overall(
        baseline=experiment.baseline,
        settings=len(kept),
        datasets=len(set(kept)),
        left_out=tuple(name for name, is_whole in zip(names, whole, strict=True) if not is_whole),
        standings=tuple(
            _standings(experiment, runs[:, :, whole], kept, metric, _step(rows, metric))
            for metric, runs in common.items()
            if several and metric not in lacking
        ),
        leaders={
            (*setting, metric): leaders
            for metric, values in found.items()
            for setting, leaders in zip(
                settings_of(experiment), _leaders(experiment, values, _step(rows, metric)), strict=True
            )
            if leaders
        },
        lacking=lacking if several else (),
    )


def scores(experiment: Experiment, rows: Iterable[Row], metric: str, diverged: float = 0.0) -> Array:
    """The accuracy of each cell, shape (losses, seeds, settings): 0 where it diverged, NaN where it is missing."""
    place = {setting: index for index, setting in enumerate(settings_of(experiment))}
    loss = {choice.label: index for index, choice in enumerate(experiment.losses)}
    seed = {number: index for index, number in enumerate(experiment.seeds)}
    found = np.full((len(loss), len(seed), len(place)), np.nan)
    for row in rows:
        value = row.get(metric) if has_figures(row["state"]) else diverged
        where = (loss[row["loss"]], seed[row["seed"]], place[row["dataset"], row["backbone"]])
        found[where] = np.nan if value is None else value
    return found


def _step(rows: Sequence[Row], metric: str) -> float:
    """The largest step between neighbouring values of a measure in any setting."""
    return max((trait(metric).step(row.get("samples")) for row in rows), default=0.0)


def _common(experiment: Experiment, found: Array) -> Array:
    """The scores under the seeds that every loss in every setting is asked for."""
    return found[:, : experiment.sequence.min] if experiment.sequence else found


def _whole(found: Array) -> NDArray[np.bool_]:
    """In which settings no planned cell is missing."""
    return np.asarray(~np.isnan(found).any(axis=(0, 1)))


def _by_dataset(runs: Array, datasets: Sequence[str]) -> Array:
    """Runs (losses, seeds, settings) to means over the backbones of each data set (losses, seeds, data sets)."""
    places = [[place for place, dataset in enumerate(datasets) if dataset == each] for each in dict.fromkeys(datasets)]
    return np.stack([runs[:, :, own].mean(axis=2) for own in places], axis=2)


def _standings(experiment: Experiment, runs: Array, datasets: Sequence[str], metric: str, step: float) -> Standings:
    """From runs (losses, seeds, settings) of which none is missing."""
    names = [choice.label for choice in experiment.losses]
    baseline = names.index(experiment.baseline)
    units = _by_dataset(runs, datasets)
    means = units.mean(axis=1).T
    rope = _rope(experiment, metric)
    enough = len(means) >= FEWEST_DATASETS
    by_chance = chance(means, np.random.default_rng(0)) if enough else None
    against = holm_wilcoxon(means, baseline, np.random.default_rng(0)) if enough else np.full(len(names), np.nan)
    ranks = average_ranks(means)
    (middle, low, high) = _interquartile_means(runs)
    return Standings(
        metric=metric,
        rope=rope,
        seeds=runs.shape[1],
        datasets=len(means),
        friedman=by_chance and friedman(means, by_chance),
        critical_difference=critical_difference(len(means), by_chance) if by_chance else math.nan,
        losses=tuple(
            Standing(
                loss=name,
                rank=float(ranks[k]),
                wilcoxon=float(against[k]),
                given=None if k == baseline else effect_as_given((runs[k] - runs[baseline]).T, step),
                effect=None if k == baseline or not enough else loss_effect((units[k] - units[baseline]).T),
                posterior=None
                if k == baseline or not enough
                else _posterior(means[:, k] - means[:, baseline], rope, step),
                middle=(float(middle[k]), float(low[k]), float(high[k])),
                gap=optimality_gap(runs[k]),
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


def _posterior(differences: Array, rope: float, step: float) -> Posterior:
    draws = _draws(len(differences), most=50_000)
    return signed_rank(differences, rope, np.random.default_rng(0), draws, step)


def _interquartile_means(runs: Array) -> tuple[Array, Array, Array]:
    """Of each loss, and its interval, from runs (losses, seeds, settings)."""

    def middle(drawn: Array) -> Array:
        return interquartile_mean(np.moveaxis(drawn, -1, 0))

    stacked = np.moveaxis(runs, 0, -1)
    if len(stacked) < ENOUGH_SEEDS:
        unknown = np.full(len(runs), np.nan)
        return middle(stacked), unknown, unknown
    draws = _draws(runs.size, most=2_000)
    return middle(stacked), *stratified_interval(middle, stacked, np.random.default_rng(0), draws)


def _draws(size: int, most: int) -> int:
    return min(most, max(200, NUMBERS // size))


def _leaders(experiment: Experiment, runs: Array, step: float) -> Iterator[Leaders | None]:
    """The leaders of each setting, from runs (losses, seeds, settings); None where no loss has a score."""
    names = [choice.label for choice in experiment.losses]
    for place in range(runs.shape[2]):
        here = runs[:, :, place]
        known = [k for k in range(len(names)) if np.isfinite(here[k]).any()]
        if not known:
            yield None
            continue
        means = {k: float(np.nanmean(here[k])) for k in known}
        best = max(known, key=means.__getitem__)
        others = [k for k in known if k != best]
        p = holm(paired_t_test(here[others] - here[best], step))
        # what cannot be tested is not shown to be worse
        yield Leaders(names[best], tuple(names[k] for k, worse in zip(others, p <= ALPHA, strict=True) if not worse))


class Ranking(NamedTuple):
    """Average ranks over settings, and which losses they cannot tell apart (Demšar 2006)."""

    ranks: Mapping[str, float]
    critical_difference: float
    cliques: Sequence[tuple[str, ...]]
    settings: int


class Profile(NamedTuple):
    """Share of runs above each threshold of the score, and its 95 % band (Agarwal et al. 2021)."""

    share: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    runs: int
    """With a score; those that diverged or are missing are above no threshold."""


def ranking(experiment: Experiment, rows: Sequence[Row], metric: str) -> Ranking | None:
    """Average ranks over the data sets of which no cell is missing; None where they say nothing of others."""
    found = _common(experiment, scores(experiment, together(rows), metric))
    whole = _whole(found)
    kept = [dataset for (dataset, _), is_whole in zip(settings_of(experiment), whole, strict=True) if is_whole]
    if len(set(kept)) < FEWEST_DATASETS or len(experiment.losses) < 2:  # noqa: PLR2004 - one has no order
        return None
    means = _by_dataset(found[:, :, whole], kept).mean(axis=1).T
    ranks = average_ranks(means)
    difference = critical_difference(len(means), chance(means, np.random.default_rng(0)))
    names = [choice.label for choice in experiment.losses]
    return Ranking(
        ranks=dict(zip(names, ranks.tolist(), strict=True)),
        critical_difference=difference,
        cliques=[tuple(names[index] for index in clique) for clique in cliques(ranks, difference)],
        settings=len(means),
    )


def profiles(experiment: Experiment, rows: Sequence[Row], metric: str) -> tuple[list[float], dict[str, Profile]]:
    """Thresholds of the measure, and for each loss with a finished cell the share of runs above them.

    Cells that diverged or are missing are above none.
    """
    found = _common(experiment, scores(experiment, filter(is_cell, rows), metric, -np.inf))
    reached = found[np.isfinite(found)]
    if not reached.size:
        return [], {}
    thresholds = np.round(np.linspace(max(reached.min() - 0.02, 0), min(reached.max() + 0.02, 1), THRESHOLDS), 4)
    profiled = dict[str, Profile]()
    for choice, runs in zip(experiment.losses, np.where(np.isnan(found), -np.inf, found), strict=True):
        if np.isfinite(runs).any():

            def share(drawn: Array) -> Array:
                return performance_profile(drawn, thresholds)

            low = high = share(runs)
            if len(runs) >= ENOUGH_SEEDS:
                low, high = stratified_interval(share, runs, np.random.default_rng(0))
            count = int(np.isfinite(runs).sum())
            profiled[choice.label] = Profile(share(runs).tolist(), low.tolist(), high.tolist(), count)
    return thresholds.tolist(), profiled
