"""Claims: hypotheses about losses, stated before the run."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from trainers import catalogue
from trainers.metrics import MEASURES
from trainers.plugin import Frozen

Axis = Literal["loss", "backbone", "dataset"]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
"""Safe as a file name on every storage."""


class Where(Frozen):
    """Selects cells by axis values, as the experiment calls them; what is not given matches all."""

    loss: str | None = None
    backbone: str | None = None
    dataset: str | None = None

    def matches(self, loss: str, backbone: str, dataset: str) -> bool:
        """Whether a cell with these labels is selected."""
        pairs = ((self.loss, loss), (self.backbone, backbone), (self.dataset, dataset))
        return all(wanted in (None, label) for wanted, label in pairs)


def unknown(word: str, known: Collection[str], noun: str) -> str | None:
    """The complaint about a word that is not known; none where it is."""
    if word in known:
        return None
    return f"No {noun} named '{word}'.{catalogue.nearest(word, list(known))} Known: {', '.join(known)}."


class Claim(Frozen):
    """A hypothesis stated before the run.

    Either a paired difference of a measure between two losses, or, with `within`, that a
    measure of one loss lies so close to 0.
    """

    id: Name
    metric: str
    challenger: str
    baseline: str | None = None
    baseline_metric: str | None = None
    """The baseline's measure where it is another: a calibrated probability against a raw score."""
    direction: Literal["higher", "lower", "equal"] = "equal"
    margin: float = Field(default=0.0, ge=0)
    """Differences up to this size count as equivalent in practice."""
    within: float | None = Field(default=None, gt=0)
    """The largest distance from 0 that the measure itself may have."""
    where: Where = Where()
    """The settings the claim speaks of."""

    @field_validator("metric", "baseline_metric")
    @classmethod
    def _is_measured(cls, metric: str | None) -> str | None:
        if metric and (complaint := unknown(metric, MEASURES, "measure")):
            raise PydanticCustomError("unknown", "{text}", {"text": complaint})
        return metric

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Claim:
        if self.within is not None:
            if self.model_fields_set & {"baseline", "baseline_metric", "direction", "margin"}:
                raise ValueError("A claim with 'within' speaks of one loss: leave out baseline, direction and margin")
            return self
        if missing := [f"'{name}'" for name in ("baseline", "direction") if name not in self.model_fields_set]:
            raise ValueError(f"A claim about a difference needs {' and '.join(missing)}, or else 'within'")
        if self.direction == "equal" and not self.margin:
            raise ValueError("A claim of equality needs a margin above 0, since measurements never agree exactly")
        return self

    @property
    def tolerance(self) -> float:
        """The size of difference, or of the measure itself, that does not matter."""
        return self.margin if self.within is None else self.within
