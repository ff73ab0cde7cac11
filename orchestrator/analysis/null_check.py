"""How far the tests can be trusted in this very grid: what they find where there is nothing to find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.adaptive.seeds import ALPHA
from orchestrator.experiment.model import Experiment
from orchestrator.outcome import has_figures
from orchestrator.pairing.evidence import step
from orchestrator.statistics.intervals import ENOUGH
from orchestrator.statistics.null import false_positive_rates, rate_deviation

SPLITS = 1_000


def rates(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """How often each test finds a difference between two halves of one configuration's seeds, by measure."""
    found: dict[str, dict[str, float]] = {}
    for metric in experiment.shown:
        values = _values(experiment, rows, metric)
        rng = np.random.default_rng(0)
        found[metric] = false_positive_rates(values, rng, SPLITS, ALPHA, step(metric, rows))
    return found


def scatter(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The standard deviation, over grids of this size, of the rate of a test that errs as often as it should."""
    return {
        metric: rate_deviation(_values(experiment, rows, metric), np.random.default_rng(0), SPLITS, ALPHA)
        for metric in experiment.shown
    }


def _values(experiment: Experiment, rows: Sequence[Mapping[str, Any]], metric: str) -> np.ndarray:
    """The measure, one configuration in one environment a row and one seed a column."""
    place = {seed: column for column, seed in enumerate(experiment.seeds)}
    found: dict[tuple[str, ...], np.ndarray] = {}
    for row in rows:
        if has_figures(row["state"]) and row.get(metric) is not None:
            key = row["dataset"], row["backbone"], row["loss"], row.get("environment") or ""
            line = found.setdefault(key, np.full(len(place), np.nan))
            line[place[row["seed"]]] = row[metric]
    return np.array(list(found.values())).reshape(-1, len(place))


def counts(experiment: Experiment, rows: Sequence[Mapping[str, Any]], metric: str) -> list[int]:
    """The seeds of each configuration in one environment that has enough of them."""
    seeds = (~np.isnan(_values(experiment, rows, metric))).sum(axis=1)
    return [int(each) for each in seeds if each >= 2 * ENOUGH]
