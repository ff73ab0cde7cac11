"""The networks of timm (Wightman 2019, doi 10.5281/zenodo.4414861), always with random weights.

`timm:NAME` gives any of them if timm is installed. Planning must not import torch, and
timm imports it. So planning checks only that timm is installed and that the name is well
formed; whether timm has that network turns out when it is built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from pydantic import Field, field_validator

from trainers.backbones import Backbone, Extractor, InputShape

_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")


class Timm(Backbone):
    """Any network of timm, as `timm:NAME`; needs the package timm.

    A misspelt NAME is refused when the network is built, not while planning.
    """

    name = "timm"
    # Excluded from dumps: `name` already contains it.
    architecture: str = Field(exclude=True)
    """timm's name of the network, written behind the colon."""

    @property
    def key(self) -> str:
        """`timm:NAME`."""
        return f"{self.name}:{self.architecture}"

    @field_validator("architecture")
    @classmethod
    def _could_exist(cls, architecture: str) -> str:
        if find_spec("timm") is None:
            raise ValueError(f"timm:{architecture} needs timm, which is not installed: pip install timm")
        # timm also accepts addresses of repositories and folders, and would download from there.
        if _NAME.fullmatch(architecture) is None:
            raise ValueError(_refusal(architecture))
        return architecture

    def build(self, shape: InputShape) -> Extractor:
        """The network without its classifier, its weights drawn as timm draws them.

        Raises:
            ValueError: timm has no network of that name, or it cannot take images of that shape.
        """
        return self.build_with(shape, {})

    def build_with(self, shape: InputShape, arguments: Mapping[str, Any]) -> Extractor:
        """The same with arguments of timm's own; raises as `build` does."""
        from trainers.networks import timm

        return timm.extractor(self.architecture, shape, arguments)


def _refusal(architecture: str) -> str:
    untagged, _, tag = architecture.partition(".")
    if tag and _NAME.fullmatch(untagged):
        # Two names for one network would make two cells with the same result.
        return f"'.{tag}' names pretrained weights, which are never loaded: write timm:{untagged}"
    return f"timm has no network named '{architecture}': names are of lower case letters, digits and underscores"
