"""Claims: hypotheses about losses, stated before the run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.errors import RequestError
from orchestrator.experiment import operation
from orchestrator.experiment.own_measures import OF_SCORE_FILES, is_derived, is_own, trait
from trainers import catalogue
from trainers.metrics import MEASURES
from trainers.plugin import Frozen

Axis = Literal["loss", "backbone", "dataset"]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
"""Safe as a file name on every storage."""


class Where(Frozen):
    """Selects cells by the labels of axis values; an axis that is not given matches all."""

    loss: str | None = None
    """The label of a loss."""
    backbone: str | None = None
    """The label of a backbone."""
    dataset: str | None = None
    """The label of a data set."""

    def matches(self, loss: str, backbone: str, dataset: str) -> bool:
        """Whether a cell with these labels is selected."""
        pairs = ((self.loss, loss), (self.backbone, backbone), (self.dataset, dataset))
        return all(wanted in (None, label) for wanted, label in pairs)


def unknown(word: str, known: Collection[str], noun: str) -> str | None:
    """The error message for an unknown word; None if it is known."""
    if word in known:
        return None
    return f"No {noun} named '{word}'.{catalogue.nearest(word, list(known))} Known: {', '.join(known)}."


def measured(metric: str | None) -> str | None:
    """Return the name of a measure, if there is such a measure.

    Raises:
        PydanticCustomError: There is none; the message names the nearest.
    """
    if metric and is_own(metric):
        try:
            trait(metric)
        except RequestError as error:
            raise PydanticCustomError("unknown", "{text}", {"text": str(error)}) from None
    elif metric in (None, *OF_SCORE_FILES):
        return metric
    elif complaint := unknown(metric, [*MEASURES, *operation.MEASURES], "measure"):
        raise PydanticCustomError(
            "unknown", "{text}", {"text": f"{complaint} Name your own measure as 'MODULE:FUNCTION'."}
        )
    return metric


class Than(Frozen):
    """The effect with which a claim's effect is compared; what is not given is as in the claim."""

    metric: str | None = None
    """Another measure."""
    challenger: str | None = None
    """Another challenger."""
    baseline: str | None = None
    """Another baseline."""
    baseline_metric: str | None = None
    """Another measure of the baseline."""
    backbone: str | None = None
    """Another backbone."""
    dataset: str | None = None
    """Another data set."""

    @field_validator("metric", "baseline_metric")
    @classmethod
    def _is_measured(cls, metric: str | None) -> str | None:
        return measured(metric)

    @model_validator(mode="after")
    def _is_another(self) -> Than:
        if not self.model_dump(exclude_none=True):
            raise ValueError("'than' must say how the other effect differs, as in 'than: {dataset: cifar10}'")
        return self


class Trend(Frozen):
    """The positions of data sets or backbones on a line along which an effect should rise or fall."""

    dataset: dict[str, float] | None = None
    """The position of each data set, by its label."""
    backbone: dict[str, float] | None = None
    """The position of each backbone, by its label."""

    @model_validator(mode="after")
    def _is_along_one_axis(self) -> Trend:
        if (self.dataset is None) == (self.backbone is None):
            raise ValueError("'trend' is either {dataset: {NAME: POSITION, …}} or {backbone: {NAME: POSITION, …}}")
        if len(set(self.positions.values())) < 2:  # noqa: PLR2004 - a slope needs two points
            raise ValueError("A trend needs at least two different positions")
        return self

    @property
    def axis(self) -> Literal["dataset", "backbone"]:
        """The axis whose values are ordered."""
        return "backbone" if self.dataset is None else "dataset"

    @property
    def positions(self) -> Mapping[str, float]:
        """The position of each value of that axis."""
        return self.dataset or self.backbone or {}


class Expected(Frozen):
    """How large an effect is expected to be before any run, and the source of that."""

    effect: float
    """Challenger minus baseline, in the unit of the measure: 0.01 is one percentage point of an accuracy."""
    source: str = Field(min_length=1)
    """The source, such as a paper."""


