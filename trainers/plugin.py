"""What every loss, backbone and dataset is: a named, frozen set of parameters.

A plug-in file is read while planning, which must not import torch. So a plug-in
is a *specification* — pydantic fields with defaults, checked and hashed — whose
methods import torch only when they are called, on the machine that trains.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Frozen(BaseModel):
    """A value: immutable, and closed to misspelt fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Plugin(Frozen):
    """A named choice with its parameters; its docstring's first line describes it."""

    name: ClassVar[str]

    @property
    def key(self) -> str:
        """What an experiment file calls this choice: `name`, or `name:variant`."""
        return self.name

    @model_serializer(mode="wrap")
    def _with_key(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"name": self.key, **fields(self)}

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring, for catalogues."""
        return (cls.__doc__ or "").strip().partition("\n")[0]
