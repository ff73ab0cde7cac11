"""How a model would be used: what is accepted, what errors cost, and what must not happen too often."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainers.metrics.traits import DISTANCE, ERROR, PLACE
from trainers.plugin import Frozen

MEASURES = {
    "operating_threshold": "the threshold with the lowest expected cost on validation images, within the limits there",
    "expected_cost": "expected cost per unit at that threshold on test images, reweighted to production",
    "false_accept_rate": "false accepts per defect there; per object if objects state their class",
    "false_reject_rate": "false rejects per good part there; per object if objects state their class",
    "review_share": "share of parts there that a person has to look at",
}
"""What a model does in an operation: columns of the results table if the experiment describes one."""

TRAITS = {
    "operating_threshold": PLACE,
    "expected_cost": DISTANCE,
    "false_accept_rate": ERROR,
    "false_reject_rate": ERROR,
    "review_share": ERROR,
}

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Per unit, in any currency."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

Limited = Literal["false_accept_rate", "false_reject_rate"]
"""The rates that can have a limit."""


class Prices(Frozen):
    """What each kind of error costs, per image or part."""

    false_accept: Price = 1.0
    """A defect that is accepted; or, where objects state their class, a wrong class that would be accepted."""
    false_reject: Price = 1.0
    """A good part that is rejected; or the true class that would be."""
    review: Price = 1.0
    """A part that a person looks at."""


class Limits(Frozen):
    """Rates that must not be exceeded; those given are to be promised."""

    false_accept_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """False accepts per defect."""
    false_reject_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """False rejects per good part."""

    @property
    def given(self) -> dict[Limited, float]:
        """The limits that are given."""
        rates: dict[Limited, float | None] = {
            "false_accept_rate": self.false_accept_rate,
            "false_reject_rate": self.false_reject_rate,
        }
        return {name: limit for name, limit in rates.items() if limit is not None}


class Operation(Frozen):
    """How a model would be used, with one threshold for all classes.

    With `good`, a part is accepted if exactly one class scores above the threshold and that class is good, and
    rejected if exactly one does and it is a defect. All others are looked at by a person, or rejected where nobody
    looks. Without `good`, an object states its class and is accepted if that class scores above the threshold.
    """

    dataset: str | None = None
    """The label of the data set that stands for production; needed if the experiment has several."""
    good: tuple[str | int, ...] = ()
    """The classes to accept, by name or number; all others are defects."""
    prices: Prices = Prices()
    """What each kind of error costs. Default: 1 for each, so that the expected cost is the share of errors."""
    limits: Limits = Limits()
    """Rates that must not be exceeded."""
    shares: dict[str | int, Share] = Field(default_factory=dict)
    """The expected share of classes in production, by name or number. What they leave, the other classes divide as in
    the test images. Default: all as in the test images."""
    defects: Share | None = None
    """The expected share of defects in production. Default: as in the test images."""
    review: Share = 0.0
    """The largest share of parts that people can look at; 0 if nobody does."""
    certify: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The share of the test images that is kept apart for the promise: no figure, page or choice sees them before
    `decide` opens them. Another share trains the cells again. Default: all test images are for both."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """The probability with which a promise holds."""

    @model_validator(mode="after")
    def _fits_together(self) -> Operation:
        if self.review and not self.good:
            raise ValueError(
                "'review' needs 'good': without it an object states its class, and is accepted or rejected"
            )
        if self.defects is not None and (self.shares or not self.good):
            raise ValueError("'defects' needs 'good', and takes the place of 'shares': give one of them")
        if (total := sum(self.shares.values())) > 1 + 1e-9:
            raise ValueError(f"'shares' add up to {total:g}; together they are at most 1")
        for name in ("good", "shares"):
            entries = [str(entry) for entry in getattr(self, name)]
            if repeated := {entry for entry in entries if entries.count(entry) > 1}:
                raise ValueError(f"'{name}' names {min(repeated)} twice")
        return self

    @property
    def error(self) -> float:
        """The probability with which a promise may be wrong."""
        return 1 - self.confidence
