"""VGG for small images, against torchvision's VGG of 11 layers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torchvision import models  # pyright: ignore[reportMissingTypeStubs]

from trainers import catalogue
from trainers.backbones import InputShape
from trainers.backbones.vgg import VGG11Small

DIGITS = InputShape(1, 8, 8)
CIFAR = InputShape(3, 32, 32)
IMAGENET = InputShape(3, 224, 224)
SHAPES = [DIGITS, InputShape(1, 28, 28), CIFAR, InputShape(1, 1, 1), InputShape(2, 9, 7)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_features_have_the_declared_width(shape: InputShape) -> None:
    network, width = VGG11Small().build(shape)
    assert network(torch.rand(2, *shape)).shape == (2, width) == (2, 512)


def test_large_images_are_taken_too() -> None:
    with torch.device("meta"):
        network, width = VGG11Small().build(IMAGENET)
        assert network(torch.empty(2, *IMAGENET)).shape == (2, width)


def test_given_the_same_weights_it_computes_what_torchvision_computes_up_to_its_pooling() -> None:
    theirs = models.vgg11_bn(weights=None).features
    network, _ = VGG11Small().build(CIFAR)
    network.load_state_dict(theirs.state_dict())
    images = torch.rand(2, 3, 32, 32)  # where torchvision's poolings end at one pixel
    assert torch.equal(network(images), theirs(images).flatten(start_dim=1))


def test_it_has_the_parameters_of_the_usual_cifar_variant() -> None:
    network, width = VGG11Small().build(CIFAR)
    classifier = 10 * width + 10
    assert sum(parameter.numel() for parameter in network.parameters()) + classifier == 9_231_114


@pytest.mark.parametrize(("side", "poolings"), [(1, 0), (8, 3), (28, 4), (32, 5), (64, 5)])
def test_it_pools_only_while_the_map_is_larger_than_a_pixel(side: int, poolings: int) -> None:
    modules = VGG11Small().build(InputShape(1, side, side)).network.modules()
    assert sum(isinstance(module, nn.MaxPool2d) for module in modules) == poolings


def test_convolutions_are_drawn_he_normal_by_fan_out() -> None:
    torch.manual_seed(0)
    for module in VGG11Small().build(CIFAR).network.modules():
        if isinstance(module, nn.Conv2d):
            expected = math.sqrt(2 / (module.out_channels * 9))
            assert module.weight.std().item() == pytest.approx(expected, rel=0.05)


def test_the_same_seed_draws_the_same_weights() -> None:
    first = _weights(seed=1)
    again = _weights(seed=1)
    other = _weights(seed=2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])


@pytest.mark.parametrize("shape", [DIGITS, CIFAR], ids=str)
def test_gradients_reach_the_first_layer(shape: InputShape) -> None:
    network, _ = VGG11Small().build(shape)
    network(torch.rand(4, *shape)).square().sum().backward()
    first = next(network.parameters())
    assert first.grad is not None
    assert first.grad.abs().max() > 0


def test_the_catalogue_knows_it() -> None:
    assert catalogue.resolve("backbones", "vgg11_small").model_dump() == {"name": "vgg11_small"}


def _weights(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return VGG11Small().build(DIGITS).network.state_dict()
