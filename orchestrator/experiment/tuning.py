"""What a tuning stage is asked for: the same space, trials and compute for every loss on every backbone and dataset."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from orchestrator.experiment.space import Domain, Value
from trainers.plugin import Frozen
from trainers.recipe import Training

FIRST_SEED = 1_000_000
"""Of the trials, where their number alone is given: beyond every seed that a number of final seeds stands for."""

FIXED = {
    "epochs": "every loss is to have the same compute",
    "validation_fraction": "every loss is to learn from the same data",
    "label_noise": "every loss is to learn from the same data",
}
"""Fields of a recipe that are not tuned, and why."""


def _numbered(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if not 1 <= value <= MOST_SEEDS:
        raise ValueError(f"tuning takes between 1 and {MOST_SEEDS} seeds a trial; found {value}")
    return tuple(range(FIRST_SEED, FIRST_SEED + value))


MOST_SEEDS = 1000
"""Of a trial."""


class Tuning(Frozen):
    """How a recipe is found for each loss on each backbone and dataset before its final cells are trained.

    Trials are scored on a validation split, which is carved from the training data; the test
    split is not looked at. Their seeds are none of the final cells'.
    """

    space: Annotated[Mapping[str, Domain], Field(min_length=1)]
    """Fields of the recipe, for all losses, and parameters of losses, for those that have them."""
    trials: int = Field(ge=2, le=10_000)
    """Recipes that are tried for each loss on each backbone and dataset."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31, strict=True)], ...], BeforeValidator(_numbered)] = (
        FIRST_SEED,
    )
    """Each recipe is trained with each; the mean of its scores decides. A number stands for as many seeds."""
    metric: str = "uniform_accuracy"
    """The measure by which trials are ranked."""
    direction: Literal["higher", "lower"] = "higher"
    """Which side of that measure is better."""
    on: Literal["validation"] = "validation"
    """The images that trials are scored on."""
    searcher: Literal["random", "optuna", "asha"] = "random"
    """`random`: all recipes are drawn beforehand, the same ones for every loss. `optuna`: by Optuna's sampler, which
    learns from the trials before. `asha`: as `random`, but only the better third is trained for longer, in rungs."""

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
    def shared(self) -> dict[str, Domain]:
        """The part of the space that all losses have."""
        return {name: domain for name, domain in self.space.items() if name in Training.model_fields}


Values = Mapping[str, Value]
"""A point of the space: values by name."""


class Trial(NamedTuple):
    """A recipe to try, and for how many epochs."""

    number: int
    values: Values
    epochs: int


Search = Generator[list[Trial], list[float], None]
"""Yields trials, is sent their scores, and so on until no trial is left."""
