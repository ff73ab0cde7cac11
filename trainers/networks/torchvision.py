"""torchvision's classifiers as feature extractors for images of any number of channels."""

from __future__ import annotations

from bisect import bisect_left
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.func import functional_call  # pyright: ignore[reportUnknownVariableType]
from torch.nn.modules.module import register_module_module_registration_hook
from torchvision import models  # pyright: ignore[reportMissingTypeStubs]

from trainers.networks import Extractor, InputShape

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_RGB = 3
_LARGEST = 512
"""The search for the smallest possible image stops at this side, in pixels."""


def extractor(architecture: str, shape: InputShape, *, small_stem: bool) -> Extractor:
    """A classifier without its last layer, with fresh weights.

    Args:
        architecture: A name in `torchvision.models.list_models`.
        shape: The images it will see.
        small_stem: Start a ResNet or DenseNet with a 3x3 convolution of stride 1.

    Returns:
        A network (n, C, H, W) -> (n, width) that gives the input of the last layer.

    Raises:
        ValueError: The architecture cannot take images of that shape.
    """
    network = _classifier(architecture, shape, small_stem=small_stem)
    width = _behead(network)
    _check(architecture, network, shape)
    return Extractor(network, width)


def _classifier(architecture: str, shape: InputShape, *, small_stem: bool) -> nn.Module:
    arguments = {**_image_size(architecture, shape), **_quirks(architecture)}
    try:
        with _first_layer(shape.channels, small_stem=small_stem):
            network = models.get_model(architecture, weights=None, **arguments)
    except (AssertionError, ValueError) as refusal:  # the image is not a multiple of the patch or window
        raise ValueError(_sentence(architecture, shape, refusal)) from refusal
    if small_stem:
        _drop_first_pooling(network)
    return network


def _image_size(architecture: str, shape: InputShape) -> dict[str, Any]:
    """Arguments with the size of the images, for transformers that are built for one size."""
    if architecture.startswith("vit"):
        return {"image_size": shape.height}
    if architecture.startswith("maxvit"):
        return {"input_size": (shape.height, shape.width)}
    return {}


def _quirks(architecture: str) -> dict[str, Any]:
    # Auxiliary classifiers would make the output a tuple while training; and
    # leaving out init_weights warns that its default is about to change.
    inception = architecture in {"googlenet", "inception_v3"}
    return {"aux_logits": False, "init_weights": True} if inception else {}


def _first_layer(channels: int, *, small_stem: bool) -> AbstractContextManager[object]:
    """Inside the block, classifiers are built with another first layer.

    It is replaced during construction, not afterwards, so that the architecture's own
    initialisation draws its weights. The first layer is the only convolution with three
    input channels. If nothing is replaced, the random draws are exactly torchvision's.
    """

    def exchange(parent: nn.Module, name: str, layer: nn.Module | None) -> nn.Module | None:
        del parent, name
        if isinstance(layer, nn.Conv2d) and layer.in_channels == _RGB:
            return _like(layer, channels, small_stem=small_stem)
        return None

    if channels == _RGB and not small_stem:
        return nullcontext()
    return register_module_module_registration_hook(cast("Any", exchange))  # its type says that it returns nothing


def _like(layer: nn.Conv2d, channels: int, *, small_stem: bool) -> nn.Conv2d:
    small: dict[str, Any] = {"kernel_size": 3, "stride": 1, "padding": 1}
    window = small if small_stem else {name: getattr(layer, name) for name in small}
    return nn.Conv2d(channels, layer.out_channels, **window, bias=layer.bias is not None)


def _drop_first_pooling(network: nn.Module) -> None:
    pooling = "maxpool" if isinstance(network, models.ResNet) else "features.pool0"
    network.set_submodule(pooling, nn.Identity(), strict=True)


def _behead(network: nn.Module) -> int:
    """Replace the last layer by the identity; return its number of input features."""
    # Only SqueezeNets have no linear layer; they classify by a convolution.
    name, layer = _last(network, nn.Linear) or _last(network, nn.Conv2d) or ("", network)
    network.set_submodule(name, nn.Identity(), strict=True)
    return cast("int", layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels)


def _last(network: nn.Module, kind: type[nn.Module]) -> tuple[str, nn.Module] | None:
    modules: dict[str, nn.Module] = dict(cast("Any", network.named_modules()))
    return next(((name, layer) for name, layer in reversed(modules.items()) if isinstance(layer, kind)), None)


def _check(architecture: str, network: nn.Module, shape: InputShape) -> None:
    refusal = _refusal(network, shape)
    if refusal is None:
        return
    reason: object = refusal
    if not _image_size(architecture, shape):
        smallest = bisect_left(range(1, _LARGEST), x=True, key=lambda side: _takes(network, shape, side)) + 1
        reason = f"it needs at least {smallest}x{smallest} pixels" if smallest < _LARGEST else refusal
    raise ValueError(_sentence(architecture, shape, reason)) from refusal


def _takes(network: nn.Module, shape: InputShape, side: int) -> bool:
    return _refusal(network, shape._replace(height=side, width=side)) is None


def _refusal(network: nn.Module, shape: InputShape) -> Exception | None:
    """The error the network raises at such images, or None; run on the meta device, so nothing is computed."""
    weights = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: weight.to("meta") for name, weight in weights.items()}
    network.eval()  # batch normalisation needs two samples to train
    try:
        with torch.no_grad():
            functional_call(network, shapes, torch.empty(1, *shape, device="meta"))
    except (AssertionError, RuntimeError, ValueError) as refusal:
        return refusal
    finally:
        network.train()
    return None


def _sentence(architecture: str, shape: InputShape, reason: object) -> str:
    size = "x".join(str(side) for side in shape)
    first_line, *_ = str(reason).splitlines()
    return f"{architecture} cannot take images of {size}: {first_line.partition('. ')[0].rstrip('.!')}."
