"""The seeds of an experiment: a number, a list, or a rule by which the claims decide how many run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidatorFunctionWrapHandler, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.experiment.choices import distinct, validated
from trainers.plugin import Frozen

MOST_SEEDS = 1_000_000
"""A larger number is taken for a typing error."""

Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]


def all_seeds(value: Any) -> Any:
    """The seeds 0 … N - 1 in place of a number N; anything else as it is."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if value < 1:
        raise PydanticCustomError("unknown", "{text}", {"text": f"At least 1 seed is needed; found {value}."})
    if value > MOST_SEEDS:
        raise PydanticCustomError("unknown", "{text}", {"text": f"At most {MOST_SEEDS} seeds; found {value}."})
    return tuple(range(value))


def distinct_seeds(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Return the seeds in order if none is given twice."""
    distinct(seeds, "seed")
    return tuple(sorted(seeds))


Allocation = Literal["decisive", "equal"]
"""Where the next seeds of a claim over several settings go: where they decide, or to all settings alike."""


class Sequential(Frozen):
    """As many seeds as the claims need: first `min`, then more while a claim is undecided, up to `max`."""

    min: int = Field(ge=2, strict=True)
    """The number of seeds that always run."""
    max: int = Field(le=MOST_SEEDS, strict=True)
    """The largest number of seeds that may run."""
    until: Literal["decided"]
    """Stop once every claim for which seeds are added has a verdict."""
    allocation: Allocation | None = Field(default=None, exclude_if=lambda allocation: allocation is None)
    """Whether claims over `all`, `some` and `mean` ask for seeds, too: where they decide, or in all settings alike.
    Default: only claims about single settings ask; if there is none, the others do, where they decide."""

    @model_validator(mode="after")
    def _leaves_a_choice(self) -> Sequential:
        if self.min >= self.max:
            raise ValueError("'max' must be above 'min'; write a fixed number of seeds as in 'seeds: 5'")
        return self


class Reserve(tuple[int, ...]):  # noqa: SLOT001 - a tuple has slots for nothing but its entries
    """The seeds 0 … max - 1, of which only as many run as a rule requests."""

    rule: Sequential

    @classmethod
    def by(cls, rule: Sequential) -> Reserve:
        """All seeds that the rule may request."""
        seeds = cls(range(rule.max))
        seeds.rule = rule
        return seeds


def sequential(value: Any, validate: ValidatorFunctionWrapHandler) -> tuple[int, ...]:
    """All seeds that a rule may request in place of the rule; anything else as `validate` has it."""
    if isinstance(value, Reserve):
        return value
    return Reserve.by(validated(Sequential, value)) if isinstance(value, dict) else validate(value)


def written(seeds: tuple[int, ...]) -> dict[str, Any] | list[int]:
    """Seeds as written in an experiment file."""
    return seeds.rule.model_dump() if isinstance(seeds, Reserve) else list(seeds)
