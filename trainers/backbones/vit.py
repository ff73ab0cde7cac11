"""Vision Transformers for small images (Dosovitskiy et al. 2021, arXiv 2010.11929)."""

from __future__ import annotations

from pydantic import Field, model_validator

from trainers.backbones import Backbone, Extractor, InputShape


class ViTMini(Backbone):
    """Vision Transformer for small images (Dosovitskiy et al. 2021, arXiv 2010.11929).

    Pre-norm blocks and learned position embeddings. The features are the mean of the last
    tokens; there is no class token (Beyer et al. 2022, arXiv 2205.01580). No dropout. A
    block's hidden layer is four times as wide as its tokens.
    """

    name = "vit_mini"
    patch: int = Field(default=4, ge=1)
    """Side of the square patches, in pixels; must divide the images' height and width."""
    depth: int = Field(default=6, ge=1, le=64)
    """Number of transformer blocks."""
    width: int = Field(default=96, ge=1, le=4096)
    """Dimension of the tokens and of the features."""
    heads: int = Field(default=3, ge=1)
    """Attention heads; must divide `width`."""

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> ViTMini:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        return self

    def build(self, shape: InputShape) -> Extractor:
        """The network (n, C, H, W) -> (n, `width`), matrices drawn Xavier uniform.

        Raises:
            ValueError: The patches do not divide images of that shape.
        """
        self._check(shape)
        from trainers.networks import vit

        network = vit.VisionTransformer(shape, patch=self.patch, depth=self.depth, width=self.width, heads=self.heads)
        return Extractor(network, self.width)

    def _check(self, shape: InputShape) -> None:
        if not _divides(self.patch, shape):
            size = "x".join(str(side) for side in shape)
            dividing = [str(side) for side in range(1, min(shape[1:]) + 1) if _divides(side, shape)]
            raise ValueError(
                f"{self.name} cannot take images of {size}: patches of {self.patch}x{self.patch} do not divide them. "
                f"Values of patch that do: {', '.join(dividing)}."
            )


def _divides(patch: int, shape: InputShape) -> bool:
    return shape.height % patch == 0 and shape.width % patch == 0
