"""What thresholds do to the samples of a model: false accepts, false rejects, reviews, and what these cost.

A unit is an image, or a part of which there are several images; something happens to a part if it happens to one of
its images. Scores that are NaN, and scores equal to a threshold, count as errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.experiment.operation import Operation
from orchestrator.statistics.promises import Rate, Stratum, rate_bounds

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]


class Samples(NamedTuple):
    """The images of one split under one model; arrays of shape (n,)."""

    label: NDArray[np.int32]
    """The true class."""
    prediction: NDArray[np.int32]
    """The class with the highest score."""
    top: Floats
    """The highest score."""
    second: Floats
    """The second highest score."""
    positive: Floats
    """The score of the true class."""
    rival: Floats
    """The highest score of any other class."""
    unit: NDArray[np.int64] | None = None
    """The part that each image shows; None if each shows its own."""

    def of(self, chosen: Flags) -> Samples:
        """Those of the images that are chosen (n,)."""
        return Samples(
            self.label[chosen],
            self.prediction[chosen],
            self.top[chosen],
            self.second[chosen],
            self.positive[chosen],
            self.rival[chosen],
            None if self.unit is None else self.unit[chosen],
        )


class Use(NamedTuple):
    """An operation in numbers of classes."""

    operation: Operation
    classes: int
    """Their number, K."""
    good: Flags | None
    """Whether each class is good (K,); None if an object states its class."""
    shares: Floats | None
    """The share of each class in production (K,), NaN for those that divide the rest; None: as in the test images."""

    @property
    def is_reviewed(self) -> bool:
        """Whether a person looks at parts of which no class, or more than one, scores above the threshold."""
        return self.operation.review > 0

    def side(self, name: str) -> Flags:
        """The classes that a rate is about (K,): defects, good ones, or all."""
        every = np.ones(self.classes, bool)
        if self.good is None or name == "review_share":
            return every
        return self.good if name == "false_reject_rate" else ~self.good

    @classmethod
    def of(cls, operation: Operation, classes: Sequence[str]) -> Use:
        """The operation with these classes.

        Raises:
            ValueError: It names a class that there is not, or leaves no defect, or no good class.
        """
        numbers = {name: number for number, name in enumerate(classes)}

        def number(entry: str | int) -> int:
            if isinstance(entry, int) and 0 <= entry < len(classes):
                return entry
            if str(entry) in numbers:
                return numbers[str(entry)]
            known = ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")  # noqa: PLR2004 - a line of names
            raise ValueError(f"'operation': there is no class '{entry}'. Known: {known}.")

        good = None
        if operation.good:
            good = np.zeros(len(classes), bool)
            good[[number(entry) for entry in operation.good]] = True
            if good.all():
                raise ValueError("'operation': 'good' names all classes, so there is nothing to reject.")
        shares = None
        if operation.shares:
            shares = np.full(len(classes), np.nan)
            for entry, share in operation.shares.items():
                shares[number(entry)] = share
        return cls(operation, len(classes), good, shares)


@dataclass(frozen=True, eq=False)
class Consequences:
    """What each of T thresholds does to the units of each of K classes."""

    use: Use
    thresholds: Floats
    """In ascending order (T,)."""
    units: Counts
    """Units of each class (K,)."""
    false_accept: Counts
    """Units to which it happens (K, T)."""
    false_reject: Counts
    review: Counts
    both: Counts
    """Units that are falsely accepted and falsely rejected; only where objects state their class (K, T)."""

    def __add__(self, other: Consequences) -> Consequences:
        """Of other units as well, to which other thresholds do it; `thresholds` are those of the first."""
        return Consequences(
            self.use,
            self.thresholds,
            self.units + other.units,
            self.false_accept + other.false_accept,
            self.false_reject + other.false_reject,
            self.review + other.review,
            self.both + other.both,
        )

    @property
    def shares(self) -> Floats:
        """The share of each class in production (K,)."""
        seen = self.units / self.units.sum()
        defects = self.use.operation.defects
        if defects is not None and self.use.good is not None:
            good = self.use.good
            sides = np.where(good, seen[good].sum(), seen[~good].sum())
            with np.errstate(invalid="ignore"):
                return np.nan_to_num(seen / sides) * np.where(good, 1 - defects, defects)
        if self.use.shares is None:
            return seen
        is_open = np.isnan(self.use.shares)
        left = 1 - np.nansum(self.use.shares)
        rest = np.where(is_open, seen, 0.0)
        divided = left * rest / rest.sum() if rest.sum() else rest
        shares = np.where(is_open, divided, self.use.shares)
        return shares / shares.sum()

    def rate(self, name: str, place: int) -> Rate | None:
        """A rate at one threshold; None if it has no units, or the operation does not have it.

        Args:
            name: `false_accept_rate` (per defect), `false_reject_rate` (per good part) or `review_share` (per part).
                Where objects state their class, the first two are per object.
            place: That of the threshold.
        """
        strata = [(share, int(errors[place]), n) for share, errors, n in self._strata(name)]
        return Rate(strata) if strata else None

    def estimates(self, name: str) -> Floats:
        """A rate at each threshold (T,), in 0 ... 1; 0 if there is no such rate."""
        found = np.zeros(self.thresholds.size)
        for share, errors, n in self._strata(name):
            found += share * errors / n if n else math.nan
        return found

    def bounds(self, name: str, error: float) -> Floats:
        """The upper bound of a rate at each threshold by itself (T,); 0 if there is no such rate."""
        found = np.zeros(self.thresholds.size)
        strata = self._strata(name)
        for share, errors, n in strata:
            found += share * rate_bounds(errors, n, error / len(strata))
        return found

    def _strata(self, name: str) -> list[tuple[float, Counts, int]]:
        """Of each kind of classes: its share among those that a rate is about, errors (T,), and units."""
        counts = {
            "false_accept_rate": self.false_accept,
            "false_reject_rate": self.false_reject,
            "review_share": self.review,
        }[name]
        return [(share, counts[kind].sum(axis=0), int(self.units[kind].sum())) for share, kind in self.strata_of(name)]

    def strata_of(self, name: str) -> list[tuple[float, NDArray[np.int64]]]:
        """Of each kind of classes: its share among those that a rate is about, and the classes; empty if there is none.

        Args:
            name: As in `rate`.
        """
        side = self.use.side(name)
        if not self.units[side].sum() or (name == "review_share" and not self.use.is_reviewed):
            return []
        return self.kinds(side)

    def kinds(self, side: Flags) -> list[tuple[float, NDArray[np.int64]]]:
        """Classes whose units stand for each other, and their share among those of one side (K,) in production."""
        found = [(float(shares.sum()), kind) for kind, shares in self._kinds(side)]
        total = sum(share for share, _ in found)
        return [(share / total, kind) for share, kind in found]

    def _kinds(self, side: Flags) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Classes whose units stand for each other, and their shares: each that has a share of its own, all others."""
        shares = self.shares
        if self.use.operation.defects is not None and self.use.good is not None:
            for kind in (np.flatnonzero(side & self.use.good), np.flatnonzero(side & ~self.use.good)):
                if shares[kind].sum() > 0:
                    yield kind, shares[kind]
            return
        given = np.zeros(side.size, bool) if self.use.shares is None else ~np.isnan(self.use.shares)
        for kind in (*np.flatnonzero(side & given)[:, None], np.flatnonzero(side & ~given)):
            if shares[kind].sum() > 0:
                yield kind, shares[kind]

    def costs(self) -> Floats:
        """The expected cost per unit at each threshold (T,), in the unit of the prices; NaN if it cannot be said."""
        prices = self.use.operation.prices
        total = (
            prices.false_accept * self.false_accept
            + prices.false_reject * self.false_reject
            + prices.review * self.review
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(self.units[:, None] > 0, total / self.units[:, None], np.nan)
        shares = self.shares
        return shares[shares > 0] @ mean[shares > 0]

    def strata(self, place: int) -> list[Stratum]:
        """What units cost at one threshold: of each class that has a share of its own, and of all others together."""
        every = np.ones(self.units.size, bool)
        return [
            Stratum(float(shares.sum()), int(self.units[kind].sum()), self._prices(kind, place))
            for kind, shares in self._kinds(every)
        ]

    def _prices(self, classes: NDArray[np.int64], place: int) -> list[tuple[float, int]]:
        prices = self.use.operation.prices
        accepts, rejects, reviews, both = (
            int(counts[classes, place].sum())
            for counts in (self.false_accept, self.false_reject, self.review, self.both)
        )
        return [
            (prices.false_accept, accepts - both),
            (prices.false_reject, rejects - both),
            (prices.false_accept + prices.false_reject, both),
            (prices.review, reviews),
        ]


def consequences(samples: Samples, use: Use, thresholds: Floats) -> Consequences:
    """What each threshold does.

    Args:
        samples: Of one split.
        use: The operation.
        thresholds: In ascending order (T,).
    """
    label, accepted, rejected, reviewed = events_of_units(samples, use, thresholds)
    is_of_class = (np.arange(use.classes)[:, None] == label).astype(np.float32)

    def by_class(flags: Flags) -> Counts:
        return (is_of_class @ flags.astype(np.float32)).astype(np.int64)

    return Consequences(
        use,
        thresholds,
        np.bincount(label, minlength=use.classes).astype(np.int64),
        by_class(accepted),
        by_class(rejected),
        by_class(reviewed),
        by_class(accepted & rejected),
    )


def events_of_units(samples: Samples, use: Use, thresholds: Floats) -> tuple[NDArray[np.int32], Flags, Flags, Flags]:
    """The class of each unit (u,), and whether it is falsely accepted, falsely rejected, or looked at (u, T)."""
    accepted, rejected, reviewed = events(samples, use, thresholds)
    if samples.unit is None:
        return samples.label, accepted, rejected, reviewed
    _, first, unit = np.unique(samples.unit, return_index=True, return_inverse=True)
    accepted, rejected, reviewed = (_any(flags, unit, first.size) for flags in (accepted, rejected, reviewed))
    # Of a part, the dearest counts: an image that is falsely accepted, then one that is rejected.
    return samples.label[first], accepted, rejected, reviewed & ~(accepted | rejected)


def events(samples: Samples, use: Use, thresholds: Floats) -> tuple[Flags, Flags, Flags]:
    """Whether each image is falsely accepted, falsely rejected, or looked at (n, T)."""
    t = thresholds[None, :]
    if use.good is None:
        accepted = ~(samples.rival[:, None] < t)
        rejected = ~(samples.positive[:, None] > t)
        return accepted, rejected, np.zeros_like(accepted)
    is_one = (samples.second[:, None] < t) & (samples.top[:, None] > t)
    is_good = use.good[samples.label][:, None]
    says_good = use.good[samples.prediction][:, None]
    accepted = ~is_good & says_good & is_one
    if use.is_reviewed:
        return accepted, is_good & ~says_good & is_one, ~is_one
    return accepted, is_good & ~(says_good & is_one), np.zeros_like(accepted)


def _any(flags: Flags, unit: NDArray[np.int64], units: int) -> Flags:
    """Whether it happens to any image of each unit (units, T)."""
    order = np.argsort(unit, kind="stable")
    return np.logical_or.reduceat(flags[order], np.searchsorted(unit[order], np.arange(units)), axis=0)
