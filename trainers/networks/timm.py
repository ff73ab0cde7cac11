"""timm's networks as feature extractors for images of any number of channels."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import timm
import torch
from timm.layers.patch_embed import PatchEmbed
from torch.func import functional_call  # pyright: ignore[reportUnknownVariableType]

from trainers.networks import Extractor, InputShape

if TYPE_CHECKING:
    from torch import Tensor, nn

_REFUSALS = (AssertionError, RuntimeError, ValueError, ZeroDivisionError)
"""What networks raise if images are too small, or not a multiple of their patches."""


def extractor(architecture: str, shape: InputShape, extra: Mapping[str, Any] | None = None) -> Extractor:
    """A network without its classifier, with fresh weights.

    Args:
        architecture: A name in `timm.list_models`.
        shape: The images it will see.
        extra: Further arguments of `timm.create_model`.

    Returns:
        A network (n, C, H, W) -> (n, width) that gives the input of the classifier.

    Raises:
        ValueError: timm has no such network, or it cannot take images of that shape.
    """
    _check_name(architecture)
    try:
        network = _network(architecture, shape, extra or {})
        features = _features(network, shape)
    except _REFUSALS as refusal:
        raise ValueError(_sentence(architecture, shape, refusal)) from refusal
    _check_patches(architecture, network, shape)
    # Not `num_features`: it differs from the width if there is a layer between pooling and classifier.
    _, width = features.shape
    return Extractor(network, width)


def _check_name(architecture: str) -> None:
    known = timm.list_models()
    if architecture not in known:
        near = [f"'{name}'" for name in difflib.get_close_matches(architecture, known, n=3)]
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"timm {timm.__version__} has no network named '{architecture}'.{hint}")


def _network(architecture: str, shape: InputShape, extra: Mapping[str, Any]) -> nn.Module:
    arguments: dict[str, Any] = {"pretrained": False, "num_classes": 0, "in_chans": shape.channels, **extra}
    try:
        return timm.create_model(architecture, **arguments, img_size=(shape.height, shape.width))
    except TypeError as refusal:
        # Convolutional networks take any size and reject `img_size`; they do so before drawing any weight.
        if "img_size" not in str(refusal):
            raise
    return timm.create_model(architecture, **arguments)


def _features(network: nn.Module, shape: InputShape) -> Tensor:
    """The features of one image on the meta device: only their shape is computed."""
    weights = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: weight.to("meta") for name, weight in weights.items()}
    network.eval()  # batch normalisation needs two samples to train
    try:
        with torch.no_grad():
            features: Any = functional_call(network, shapes, torch.empty(1, *shape, device="meta"))
    finally:
        network.train()
    if not isinstance(features, torch.Tensor) or features.dim() != 2:  # noqa: PLR2004 - samples and features
        raise ValueError("its output is not one vector of features per image")
    return features


def _check_patches(architecture: str, network: nn.Module, shape: InputShape) -> None:
    # timm silently crops images that are not a multiple of the patch size.
    for module in network.modules():
        if isinstance(module, PatchEmbed) and not module.dynamic_img_pad:
            patch, image = cast("tuple[Any, Any]", (module.patch_size, module.img_size))
            if image is not None and (image[0] % patch[0] or image[1] % patch[1]):
                reason = f"patches of {patch[0]}x{patch[1]} do not divide them"
                raise ValueError(_sentence(architecture, shape, reason))


def _sentence(architecture: str, shape: InputShape, reason: object) -> str:
    size = "x".join(str(side) for side in shape)
    first_line, *_ = str(reason).splitlines() or ["timm does not say why"]
    return f"{architecture} cannot take images of {size}: {first_line.rstrip('.!')}."
