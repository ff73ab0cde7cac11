"""A comparison for machines, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.analysis.across_settings import Overall
from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.sample_noise import Sampled
from orchestrator.analysis.threshold_curves import Curve
from orchestrator.decision.decide import Decision, Deployable


def document(
    comparison: Comparison, overall: Overall, curves: Sequence[Curve] = (), sampled: Sequence[Sampled] = ()
) -> dict[str, Any]:
    """All of it for JSON, which knows no infinity either: what is not finite becomes None.

    Args:
        comparison: Every loss against the baseline.
        overall: What holds over all settings.
        curves: Of which those with few classes give the accuracy per class.
        sampled: What test samples say of the claims.
    """
    classes = [
        {"dataset": curve.dataset, "backbone": curve.backbone, "loss": curve.loss, **row}
        for curve in curves
        if curve.by_class
        for row in _classes(curve)
    ]
    more = {"classes": classes, "samples": [_sampled(each) for each in sampled]}
    found = {name: entries for name, entries in more.items() if entries}
    return _finite({**comparison.to_json(), "across": overall.to_json(), **found})


def _sampled(found: Sampled) -> dict[str, Any]:
    """A claim over test samples: both noises together, and each run by itself."""
    return {
        "claim": found.claim.id,
        "dataset": found.dataset,
        "backbone": found.backbone,
        "samples": found.samples,
        "both": found.both._asdict(),
        "noise": found.noise,
        "seeds": [{**each._asdict(), "difference": each.difference._asdict()} for each in found.seeds],
    }


def _classes(curve: Curve) -> list[dict[str, Any]]:
    """The accuracy of each class at the deployed threshold, at the best one for all, and at the best one for it."""
    sizes = dict(zip(curve.classes, curve.class_samples, strict=True))
    at_best = curve.classes_at(curve.best)
    at_deployed = {} if curve.deployed is None else curve.classes_at(curve.deployed)
    return [
        {
            "class": name,
            "samples": sizes[name],
            "deployed_threshold": curve.deployed,
            "accuracy_at_deployed_threshold": at_deployed.get(name),
            "accuracy_at_best_threshold": at_best[name],
            "best_threshold_of_class": threshold,
            "accuracy_at_best_threshold_of_class": curve.classes_at(threshold)[name],
        }
        for name, threshold in curve.best_by_class.items()
    ]


def decision(found: Decision) -> dict[str, Any]:
    """A decision for machines: what to deploy, what is promised, and the same of the baseline."""
    return _finite(
        {
            "dataset": found.dataset,
            "confidence": found.operation.confidence,
            "deployed": _deployable(found.deployed),
            "baseline": None if found.baseline is None else _deployable(found.baseline),
            "candidates": found.candidates,
            "looked": found.looked,
            "classes": list(found.classes),
            "grouped": found.is_grouped,
            "one_or_each": None if found.one_or_each is None else _one_or_each(found),
            "guideline": {name: each and each._asdict() for name, each in found.guideline._asdict().items()},
            "calibration_gain": None if found.calibration is None else found.calibration._asdict(),
            "left_out": list(found.left_out),
        }
    )


def _one_or_each(found: Decision) -> dict[str, Any]:
    told = found.one_or_each
    if told is None:
        return {}
    return {
        **told._asdict(),
        "gain": told.gain._asdict(),
        "is_enough": told.is_enough,
        "differing": [{**own._asdict(), "class": found.classes[own.label]} for own in told.differing],
        "sparse": [found.classes[label] for label in told.sparse],
    }


def _deployable(model: Deployable) -> dict[str, Any]:
    cell = model.cell
    return {
        "cell_id": cell.id,
        "loss": cell.loss,
        "backbone": cell.backbone,
        "seed": cell.seed,
        "threshold": model.promise.threshold,
        "validation_cost": model.validation_cost,
        "expected_cost": model.promise.cost,
        "expected_cost_bound": model.promise.cost_bound,
        "units": model.promise.units,
        "rates": [rate._asdict() for rate in model.promise.rates],
    }


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
