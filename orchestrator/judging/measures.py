"""From runs to rows of a results table: the measures that follow from scores, and what each sample adds to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.judging.runs import ScoredRun
from trainers.metrics import MEASURES, NEEDED
from trainers.metrics.names import FALSE_ACCEPTS
from trainers.metrics.operating_points import area_under_risk_coverage, threshold_spread, true_accept_rate
from trainers.metrics.over_identities import intervals
from trainers.metrics.recalls import macro_accuracy
from trainers.metrics.uniform import accuracy_at, class_wise_accuracy, uniform_accuracy
from trainers.metrics.verification import equal_error_rate, true_accept_rate_at

Array = NDArray[Any]
Values = dict[str, float | None]

SHOWN: Mapping[str, tuple[str, ...]] = {
    "positive": ("sample_wise_accuracy", "uniform_accuracy"),
    "right": ("sample_wise_accuracy",),
    "value": ("value",),
    "similarity": ("verification_eer", "verification_tar_1", "verification_tar_01"),
}
"""The measures that a comparison shows, by a column that runs have."""


def row(run: ScoredRun) -> dict[str, Any]:
    """A row of the results table; measures that do not follow from scores are None."""
    known = _values(run) if len(run.sample) else {}
    finite = {name: value for name, value in known.items() if value is not None and math.isfinite(value)}
    place = run.place
    return {
        **dict.fromkeys(MEASURES),
        "value": None,
        **finite,
        "cell_id": run.account.get("cell_id") or "/".join(map(str, place)),
        "loss": place.system,
        "backbone": place.backbone,
        "dataset": place.dataset,
        "seed": place.seed,
        "state": run.account.get("state", "finished"),
        "environment": run.account.get("environment", ""),
        "started": run.account.get("started"),
        "decide_by": "raw",
        "samples": len(run.sample),
    }


def _values(run: ScoredRun) -> Values:
    values = run.values
    if "similarity" in values:
        return _of_pairs(run)
    if "value" in values:
        return {"value": float(values["value"].mean())}
    if "right" in values:
        right = values["right"]
        return {
            "sample_wise_accuracy": float(right.mean()),
            "macro_accuracy": macro_accuracy(right, 1 - right, run.label),
        }
    return _of_scores(run)


def _of_scores(run: ScoredRun) -> Values:
    positive = run.values["positive"]
    rival = run.values["rival"]
    best = uniform_accuracy(positive, rival)
    sample_wise = float(np.mean(rival < positive))
    found: Values = {
        "sample_wise_accuracy": sample_wise,
        "class_wise_accuracy": class_wise_accuracy(positive, rival, run.label),
        "uniform_accuracy": best.accuracy,
        "unified_threshold": best.threshold,
        "threshold_low": best.low,
        "threshold_high": best.high,
        "uniformity": best.accuracy / sample_wise if sample_wise else None,
        "threshold_spread": threshold_spread(positive, rival, run.label),
        "macro_accuracy": macro_accuracy(positive, rival, run.label),
        "area_under_risk_coverage": area_under_risk_coverage(positive, rival),
    }
    for name, rate in (("true_accept_rate_1", 0.01), ("true_accept_rate_01", 0.001)):
        found[name] = true_accept_rate(positive, rival, rate) if len(positive) >= NEEDED[name] else None
    if (threshold := held_out_threshold(run)) is not None:
        found["validation_threshold"] = threshold
        deployed = 0.0 if math.isnan(threshold) else accuracy_at(threshold, positive, rival)
        found["accuracy_at_validation_threshold"] = deployed
    return found


def held_out_threshold(run: ScoredRun) -> float | None:
    """The best threshold on the validation split, NaN if no sample is right; None without scores of that split."""
    if run.held_out is None or "positive" not in run.held_out.values:
        return None
    return uniform_accuracy(run.held_out.values["positive"], run.held_out.values["rival"]).threshold


def _of_pairs(run: ScoredRun) -> Values:
    similarity = run.values["similarity"]
    genuine = run.values["genuine"] == 1
    identities = np.stack([run.values["identity_a"], run.values["identity_b"]], axis=1)
    found: Values = {"verification_eer": equal_error_rate(similarity, genuine)}
    for name, rate in FALSE_ACCEPTS.items():
        found[f"verification_{name}"] = true_accept_rate_at(similarity, genuine, rate)
    for name, (low, high) in intervals(similarity, genuine, identities, FALSE_ACCEPTS).items():
        found[f"verification_{name}_low"] = low
        found[f"verification_{name}_high"] = high
    impostors = int((~genuine).sum())
    return {name: None if impostors < NEEDED.get(name, 0) else value for name, value in found.items()}


def shown(runs: Sequence[ScoredRun]) -> tuple[str, ...]:
    """The measures that a comparison of these runs shows."""
    columns = dict.fromkeys(name for run in runs for name in run.values)
    found = [measure for column in columns for measure in SHOWN.get(column, ())]
    if any(run.held_out for run in runs):
        found.append("accuracy_at_validation_threshold")
    return tuple(dict.fromkeys(found))


def _uniform(run: ScoredRun) -> Array:
    return _at(uniform_accuracy(run.values["positive"], run.values["rival"]).threshold, run)


def _deployed(run: ScoredRun) -> Array:
    held_out = run.held_out
    if held_out is None:
        return np.zeros(len(run.sample), bool)
    return _at(uniform_accuracy(held_out.values["positive"], held_out.values["rival"]).threshold, run)


def _at(threshold: float, run: ScoredRun) -> Array:
    return (run.values["rival"] < threshold) & (threshold < run.values["positive"])


def _sample_wise(run: ScoredRun) -> Array:
    if "right" in run.values:
        return run.values["right"] == 1
    return run.values["rival"] < run.values["positive"]


ANSWERS: Mapping[str, tuple[set[str], Callable[[ScoredRun], Array]]] = {
    "sample_wise_accuracy": ({"positive", "right"}, _sample_wise),
    "uniform_accuracy": ({"positive"}, _uniform),
    "accuracy_at_validation_threshold": ({"positive"}, _deployed),
    "value": ({"value"}, lambda run: run.values["value"]),
}
"""Measures that are a mean over samples: which columns give them, and what each sample adds."""


def answers(run: ScoredRun, metric: str) -> Array | None:
    """What each sample, or each group of samples, adds to a measure; None where it is no mean over samples.

    The mean over groups is the mean over samples, and their spread is that of the ratio of two sums (the linear part
    of its error), so that large groups weigh as much as they should.

    Returns:
        Booleans of samples, right or wrong; numbers of groups, or of values.
    """
    needed, answer = ANSWERS.get(metric, (set[str](), _sample_wise))
    if not needed & run.values.keys() or (metric == "accuracy_at_validation_threshold" and run.held_out is None):
        return None
    found = answer(run)
    if run.group is None:
        return found
    _, which, sizes = np.unique(run.group, return_inverse=True, return_counts=True)
    mean = found.mean()
    sums = np.bincount(which, weights=found.astype(np.float64))
    return mean + (sums - mean * sizes) * len(sizes) / len(found)
