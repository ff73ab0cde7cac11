"""Is the promise kept on a new lot?

A labelled lot is tested image by image, and can be stopped as soon as the answer is certain. An unlabelled lot shows no
errors; its scores and decisions are set against those of the certified images.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.deployment import certificate as certificates
from orchestrator.deployment.certificate import MODEL, Certificate, CertifiedRate, Reference
from orchestrator.deployment.lot import decoded, lot
from orchestrator.deployment.model_file import ModelFile
from orchestrator.deployment.scored import binned, outcomes, samples
from orchestrator.errors import RequestError
from orchestrator.statistics.lots import FEWEST_LOTS, Kind, departure, more_units, p_between_lots, walk
from orchestrator.thresholds.consequences import Flags, Samples, Use, events_of_units

FALSE_ALARMS = 0.01
"""The share of unlabelled lots that are called changed although they are not, at most."""

COARSE = 0.2
"""A lot so small that only a larger change would be noticed says nothing."""

Verdict = Literal["kept", "broken", "undecided"]

SHAPES = ("top", "second", "outcomes")


class CheckedRate(NamedTuple):
    """One promised rate on a labelled lot."""

    name: str
    bound: float
    """The promise."""
    errors: int
    n: int
    """Units of the lot that it is about."""
    seen: int
    """Units after which the answer was certain; all of them if it is not."""
    verdict: Verdict
    more: int | None
    """Units without an error that would show that it is kept; None if it is, or is broken, or no number suffices."""


class Compared(NamedTuple):
    """One distribution of a lot beside that of the certified images."""

    name: str
    """That of the highest scores, of the second highest, or of outcomes."""
    distance: float
    """The largest difference of cumulative shares, in 0 ... 1."""
    noticed: float
    """From which distance on it is called changed."""
    p: float
    usual: float
    """The median distance of unchanged lots of this size."""
    is_changed: bool


class Checked(NamedTuple):
    """What a lot says."""

    verdict: Verdict
    lot: str
    time: datetime
    images: int
    groups: int | None
    """Groups that were tested, where the certificate promises per group and the lot is labelled."""
    is_labelled: bool
    rates: tuple[CheckedRate, ...]
    """Of a labelled lot."""
    shapes: tuple[Compared, ...]
    """Of an unlabelled lot they decide; of a labelled one they are kept for later lots."""
    outcomes: tuple[int, int, int]
    """Images accepted, rejected and looked at."""
    expected: tuple[float, float, float]
    """Their shares among certified images, in production."""
    false_alarms: float
    """The share of unchanged lots that would be called changed, at most."""
    lots: int
    """Certified lots whose differences count; 0 if there are too few."""
    is_expired: bool


def check(folder: Path, new: Path, earlier: Sequence[dict[str, float]] = ()) -> Checked:
    """Answer whether a lot keeps what the certificate in a folder promises.

    Args:
        folder: What `deploy` wrote.
        new: The lot.
        earlier: As `judged` takes it.

    Raises:
        RequestError: Something cannot be read.
    """
    told = certificates.read(folder)
    model = ModelFile(folder / MODEL, told.digests[MODEL])
    found = lot(new, told)
    parts = [(model.scores(images), labels) for images, labels in decoded(found, told.reading)]
    if not parts:
        raise RequestError(f"{new} has no images.")
    scores, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    seen = samples(scores, labels)._replace(unit=found.groups)
    return judged(told, seen, str(new), earlier, is_labelled=found.is_labelled)


def judged(
    told: Certificate, seen: Samples, name: str, earlier: Sequence[dict[str, float]] = (), *, is_labelled: bool
) -> Checked:
    """What the scores of a lot say.

    Args:
        told: What is promised.
        seen: The images.
        name: Of the lot.
        earlier: Of certified lots, how far each distribution was, in units of the usual distance.
        is_labelled: Whether the true classes are known.
    """
    use = Use.of(told.operation, told.classes)
    what = outcomes(seen, use, told.threshold)
    rates = tuple(tested(told, seen, use)) if is_labelled else ()
    lots = earlier if len(earlier) >= FEWEST_LOTS else ()
    shapes = tuple(_compared(told, seen, what, lots, is_labelled=is_labelled))
    expected = np.sum(
        [kind.share * np.array(kind.outcomes) / sum(kind.outcomes) for kind in told.reference.kinds], axis=0
    )
    now = datetime.now(UTC)
    return Checked(
        _verdict([rate.verdict for rate in rates]) if is_labelled else _unchanged(shapes),
        name,
        now,
        seen.label.size,
        None if seen.unit is None else np.unique(seen.unit).size,
        is_labelled,
        rates,
        shapes,
        _three(np.bincount(what, minlength=3)),
        _three(expected),
        FALSE_ALARMS,
        len(lots),
        now.date() >= told.expires,
    )


def _verdict(verdicts: Sequence[Verdict]) -> Verdict:
    if "broken" in verdicts:
        return "broken"
    return "kept" if verdicts and all(each == "kept" for each in verdicts) else "undecided"


def _unchanged(shapes: Sequence[Compared]) -> Verdict:
    if any(shape.is_changed for shape in shapes):
        return "broken"
    return "undecided" if not shapes or max(shape.noticed for shape in shapes) > COARSE else "kept"


def tested(told: Certificate, seen: Samples, use: Use) -> list[CheckedRate]:
    """Each promised rate: broken at the error over their number; kept at the error for each, as all have to be."""
    error = told.operation.error
    label, *flags = events_of_units(seen, use, np.array([told.threshold]))
    names = ("false_accept_rate", "false_reject_rate", "review_share")
    happened: dict[str, Flags] = {name: each[:, 0] for name, each in zip(names, flags, strict=True)}
    found = list[CheckedRate]()
    for rate in told.rates:
        units = _units(label, rate)
        wrong = happened[rate.name][units]
        walked = walk(wrong, rate.bound, error_above=error / len(told.rates), error_below=error)
        verdict: Verdict = "undecided" if walked.verdict is None else "kept" if walked.verdict else "broken"
        more = more_units(walked.errors, walked.n, rate.bound, error) if walked.verdict is None else None
        found.append(CheckedRate(rate.name, rate.bound, walked.errors, walked.n, walked.seen, verdict, more))
    return found


def _units(label: NDArray[np.int32], rate: CertifiedRate) -> NDArray[np.int64]:
    """The places of the units that a rate is about, in an order in which each is one of production.

    Files are sorted by class, and classes differ, so the order is random, the same each time. A rate of several kinds
    of classes is one of production, and a lot may have another mix: the kind of each next unit is drawn by its share,
    until the kind that is drawn has no unit left.
    """
    rng = np.random.default_rng(0)
    queues = [rng.permutation(np.flatnonzero(np.isin(label, part.classes))) for part in rate.parts]
    if len(queues) == 1:
        return queues[0]
    drawn = rng.choice(len(queues), label.size, p=[part.share for part in rate.parts])
    used = np.zeros(len(queues), int)
    places = list[int]()
    for kind in drawn.tolist():
        if used[kind] == queues[kind].size:
            break
        places.append(int(queues[kind][used[kind]]))
        used[kind] += 1
    return np.array(places, np.int64)


def _compared(
    told: Certificate, seen: Samples, what: NDArray[np.int64], lots: Sequence[dict[str, float]], *, is_labelled: bool
) -> list[Compared]:
    """Each distribution beside that of the certified images, at the error over their number."""
    held = told.reference
    kinds = held.kinds
    masks = [np.ones(seen.label.size, bool)]
    if is_labelled:
        masks = [np.isin(seen.label, kind.classes) for kind in kinds]
        if not all(mask.any() for mask in masks):
            return []
    rng = np.random.default_rng(0)
    error = FALSE_ALARMS / len(SHAPES)
    found = list[Compared]()
    for name in SHAPES:
        counts = np.array([_counted(held, name, seen, what, mask) for mask in masks])
        certified = [Kind(kind.share, np.array(getattr(kind, name))) for kind in kinds]
        apart = departure(certified, counts if is_labelled else counts[0], error, rng)
        p = apart.p
        if lots and apart.usual > 0:
            p = max(p, p_between_lots(apart.distance / apart.usual, [earlier[name] for earlier in lots]))
        found.append(Compared(name, apart.distance, apart.noticed, p, apart.usual, p <= error))
    return found


def _counted(held: Reference, name: str, seen: Samples, what: NDArray[np.int64], mask: Flags) -> NDArray[np.int64]:
    """How many of the images fell into each bin."""
    if name == "outcomes":
        return np.bincount(what[mask], minlength=3)
    return binned(getattr(seen, name)[mask], np.array(getattr(held, name)))


def _three(values: NDArray[np.int64] | NDArray[np.float64]) -> tuple[Any, Any, Any]:
    first, second, third = values.tolist()
    return first, second, third
