"""Small residual networks against their paper (He et al. 2016, arXiv 1512.03385, section 4.2)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trainers import catalogue
from trainers.backbones import Backbone, InputShape
from trainers.backbones.resnet import ResNet8, ResNet20
from trainers.networks.resnet import BasicBlock

CIFAR = InputShape(3, 32, 32)
SHAPES = [InputShape(1, 8, 8), InputShape(1, 28, 28), CIFAR, InputShape(1, 1, 1), InputShape(2, 9, 7)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("backbone", [ResNet8(), ResNet20()], ids=lambda backbone: backbone.key)
def test_features_have_the_declared_width(backbone: Backbone, shape: InputShape) -> None:
    network, width = backbone.build(shape)
    assert network(torch.rand(2, *shape)).shape == (2, width)


@pytest.mark.parametrize(("backbone", "layers"), [(ResNet8(), 8), (ResNet20(), 20)])
def test_the_name_counts_the_convolutions_and_the_classifier(backbone: Backbone, layers: int) -> None:
    modules = backbone.build(CIFAR).network.modules()
    assert sum(isinstance(module, nn.Conv2d) for module in modules) + 1 == layers


def test_resnet20_has_the_parameters_of_its_paper() -> None:
    network, width = ResNet20().build(CIFAR)
    classifier = 10 * width + 10
    parameters = sum(parameter.numel() for parameter in network.parameters()) + classifier
    assert parameters == 269_722  # the paper's table 6 says 0.27M


def test_convolutions_are_drawn_he_normal_by_fan_out() -> None:
    torch.manual_seed(0)
    weights = [p for p in ResNet20().build(CIFAR).network.parameters() if p.dim() == 4]
    for weight in weights:
        fan_out = weight.shape[0] * 9
        assert weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.15)


def test_the_same_seed_draws_the_same_weights() -> None:
    first = _weights(seed=1)
    again = _weights(seed=1)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_another_seed_draws_other_weights() -> None:
    first = _weights(seed=1)
    other = _weights(seed=2)
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_a_shortcut_subsamples_and_pads_with_zeros() -> None:
    block = BasicBlock(channels=2, width=4, stride=2)
    for parameter in block.residual.parameters():
        nn.init.zeros_(parameter)
    images = torch.rand(1, 2, 5, 5)
    expected = torch.cat([images[:, :, ::2, ::2], torch.zeros(1, 2, 3, 3)], dim=1)
    assert torch.equal(block(images), expected)


@pytest.mark.parametrize("name", ["resnet8", "resnet20"])
def test_the_catalogue_knows_it(name: str) -> None:
    assert catalogue.resolve("backbones", name).model_dump() == {"name": name}


def _weights(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return ResNet8().build(CIFAR).network.state_dict()
