"""Vision Transformers (Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from trainers.networks import InputShape

if TYPE_CHECKING:
    from torch import Tensor

_EPSILON = 1e-6
"""Epsilon of layer normalisation, as in the paper's code."""


class VisionTransformer(nn.Module):
    """A transformer over patches of an image; the features are the mean of its last tokens.

    Args:
        shape: The images it will see.
        patch: Side of the square patches, in pixels; divides the height and width.
        depth: Number of blocks.
        width: Dimension of the tokens.
        heads: Attention heads; divides `width`.
    """

    def __init__(self, shape: InputShape, *, patch: int, depth: int, width: int, heads: int) -> None:
        super().__init__()
        tokens = (shape.height // patch) * (shape.width // patch)
        self.patches = nn.Conv2d(shape.channels, width, kernel_size=patch, stride=patch)
        self.positions = nn.Parameter(torch.empty(1, tokens, width))
        # Not nn.TransformerEncoder: it starts with `depth` copies of one block's weights.
        self.blocks = nn.Sequential(*(_block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=_EPSILON)
        self._draw()

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, C, H, W) -> features (n, width)."""
        tokens = self.patches(images).flatten(start_dim=2).transpose(1, 2) + self.positions
        return self.norm(self.blocks(tokens)).mean(dim=1)

    def _draw(self) -> None:
        """Draw weights as in the paper's code: Xavier uniform, positions normal with deviation 0.02, biases 0."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                # The patch convolution is a linear map, so its fan-in is that of a (width, C patch²) matrix.
                nn.init.xavier_uniform_(module.weight.flatten(start_dim=1))
                nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]
        nn.init.trunc_normal_(self.positions, std=0.02)


def _block(width: int, heads: int) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        width,
        heads,
        dim_feedforward=4 * width,
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=_EPSILON,
        batch_first=True,
        norm_first=True,
    )
