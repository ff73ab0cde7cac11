"""The decision in sentences: what to deploy, what it costs, what is promised and what is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.experiment.operation import Operation
from orchestrator.sentences import Sentence, some

if TYPE_CHECKING:  # a launch says what can be proved, and decides nothing
    from orchestrator.decision.decide import Decision, Deployable
    from orchestrator.decision.evidence import Evidence
    from orchestrator.decision.promise import Promised
    from orchestrator.deployment.certificate import CertifiedRate
    from orchestrator.statistics.intervals import Interval

    Rate = Promised | CertifiedRate
    """A rate, and what is promised of it."""

UNITS = {
    ("false_accept_rate", True): "defects",
    ("false_reject_rate", True): "good parts",
    ("false_accept_rate", False): "objects",
    ("false_reject_rate", False): "objects",
}
"""What a rate is counted among, where classes are good or defects, and where objects state their class."""

COUNTED = {
    ("false_accept_rate", True): "False accepts: {errors} of {n} defects ({rate}).",
    ("false_accept_rate", False): "False accepts: {errors} of {n} objects ({rate}).",
    ("false_reject_rate", True): "False rejects: {errors} of {n} good parts ({rate}).",
    ("false_reject_rate", False): "False rejects: {errors} of {n} objects ({rate}).",
    ("review_share", True): "To review: {errors} of {n} parts ({rate}).",
}
"""What was seen of each rate, where classes are good or defects, and where objects state their class."""

NEEDED = {
    "false_accept_rate": (
        "The limit of {limit} cannot be promised: at the lowest rate seen, that takes about {needed} defects."
    ),
    "false_reject_rate": (
        "The limit of {limit} cannot be promised: at the lowest rate seen, that takes about {needed} good parts."
    ),
}
"""Where a limit cannot be promised: how many units it takes, where classes are good or defects."""

PRICES = {
    True: "An accepted defect costs {false_accept}, a rejected good part {false_reject}.",
    False: "A false accept costs {false_accept}, a false reject {false_reject}.",
}
"""What errors cost, where classes are good or defects, and where objects state their class."""

ASKED = {
    ("false_accept_rate", True): "At most {limit} of defects may be accepted.",
    ("false_accept_rate", False): "At most {limit} of objects may be accepted as another class.",
    ("false_reject_rate", True): "At most {limit} of good parts may be rejected.",
    ("false_reject_rate", False): "At most {limit} of objects may be rejected as their own class.",
}
"""The limit of each rate, where classes are good or defects, and where objects state their class."""

ENOUGH = {
    True: "One threshold is enough: one per class gains {gain} [{low}, {high}] points of accuracy, n = {n}.",
    False: "One threshold is not enough: one per class gains {gain} [{low}, {high}] points of accuracy, n = {n}.",
    None: "These test images cannot tell: one per class gains {gain} [{low}, {high}] points of accuracy, n = {n}.",
}


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


def asked(operation: Operation) -> Iterator[Sentence]:
    """What the experiment's file says of the use: good classes, prices, limits, expected shares."""
    if operation.good:
        yield "Good: {classes}; all other classes are defects.", {"classes": _names(map(str, operation.good))}
    prices = {name: f"{price:g}" for name, price in operation.prices.model_dump().items()}
    yield PRICES[bool(operation.good)], prices
    if operation.review:
        values = {**prices, "share": percent_of(operation.review)}
        yield "A person may look at {share} of the parts, at a cost of {review} each.", values
    for name, limit in operation.limits.given.items():
        yield ASKED[name, bool(operation.good)], {"limit": percent_of(limit)}
    yield expected(operation)


def expected(operation: Operation) -> Sentence:
    """How many of each class are expected in production."""
    if operation.defects is not None:
        return "Of all parts, {share} are taken to be defects.", {"share": percent_of(operation.defects)}
    if operation.shares:
        shares = _names(f"{name} {percent_of(share)}" for name, share in operation.shares.items())
        return "Shares of classes are taken to be: {shares}.", {"shares": shares}
    return "Shares of classes are taken to be those of the test images.", {}


def _names(names: Iterable[str]) -> list[Sentence]:
    """The first of many names, and how many more there are."""
    return some([("{name}", {"name": name}) for name in names])


def rates(found: Decision) -> Iterator[tuple[Sentence, Sentence]]:
    """What was seen of each rate on the test images, and what is promised."""
    for rate in found.deployed.promise.rates:
        by_class = bool(found.operation.good)
        yield counted(rate, by_class), promised(rate, by_class)


def counted(rate: Rate, by_class: bool) -> Sentence:
    """What was seen of a rate; `by_class` where classes are good or defects."""
    seen = {"errors": f"{rate.errors:,}", "n": f"{rate.n:,}", "rate": percent_of(rate.estimate)}
    return COUNTED[rate.name, by_class], seen


def promised(rate: Rate, by_class: bool) -> Sentence:
    """What is promised of a rate; `by_class` where classes are good or defects."""
    values = {"bound": percent_of(rate.bound)}
    if rate.limit is None:
        return "At most {bound}.", values
    values["limit"] = percent_of(rate.limit)
    if rate.is_kept:
        return "The limit of {limit} is kept.", values
    if rate.needed is None:
        return "The limit of {limit} cannot be promised: the rates seen are not below it.", values
    values["needed"] = f"{rate.needed:,}"
    if by_class:
        return NEEDED[rate.name], values
    return (
        "The limit of {limit} cannot be promised: at the lowest rate seen, that takes about {needed} objects.",
        values,
    )


