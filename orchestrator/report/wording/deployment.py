"""A deployed model in sentences: its certificate, and what checks of new lots found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.deployment.certificate import VALID, Certificate, CertifiedRate
from orchestrator.deployment.check import Checked, CheckedRate, Compared
from orchestrator.report.wording.decision import counted, expected, percent_of, promised, rested_on
from orchestrator.sentences import Sentence

RATES = {
    ("false_accept_rate", True): "At most {bound} of defects are accepted.",
    ("false_accept_rate", False): "At most {bound} of objects are accepted as another class.",
    ("false_reject_rate", True): "At most {bound} of good parts are rejected.",
    ("false_reject_rate", False): "At most {bound} of objects are rejected as their own class.",
    ("review_share", True): "At most {bound} of parts have to be looked at.",
}
"""What is promised of each rate, where classes are good or defects, and where objects state their class."""

TESTED: Mapping[str, str] = {
    "kept": "Kept: shown after {seen} of {n}.",
    "broken": "Broken: certain after {seen} of {n}.",
    "undecided": "Undecided after {n}.",
}

ANSWERS = {
    ("kept", True): "Kept: this lot shows what was promised.",
    ("broken", True): "Broken: this lot does not keep what was promised.",
    ("undecided", True): "Undecided: this lot does not show whether the promise is kept.",
    ("kept", False): "No change: the lot looks like the certified images. Only labelled images can show errors.",
    ("broken", False): "Changed: the lot does not look like the certified images, so nothing is promised for it.",
    ("undecided", False): "Undecided: the lot is too small to notice a change of {coarse} points.",
}
"""By verdict, and whether the lot is labelled."""

AGREES = "The file was run on all {images} test images: scores agree to {largest} of an image's largest score; {near} lie so near to the threshold that the decision may differ, and {differing} differ."  # noqa: E501 - one key of words.json

SHAPES = {
    "top": "Highest scores",
    "second": "Second highest scores",
    "outcomes": "Accepted, rejected and looked at",
}


def model(of: Certificate) -> Sentence:
    """Which model it is."""
    values = {"loss": of.loss, "backbone": of.backbone, "seed": of.seed, "threshold": f"{of.threshold:.6g}"}
    return "{loss} on {backbone}, seed {seed}, at threshold {threshold}.", values


def promises(of: Certificate) -> Iterator[tuple[Sentence, list[Sentence]]]:
    """What is promised of each rate, and on what evidence."""
    by_class = bool(of.operation.good)
    for rate in of.rates:
        yield (RATES[rate.name, by_class], {"bound": percent_of(rate.bound)}), list(_evidence(rate, by_class))


def _evidence(rate: CertifiedRate, by_class: bool) -> Iterator[Sentence]:
    yield counted(rate, by_class)
    if rate.limit is not None:
        yield promised(rate, by_class)


def cost(of: Certificate) -> Sentence:
    """The cost that is promised."""
    return "Expected cost per unit: {cost}, at most {bound}.", {
        "cost": f"{of.cost:.3g}",
        "bound": f"{of.cost_bound:.3g}",
    }


def confidence(of: Certificate) -> Sentence:
    """How sure the promise is."""
    return "With {confidence} % confidence:", {"confidence": f"{100 * of.operation.confidence:g}"}


def evidence(of: Certificate) -> Iterator[Sentence]:
    """What the promise rests on."""
    values = {"units": f"{of.units:,}", "candidates": of.candidates, "looked": of.looked, "dataset": of.dataset}
    yield from rested_on(values, is_apart=of.operation.certify is not None, is_grouped=of.grouped)
    if of.candidates > 1:
        yield "Model and threshold were chosen among {candidates} models on validation images of {dataset}.", values
    else:
        yield "The threshold was chosen on validation images of {dataset}.", values
    agreement = {
        "images": f"{of.agreement.images:,}",
        "largest": f"{of.agreement.largest:.1e}",
        "near": of.agreement.near,
        "differing": of.agreement.differing,
    }
    yield AGREES, agreement
    if of.retrained:
        yield "The cell was trained again for this file, and gave the same scores.", {}


def validity(of: Certificate) -> Iterator[Sentence]:
    """What the promise holds for, and until when."""
    yield "It holds for images like the test images: the same parts, camera, light and focus.", {}
    yield expected(of.operation)
    yield (
        "It is valid until {day}, or until a check says that it is broken or that images have changed.",
        {"day": of.expires.isoformat()},
    )


def answer(found: Checked) -> Sentence:
    """What the lot says, in one sentence."""
    from orchestrator.deployment.check import COARSE

    return ANSWERS[found.verdict, found.is_labelled], {"coarse": f"{100 * COARSE:g}"}


def tested(rate: CheckedRate, by_class: bool) -> Iterator[Sentence]:
    """What a labelled lot says of one rate."""
    yield RATES[rate.name, by_class], {"bound": percent_of(rate.bound)}
    yield "{errors} of {n} in this lot.", {"errors": f"{rate.errors:,}", "n": f"{rate.n:,}"}
    yield TESTED[rate.verdict], {"seen": f"{rate.seen:,}", "n": f"{rate.n:,}"}
    if rate.more is not None:
        yield "{more} more without an error would show it.", {"more": f"{rate.more:,}"}


def compared(shape: Compared) -> Sentence:
    """How one distribution of a lot stands to the certified one."""
    values = {
        "what": SHAPES[shape.name],
        "distance": f"{100 * shape.distance:.1f}",
        "noticed": f"{100 * shape.noticed:.1f}",
        "p": f"{shape.p:.2g}",
    }
    return (
        "{what}: up to {distance} points from the certified images; from {noticed} on it counts as a change (p = {p}).",
        values,
    )


def cautions(found: Checked) -> Iterator[Sentence]:
    """What to know of the answer."""
    shares = {
        "accepted": f"{100 * found.outcomes[0] / found.images:.2f}",
        "expected": f"{100 * found.expected[0]:.2f}",
        "images": f"{found.images:,}",
    }
    if found.groups is not None:
        groups = {"groups": f"{found.groups:,}", "images": f"{found.images:,}"}
        yield "{groups} groups with {images} images were tested: a group errs where one of its images does.", groups
    if not found.is_labelled:
        yield "Accepted: {accepted} % of {images} images; of the certified images, in production, {expected} %.", shares
        rate = {"percent": f"{100 * found.false_alarms:g}", "lots": f"{100 * found.false_alarms:g}"}
        yield "Of unchanged lots, at most {percent} % are called changed: {lots} of 100.", rate
        if found.lots:
            yield "Differences between {lots} certified lots are allowed for.", {"lots": found.lots}
        else:
            yield "Lots are taken to differ by chance alone, until five labelled lots have kept the promise.", {}
    if found.is_expired:
        yield "The certificate has expired: it was valid for {days} days.", {"days": VALID.days}
