"""The base of every loss, backbone and dataset: a named, frozen set of parameters.

Plug-in files are imported while planning, which must not import torch. So a plug-in is a
*specification*: pydantic fields with defaults, which are checked and hashed. Its methods
import torch only when they are called, on the machine that trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Frozen(BaseModel):
    """An immutable value that rejects misspelt fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
    nested: ClassVar[Mapping[str, Literal["losses", "backbones", "datasets"]]] = {}
    """Fields that are plug-ins themselves, each with its axis in the catalogue."""

    @property
    def key(self) -> str:
        """The name in an experiment file: `name` or `name:variant`."""
        return self.name

    @model_serializer(mode="wrap")
    def _with_key(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"name": self.key, **fields(self)}

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return (cls.__doc__ or "").strip().partition("\n")[0]
