"""What a tuning stage does: the same space, trials and compute for every loss on every backbone and dataset."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator
from pydantic_core import PydanticCustomError

from orchestrator.experiment.space import Domain, Value
from trainers.losses import Loss
from trainers.plugin import Frozen
from trainers.recipe import Training

FIRST_SEED = 1_000_000
"""The first seed of trials if only their number is given: above every seed that a number of final seeds can mean."""

FIXED = {
    "epochs": "every loss must have the same compute",
    "validation_fraction": "every loss must learn from the same data",
    "label_noise": "every loss must learn from the same data",
}
"""Fields of a recipe that are not tuned, and why."""


def _numbered(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if not 1 <= value <= MOST_SEEDS:
        raise ValueError(f"tuning takes between 1 and {MOST_SEEDS} seeds per trial; found {value}")
    return tuple(range(FIRST_SEED, FIRST_SEED + value))


MOST_SEEDS = 1000
"""The largest number of seeds per trial."""


class Tuning(Frozen):
    """How a recipe is found for each loss on each backbone and dataset before its final cells are trained.

    Trials are scored on a validation split, taken from the training data; the test split is not
    used. The final cells have other seeds.
    """

    space: Annotated[Mapping[str, Domain], Field(min_length=1)]
    """Fields of the recipe, for all losses, and parameters of losses, for those that have them."""
    trials: int = Field(ge=2, le=10_000)
    """The number of recipes to try for each loss on each backbone and dataset."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31, strict=True)], ...], BeforeValidator(_numbered)] = (
        FIRST_SEED,
    )
    """Seeds with which each recipe is trained; the mean of its scores decides. A number N means N seeds."""
    metric: str = "uniform_accuracy"
    """The measure by which trials are ranked."""
    direction: Literal["higher", "lower"] = "higher"
    """Whether a higher or a lower value of that measure is better."""
    on: Literal["validation"] = "validation"
    """The images that trials are scored on."""
    searcher: Literal["random", "optuna", "asha"] = "random"
    """`random`: all recipes are drawn beforehand, the same for every loss. `optuna`: Optuna's sampler, which learns
    from earlier trials. `asha`: like `random`, but in rungs, and only the best third is trained for longer."""

    _fields: Collection[str] = PrivateAttr(default=tuple(Training.model_fields))

    @field_validator("space")
    @classmethod
    def _is_not_fixed(cls, space: Mapping[str, Domain]) -> Mapping[str, Domain]:
        for name in space:
            if reason := FIXED.get(name):
                raise PydanticCustomError("unknown", "{text}", {"text": f"'{name}' is not tuned: {reason}."})
        return space

    @field_validator("seeds")
    @classmethod
    def _are_distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError("'tuning.seeds' is a number, or a list of one or more different seeds")
        return tuple(sorted(seeds))

    @property
    def fields(self) -> Collection[str]:
        """The fields of a recipe; any other name is that of a loss's parameter."""
        return self._fields

    def of_parameters(self) -> Self:
        """The same where a command trains, whose recipe has no field to tune: every name is that of a parameter."""
        found = self.model_copy()
        found._fields = ()  # a copy of itself
        return found

    @property
    def shared(self) -> dict[str, Domain]:
        """The fields of the recipe in the space, which all losses share."""
        return {name: domain for name, domain in self.space.items() if name in self.fields}


def own_space(loss: Loss, tuning: Tuning) -> dict[str, Domain]:
    """The part of a tuning space that applies to a loss: the shared fields, and the loss's own parameters."""
    own = loss.parameters
    return {name: domain for name, domain in tuning.space.items() if name in tuning.shared or name in own}


Values = Mapping[str, Value]
"""A point of the space: values by name."""


class Trial(NamedTuple):
    """A recipe to try, and for how many epochs."""

    number: int
    values: Values
    epochs: int


Search = Generator[list[Trial], list[float], None]
"""Yields trials and receives their scores, until no trial is left."""
