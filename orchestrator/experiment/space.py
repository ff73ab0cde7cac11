"""The search range of a tuned value, in Ray Tune's words: `loguniform(1e-3, 1)`, `uniform`, `randint`, `choice`."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import yaml
from pydantic import ModelWrapValidatorHandler, model_serializer, model_validator

from orchestrator.experiment.plain_yaml import Loader, misread
from trainers.plugin import Frozen

Value = float | int | str | bool
DomainKind = Literal["uniform", "loguniform", "randint", "choice"]

EDGE = 0.05
"""The share at each end of a domain that counts as its edge: a better value may lie outside the domain."""

DIGITS = 6
"""Significant digits of a drawn number: so few that the mathematics libraries of all machines agree, and a drawn
recipe has the same identity everywhere."""


class Domain(Frozen):
    """The values that one field of a recipe, or one parameter of a loss, may take."""

    kind: DomainKind
    low: float = 0.0
    high: float = 0.0
    """The bounds of a number; `randint` excludes `high`."""
    options: tuple[Value, ...] = ()
    """The options of a `choice`, all equally likely."""

    @model_validator(mode="wrap")
    @classmethod
    def _of_text(cls, value: Any, handler: ModelWrapValidatorHandler[Domain]) -> Domain:
        if isinstance(value, str):
            value = _read(value)
        elif isinstance(value, list):
            value = {"kind": "choice", "options": value}
        elif not isinstance(value, (dict, Domain)):
            raise ValueError(_EXPECTED.format(value))  # noqa: TRY004 - pydantic reports a ValueError
        return handler(value)

    @model_validator(mode="after")
    def _is_a_range(self) -> Domain:
        if self.kind == "choice":
            if len(set(self.options)) < 2:  # noqa: PLR2004 - one option is no choice
                raise ValueError("a choice needs two or more different values")
            return self
        if not self.low < self.high:
            raise ValueError(f"{self}: the first bound must be below the second")
        if self.kind == "loguniform" and self.low <= 0:
            raise ValueError(f"{self}: the bounds of loguniform must be above 0")
        if self.kind == "randint" and (self.low % 1 or self.high % 1 or self.high - self.low < 2):  # noqa: PLR2004
            raise ValueError(f"{self}: randint needs two whole numbers with two values or more between them")
        return self

    @model_serializer
    def __str__(self) -> str:
        """As it is written in an experiment file."""
        if self.kind == "choice":
            return f"choice({', '.join(map(_written, self.options))})"
        return f"{self.kind}({_written(self.low)}, {_written(self.high)})"

    def at(self, share: float) -> Value:
        """The value at a share of the domain, from 0 (included) to 1 (excluded)."""
        match self.kind:
            case "choice":
                return self.options[int(share * len(self.options))]
            case "randint":
                return int(self.low) + int(share * (self.high - self.low))
            case "loguniform":
                return _rounded(self.low * (self.high / self.low) ** share)
            case "uniform":
                return _rounded(self.low + share * (self.high - self.low))

    def near(self, value: Value) -> Value:
        """A value of the domain, rounded as `at` rounds it."""
        return _rounded(float(value)) if self.kind in {"uniform", "loguniform"} else value

    def share(self, value: Value) -> float:
        """The share of the domain below a value: the inverse of `at`; for a choice, the middle of its share."""
        if self.kind == "choice":
            return (self.options.index(value) + 0.5) / len(self.options)
        number = float(value)
        if self.kind == "loguniform":
            return math.log(number / self.low) / math.log(self.high / self.low)
        if self.kind == "randint":
            return (number - self.low + 0.5) / (self.high - self.low)
        return (number - self.low) / (self.high - self.low)

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values to validate, so that the whole domain is valid: both ends, or every option."""
        return self.options if self.kind == "choice" else (self.at(0.0), self.at(math.nextafter(1.0, 0.0)))

    def is_edge(self, value: Value) -> bool:
        """Whether a value is so near an end that a better one may lie outside; a choice has no ends."""
        if self.kind == "choice":
            return False
        if self.kind == "randint":
            return value in self.ends
        return not EDGE < self.share(value) < 1 - EDGE


_EXPECTED = (
    "expected uniform(LOW, HIGH), loguniform(LOW, HIGH), randint(LOW, HIGH), choice(A, B, …) or a list; found {!r:.60}"
)
_CALL = re.compile(r"\s*(uniform|loguniform|randint|choice)\s*\((.*)\)\s*", re.DOTALL)


def _read(text: str) -> dict[str, Any]:
    found = _CALL.fullmatch(text)
    values = _values(f"[{found[2]}]") if found else None
    if not found or values is None:
        raise ValueError(_EXPECTED.format(text))
    if found[1] == "choice":
        return {"kind": "choice", "options": values}
    if len(values) != 2 or not all(isinstance(value, (int, float)) for value in values):  # noqa: PLR2004 - low, high
        raise ValueError(_EXPECTED.format(text))
    return {"kind": found[1], "low": values[0], "high": values[1]}


def _values(text: str) -> list[Any] | None:
    """The entries of a list in YAML; None if it is none.

    Raises:
        ValueError: YAML reads one of them as something else than it looks like.
    """
    try:
        root = yaml.compose(text, Loader=Loader)
        values = Loader(text).get_single_data()
    except yaml.YAMLError:
        return None
    for entry in root.value if isinstance(root, yaml.SequenceNode) else ():
        if isinstance(entry, yaml.ScalarNode) and (problem := misread(entry)):
            raise ValueError(problem)
    return values if isinstance(values, list) else None


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _rounded(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")
