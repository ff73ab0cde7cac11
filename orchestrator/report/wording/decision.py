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
        units = text.rpartition("{n} ")[2]
        yield "{seen} ({rate}). {promise}", {**values, "seen": (text, values), "promise": _promised(rate, units)}


def _promised(rate: Promised, units: str) -> Sentence:
    values = {"bound": _percent(rate.bound)}
    if rate.limit is None:
        return "At most {bound}.", values
    values["limit"] = _percent(rate.limit)
    if rate.is_kept:
        return "The limit of {limit} is kept.", values
    if rate.needed is None:
        return "The limit of {limit} cannot be promised: the rates seen are not below it.", values
    values |= {"needed": f"{rate.needed:,}", "units": units}
    return (
        "The limit of {limit} cannot be promised: at the lowest rate seen, that takes about {needed} {units}.",
        values,
    )


def threshold_advice(found: Decision) -> Iterator[Sentence]:
    """Whether one threshold is enough for this model, and what to do if it is not."""
    told = found.one_or_each
    if told is None:
        return
    low, gain, high = (f"{100 * value:+.1f}" for value in (told.gain.low, told.gain.estimate, told.gain.high))
    seen = "a threshold per class gains {gain} [{low}, {high}] points of accuracy, n = {n}"
    values: dict[str, Any] = {"gain": gain, "low": low, "high": high, "n": f"{told.gain.n:,}"}
    verdict = {
        True: "One threshold is enough: ",
        False: "One threshold is not enough: ",
        None: "These test images cannot tell whether one threshold is enough: ",
    }[told.is_enough]
    yield verdict + seen + ".", values
    if told.is_enough is not True and found.calibration is not None and found.calibration.low > 0:
        gained = found.calibration
        yield (
            "One threshold on calibrated probabilities gains {gain} [{low}, {high}] points.",
            dict(zip(("gain", "low", "high"), (f"{100 * value:+.1f}" for value in gained[:3]), strict=True)),
        )
    if told.differing:
        classes = ", ".join(f"{found.classes[own.label]} ({own.threshold:.4g})" for own in told.differing)
        yield "Classes with a better threshold of their own: {classes}.", {"classes": classes}
    if told.is_enough is not True and told.sparse:
        classes = ", ".join(found.classes[label] for label in told.sparse)
        yield "Too few validation images for a threshold of their own: {classes}. Take more.", {"classes": classes}


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
