"""The base of every loss, backbone and dataset: a named, frozen set of parameters.

Plug-in files are imported while planning, which must not import torch. So a plug-in is a
*specification*: pydantic fields with defaults, which are checked and hashed. Its methods
import torch only when they are called, on the machine that trains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from inspect import isclass
from typing import Any, ClassVar, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)
from pydantic_core import PydanticCustomError


class Frozen(BaseModel):
    """An immutable value that rejects misspelt fields, and true or false where a number is needed.

    Examples:
        >>> from trainers.recipe import Training
        >>> Training(epochs=True)
        Traceback (most recent call last):
        pydantic_core._pydantic_core.ValidationError: 1 validation error for Training...
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if _has_truth(value) and _needs_numbers(cls, str(info.field_name)):
            raise PydanticCustomError("truth", "needs a number")
        return value


def _has_truth(value: Any) -> bool:
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return isinstance(value, bool)
    return any(isinstance(entry, bool) for entry in value)


@cache
def _needs_numbers(model: type[BaseModel], field: str) -> bool:
    """Whether a field contains numbers, and neither true nor false nor another model."""
    kinds = set(_kinds(model.model_fields[field].annotation))
    others = any(kind in (bool, Any) or (isclass(kind) and issubclass(kind, BaseModel)) for kind in kinds)
    return not others and not kinds.isdisjoint({int, float})


def _kinds(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _kinds(argument)


Nested = Mapping[str, Literal["losses", "backbones", "datasets"]]
"""Fields, each with an axis of the catalogue."""


class Plugin(Frozen):
    """A named choice with parameters; the first line of its docstring is its description in catalogues.

    Examples:
        >>> from trainers.plugin import Plugin
        >>> class Crop(Plugin):
        ...     \"\"\"A crop at a random place.\"\"\"
        ...
        ...     name = "crop"
        ...     margin: int = 4
        >>> Crop(margin=2).model_dump()
        {'name': 'crop', 'margin': 2}
        >>> Crop.summary()
        'A crop at a random place.'
        >>> Crop(margn=2)  # a misspelt parameter is an error
        Traceback (most recent call last):
        pydantic_core._pydantic_core.ValidationError: 1 validation error for Crop...
    """

    name: ClassVar[str]
    nested: ClassVar[Nested] = {}
    """Fields that are plug-ins themselves, each with its axis in the catalogue."""

    @property
    def key(self) -> str:
        """The name in an experiment file: `name` or `name:variant`."""
        return self.name

    @property
    def parameters(self) -> dict[str, Any]:
        """Its parameters by name."""
        return {name: getattr(self, name) for name in type(self).model_fields} | (self.model_extra or {})

    @model_serializer(mode="wrap")
    def _with_key(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"name": self.key, **fields(self)}

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return (cls.__doc__ or "").strip().partition("\n")[0]
