"""The decision in sentences: what to deploy, what it costs, what is promised and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.decision.decide import Decision, Deployable
from orchestrator.decision.promise import Promised
from orchestrator.sentences import Sentence

OBJECTS = {
    "false_accept_rate": ("False accepts: {errors} of {n} defects", "False accepts: {errors} of {n} objects"),
    "false_reject_rate": ("False rejects: {errors} of {n} good parts", "False rejects: {errors} of {n} objects"),
    "review_share": ("To review: {errors} of {n} parts", ""),
}
"""What each rate counts, where classes are good or defects, and where objects state their class."""


def headline(found: Decision) -> Sentence:
    """What to deploy."""
    return "Deploy {model} at threshold {threshold}.", _model(found.deployed)


def costs(found: Decision) -> Iterator[Sentence]:
    """What the model costs, and the baseline at its own threshold."""
    values = _cost(found.deployed) | {"confidence": f"{100 * found.operation.confidence:g}"}
    yield "Expected cost per unit: {cost}, at most {bound} with {confidence} % confidence.", values
    if found.baseline is not None:
        yield (
            "The baseline at its best, {model} at threshold {threshold}: {cost}, at most {bound}.",
            _model(found.baseline) | _cost(found.baseline),
        )


def _model(deployed: Deployable) -> dict[str, Any]:
    cell = deployed.cell
    values = {"loss": cell.loss, "backbone": cell.backbone, "seed": cell.seed}
    return {"model": ("{loss} on {backbone}, seed {seed},", values), "threshold": f"{deployed.promise.threshold:.4g}"}


def _cost(deployed: Deployable) -> dict[str, Any]:
    return {"cost": f"{deployed.promise.cost:.3g}", "bound": f"{deployed.promise.cost_bound:.3g}"}


def rates(found: Decision) -> Iterator[Sentence]:
    """What was seen of each rate on the test images, and what is promised."""
    for rate in found.deployed.promise.rates:
        by_class, by_claim = OBJECTS[rate.name]
        text = by_class if found.operation.good else by_claim
        values = {"errors": f"{rate.errors:,}", "n": f"{rate.n:,}", "rate": _percent(rate.estimate)}
        yield "{seen} ({rate}). {promise}", {**values, "seen": (text, values), "promise": _promised(rate)}


def _promised(rate: Promised) -> Sentence:
    values = {"bound": _percent(rate.bound)}
    if rate.limit is None:
        return "At most {bound}.", values
    values["limit"] = _percent(rate.limit)
    if rate.is_kept:
        return "The limit of {limit} is kept.", values
    if rate.needed is None:
        return "The limit of {limit} cannot be promised: the rates seen are not below it.", values
    values["needed"] = f"{rate.needed:,}"
    text = (
        "The limit of {limit} cannot be promised: that takes about {needed}, at the rate seen at the safest threshold."
    )
    return text, values


def grounds(found: Decision) -> Iterator[Sentence]:
    """What the decision rests on."""
    values = {
        "candidates": found.candidates,
        "units": f"{found.deployed.promise.units:,}",
        "dataset": found.dataset,
        "looked": found.looked,
    }
    if found.candidates == 1:
        yield "The threshold was chosen on validation images of {dataset}.", values
    else:
        yield "Model and threshold were chosen among {candidates} models on validation images of {dataset}.", values
    yield "Rates and costs are of {units} test images, which chose nothing.", values
    if found.looked > 1:
        text = (
            "A person chose among models and may have seen test results of {looked} models: the error of each promise "
            "is divided by that number."
        )
        yield text, values


def _percent(rate: float) -> str:
    """To three digits: `0.0914 %`."""
    return f"{100 * rate:.3g} %"
