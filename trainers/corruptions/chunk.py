"""A chunk of images that are corrupted together, with a random generator for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Chunk:
    """Images in [0, 1], float64 (n, C, H, W), one generator per image, and a factor on lengths in pixels."""

    images: Tensor
    draws: list[torch.Generator]
    scale: float

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.images.shape[2], self.images.shape[3]

    def each(self, sample: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        """Call `sample` with the number and the generator of each image; stack the results, (n, ...)."""
        return torch.stack([sample(number, draw) for number, draw in enumerate(self.draws)])

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), (n, *shape)."""
        return self.each(lambda _, draw: torch.rand(shape, generator=draw, dtype=torch.float64))

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, (n, *shape)."""
        return self.each(lambda _, draw: torch.randn(shape, generator=draw, dtype=torch.float64))