def threshold_advice(found: Decision) -> Iterator[Sentence]:
    """Whether one threshold is enough for this model, and what to do if it is not."""
    told = found.one_or_each
    if told is None:
        return
    yield ENOUGH[told.is_enough], {**_points(told.gain), "n": f"{told.gain.n:,}"}
    if told.is_enough is not True and found.calibration is not None and found.calibration.low > 0:
        yield (
            "One threshold on calibrated probabilities gains {gain} [{low}, {high}] points.",
            _points(found.calibration),
        )
    if told.differing:
        classes = _names(f"{found.classes[own.label]} ({own.threshold:.4g})" for own in told.differing)
        yield "Classes with a better threshold of their own: {classes}.", {"classes": classes}
    if told.is_enough is not True and told.sparse:
        classes = _names(found.classes[label] for label in told.sparse)
        yield "Too few validation images for a threshold of their own: {classes}. Take more.", {"classes": classes}


def guideline(found: Decision) -> Iterator[Sentence]:
    """What may move the threshold, and what to do about it."""
    known = found.guideline
    if (shift := known.shift) is not None:
        values = {"clean": percent_of(shift.clean), "accuracy": percent_of(shift.accuracy), "tried": shift.tried}
        if shift.corruption is None:
            yield "None of {tried} corruptions breaks the threshold: at least {accuracy} are right.", values
        else:
            values |= {"corruption": shift.corruption, "severity": shift.severity}
            yield BROKEN, values
    if (tail := known.tail) is not None:
        values = {"rare": percent_of(tail.rare[0]), "rest": percent_of(tail.rest[0]), "n": f"{tail.n:,}"}
        values |= {"classes": _names(found.classes[label] for label in tail.classes)}
        yield RARE[tail.is_worse], values
    if (seeds := known.seeds) is not None:
        values = {"low": f"{seeds.low:.4g}", "high": f"{seeds.high:.4g}", "n": seeds.seeds + 1}
        values |= {"own": f"{seeds.own:.3g}", "worst": f"{seeds.worst:.3g}"}
        yield SEEDS[seeds.matters], values


BROKEN = "{corruption} breaks the threshold first: at severity {severity}, {accuracy} are right there, of clean images {clean}. Add such images to the training images, or keep them out of production."  # noqa: E501 - one key of words.json

RARE = {
    True: "Rare classes are right less often: {rare} at this threshold, others {rest} (n = {n}). Take more images of {classes}.",  # noqa: E501 - as above
    False: "Rare classes are not shown to be right less often: {rare} at this threshold, others {rest} (n = {n}): {classes}.",  # noqa: E501 - as above
}

SEEDS = {
    True: "A model that is trained again needs its own threshold: thresholds of {n} seeds lie from {low} to {high}, and another one costs up to {worst} on validation images, its own {own}.",  # noqa: E501 - as above
    False: "Thresholds of {n} seeds lie from {low} to {high}; any of them costs this model at most {worst} on validation images.",  # noqa: E501 - as above
}


def _points(gain: Interval) -> dict[str, Any]:
    return {
        name: f"{100 * value:+.1f}" for name, value in (("gain", gain.estimate), ("low", gain.low), ("high", gain.high))
    }


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
    yield from rested_on(values, is_apart=found.operation.certify is not None, is_grouped=found.is_grouped)


def rested_on(values: dict[str, Any], *, is_apart: bool, is_grouped: bool) -> Iterator[Sentence]:
    """Which test images rates and costs are of, and who saw results of them before.

    Args:
        values: With `units` and `looked`.
        is_apart: Whether these images were kept apart.
        is_grouped: Whether several images may be one unit.
    """
    if is_grouped:
        yield APART_GROUPS if is_apart else OPEN_GROUPS, values
        yield "Images that belong together are one unit, which is an error if one of its images is.", {}
    elif is_apart:
        yield APART, values
    else:
        yield "Rates and costs are of {units} test images, not used for the choice.", values
    if values["looked"] > 1:
        yield SHOWN if is_apart else LOOKED, values


OPEN_GROUPS = "Rates and costs are of {units} test groups, not used for the choice."

APART = "Rates and costs are of {units} test images that were kept apart: no choice and no other figure used them."

APART_GROUPS = (
    "Rates and costs are of {units} test groups that were kept apart: no choice and no other figure used them."
)

SHOWN = "In this workspace, {looked} models have figures of some of these images: each error is divided by that number."

LOOKED = "A person chose, and may know test results of {looked} models: each error is divided by that number."


def percent_of(rate: float) -> str:
    """A rate to three digits: `0.0914 %`."""
    return f"{100 * rate:.3g} %"


def provable(found: Evidence) -> str:
    """What the test images can show of a limit, before anything is trained."""
    what = f"{found.name} of at most {percent_of(found.limit)}"
    units = UNITS[found.name, found.by_class]
    there = f"{found.units:,} {units} {'are kept apart' if found.is_apart else 'are tested'}"
    if found.needed is None:
        can = "which can show it" if found.suffices else "too few to show it for classes with shares of their own"
    else:
        can = f"and {found.needed:,} without an error show it"
    return f"{what}: {there}, {can}."