class Claim(Frozen):
    """A hypothesis stated before the run.

    It is about the paired difference of a measure between two losses or, with `within`, about
    the distance of one loss's measure from 0.
    """

    id: Name
    """Names the claim in tables and in the records of cells."""
    metric: str
    """A measure, or `MODULE:FUNCTION` for one of your own."""
    challenger: str
    """The label of the loss that the claim is about."""
    baseline: str | None = None
    """The label of the loss that it is compared with; required unless `within` is given."""
    baseline_metric: str | None = None
    """The baseline's measure if it differs, such as a calibrated probability against a raw score."""
    direction: Literal["higher", "lower", "equal"] = "equal"
    """Where the challenger's measure lies relative to the baseline's; required unless `within` is given."""
    margin: float = Field(default=0.0, ge=0)
    """Differences up to this size do not matter in practice. In the unit of the measure: for an accuracy, 0.002 is 0.2
    percentage points."""
    within: float | None = Field(default=None, gt=0)
    """The largest distance from 0 that the measure itself may have."""
    where: Where = Where()
    """The settings that the claim is about."""
    over: Literal["each", "mean", "all", "some"] = "each"
    """Whether each setting gets its own verdict, or there is one verdict on their mean, on all, or on at least one."""
    population: bool = False
    """Whether the mean is over the population from which these data sets are a sample, rather than over just these."""
    than: Than | None = None
    """Another effect: the claim is then about how much larger its own effect is."""
    trend: Trend | None = None
    """A line: the claim is then about how much its effect changes per unit along it."""
    family: Literal["primary", "secondary"] = "primary"
    """Secondary claims get a verdict only when every primary claim has one."""
    expect: Expected | None = None
    """The expected effect, from which `plan` computes how probable it is that the claim will be supported."""

    @field_validator("metric", "baseline_metric")
    @classmethod
    def _is_measured(cls, metric: str | None) -> str | None:
        return measured(metric)

    @model_validator(mode="after")
    def _is_of_one_scope(self) -> Claim:
        if self.population and self.over != "mean":
            raise ValueError("'population' says what the mean is over, so it needs 'over: mean'")
        if self.than and self.trend and getattr(self.than, self.trend.axis) is not None:
            axis = self.trend.axis
            raise ValueError(f"'trend' covers all of its {axis}s: leave '{axis}' out of 'than'")
        if self.trend and getattr(self.where, self.trend.axis) is not None:
            raise ValueError(f"'trend' already names its {self.trend.axis}s: leave '{self.trend.axis}' out of 'where'")
        by_dataset = (self.trend and self.trend.dataset) or (self.than and self.than.dataset)
        if self.population and by_dataset:
            raise ValueError("A claim over a population of data sets cannot compare one data set with another")
        return self

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Claim:
        if self.within is not None:
            if self.than or self.trend:
                raise ValueError("A claim with 'within' is about one measure: leave out 'than' and 'trend'")
            if self.model_fields_set & {"baseline", "baseline_metric", "direction", "margin"}:
                raise ValueError("A claim with 'within' is about one loss: leave out baseline, direction and margin")
            return self
        if missing := [f"'{name}'" for name in ("baseline", "direction") if name not in self.model_fields_set]:
            raise ValueError(f"A claim about a difference needs {' and '.join(missing)}, or else 'within'")
        if self.direction == "equal" and not self.margin:
            raise ValueError("A claim of equality needs a margin above 0, since measurements never agree exactly")
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """All measures that the claim is about."""
        than = (self.than.metric, self.than.baseline_metric) if self.than else ()
        return tuple(dict.fromkeys(filter(None, (self.metric, self.baseline_metric, *than))))

    @property
    def is_combined(self) -> bool:
        """Whether a verdict rests on more than one pair of losses in one setting."""
        return self.over != "each" or self.than is not None or self.trend is not None

    @property
    def is_followed(self) -> bool:
        """Whether `until` can wait for it: one pair of losses per setting, and measures known when a cell ends."""
        return not self.is_combined and self._may_ask

    @property
    def is_followed_together(self) -> bool:
        """Whether `until` can wait for its one verdict over several settings."""
        is_contrast = self.than is not None or self.trend is not None or self.population
        return self.over != "each" and not is_contrast and self._may_ask

    @property
    def _may_ask(self) -> bool:
        return self.family == "primary" and not any(map(is_derived, self.metrics))

    @property
    def tolerance(self) -> float:
        """The size of a difference, or of the measure itself, that does not matter."""
        return self.margin if self.within is None else self.within
