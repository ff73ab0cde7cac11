"""ConvNeXt for small images, against torchvision's blocks."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torchvision.models.convnext import CNBlock, LayerNorm2d  # pyright: ignore[reportMissingTypeStubs]

from trainers import catalogue
from trainers.backbones import InputShape
from trainers.backbones.convnext import ConvNeXtMini
from trainers.networks.convnext import Block, ChannelNorm, Patches

DIGITS = InputShape(1, 8, 8)
CIFAR = InputShape(3, 32, 32)
IMAGENET = InputShape(3, 224, 224)
SHAPES = [DIGITS, InputShape(1, 28, 28), CIFAR, InputShape(1, 1, 1), InputShape(2, 9, 7)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_features_have_the_declared_width(shape: InputShape) -> None:
    network, width = ConvNeXtMini().build(shape)
    assert network(torch.rand(2, *shape)).shape == (2, width) == (2, 160)


def test_large_images_are_taken_too() -> None:
    with torch.device("meta"):
        network, width = ConvNeXtMini().build(IMAGENET)
        assert network(torch.empty(2, *IMAGENET)).shape == (2, width)


def test_given_the_same_weights_a_block_computes_what_torchvisions_computes() -> None:
    theirs = CNBlock(6, layer_scale=0.5, stochastic_depth_prob=0.0).double()
    ours = Block(6, layer_scale=0.5).double()
    ours.load_state_dict(
        {name: theirs.state_dict()[theirs_name].squeeze() for name, theirs_name in BLOCK.items()}
        | {"depthwise.weight": theirs.state_dict()["block.0.weight"]}
    )
    maps = torch.rand(2, 6, 9, 5, dtype=torch.float64)
    torch.testing.assert_close(ours(maps), theirs(maps), rtol=0, atol=1e-12)


BLOCK = {
    "depthwise.bias": "block.0.bias",
    "norm.weight": "block.2.weight",
    "norm.bias": "block.2.bias",
    "pointwise.0.weight": "block.3.weight",
    "pointwise.0.bias": "block.3.bias",
    "pointwise.2.weight": "block.5.weight",
    "pointwise.2.bias": "block.5.bias",
    "layer_scale": "layer_scale",
}
"""A block's weights, by our names, and torchvision's for them."""


def test_between_stages_it_normalises_and_halves_like_torchvisions() -> None:
    ours = nn.Sequential(ChannelNorm(4, eps=1e-6), Patches(4, 8, side=2)).double()
    theirs = nn.Sequential(LayerNorm2d(4, eps=1e-6), nn.Conv2d(4, 8, kernel_size=2, stride=2)).double()
    theirs.load_state_dict(ours.state_dict())
    maps = torch.rand(2, 4, 6, 8, dtype=torch.float64)
    torch.testing.assert_close(ours(maps), theirs(maps), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("side", "kernel", "stride"), [(8, 3, 1), (15, 3, 1), (16, 2, 2), (32, 2, 2)])
def test_the_stem_keeps_the_resolution_below_16_pixels(side: int, kernel: int, stride: int) -> None:
    modules = ConvNeXtMini().build(InputShape(1, side, side)).network.modules()
    stem = next(module for module in modules if isinstance(module, nn.Conv2d))
    assert (stem.kernel_size, stem.stride) == ((kernel, kernel), (stride, stride))


def test_a_small_grey_image_of_half_the_brightness_has_other_features() -> None:
    torch.manual_seed(0)
    network, _ = ConvNeXtMini().build(DIGITS)
    images = torch.rand(2, *DIGITS)
    half = images * torch.tensor([1.0, 0.5] * 4)  # a stem of single pixels would see no difference
    assert not torch.allclose(network(images), network(half), atol=1e-2)


def test_the_last_row_and_column_of_an_odd_image_are_seen() -> None:
    images = torch.rand(1, 1, 17, 19, requires_grad=True)
    Patches(1, 2, side=2)(images).sum().backward()
    assert images.grad is not None
    assert bool((images.grad != 0).all())


def test_it_has_the_parameters_its_stages_add_up_to() -> None:
    def block(width: int) -> int:
        return 49 * width + width + 2 * width + 8 * width * width + 5 * width + width  # conv, norm, MLP, scale

    def halving(before: int, width: int) -> int:
        return 2 * before + 4 * before * width + width

    stem = 4 * 3 * 40 + 40 + 2 * 40
    expected = stem + 2 * block(40) + halving(40, 80) + 2 * block(80) + halving(80, 160) + 2 * block(160) + 2 * 160
    network = ConvNeXtMini().build(CIFAR).network
    assert sum(parameter.numel() for parameter in network.parameters()) == expected == 635_480


def test_weights_are_drawn_lecun_normal_and_biases_zero() -> None:
    torch.manual_seed(0)
    for module in ConvNeXtMini().build(CIFAR).network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            fan_in = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx(fan_in**-0.5, rel=0.1)
            assert module.bias is not None
            assert not module.bias.any()


def test_layer_scale_is_what_the_branches_begin_with() -> None:
    network = ConvNeXtMini(layer_scale=0.25).build(DIGITS).network
    scales = [module.layer_scale for module in network.modules() if isinstance(module, Block)]
    assert len(scales) == 6
    assert all(bool((scale == 0.25).all()) for scale in scales)


@pytest.mark.parametrize("scale", [0.0, -1.0, 2.0])
def test_a_layer_scale_out_of_range_is_refused(scale: float) -> None:
    with pytest.raises(ValidationError, match="layer_scale"):
        catalogue.resolve("backbones", "convnext_mini", {"layer_scale": scale})


def test_training_and_evaluation_compute_the_same() -> None:
    network, _ = ConvNeXtMini(layer_scale=1.0).build(DIGITS)
    images = torch.rand(2, *DIGITS)
    assert torch.equal(network(images), network.eval()(images))  # no stochastic depth, no dropout


def test_the_same_seed_draws_the_same_weights() -> None:
    first = _weights(seed=1)
    again = _weights(seed=1)
    other = _weights(seed=2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])


@pytest.mark.parametrize("shape", [DIGITS, CIFAR], ids=str)
def test_gradients_reach_every_layer(shape: InputShape) -> None:
    network, width = ConvNeXtMini().build(shape)
    direction = torch.rand(width)  # the sum of normalised features is constant
    (network(torch.rand(4, *shape)) @ direction).sum().backward()
    gradients = [cast("torch.Tensor", parameter.grad) for parameter in network.parameters()]
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_it_round_trips_through_json() -> None:
    original = catalogue.resolve("backbones", "convnext_mini", {"layer_scale": 0.1})
    dumped = original.model_dump(mode="json")
    assert dumped == {"name": "convnext_mini", "layer_scale": 0.1}
    assert catalogue.resolve("backbones", dumped.pop("name"), dumped) == original


def _weights(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return ConvNeXtMini().build(DIGITS).network.state_dict()
