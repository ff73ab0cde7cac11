"""Residual networks for faces against insightface's `arcface_torch/backbones/iresnet.py` at 7fadd42."""

from __future__ import annotations

import pytest
import torch

from trainers.backbones import Backbone, InputShape
from trainers.backbones.iresnet import IResNet18, IResNet50

FACE = InputShape(3, 112, 112)


@pytest.mark.parametrize(("backbone", "parameters"), [(IResNet18(), 24_025_600), (IResNet50(), 43_590_848)])
def test_they_have_the_published_number_of_parameters(backbone: Backbone, parameters: int) -> None:
    network, width = backbone.build(FACE)
    assert width == 512
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_equal_draws_give_the_published_features() -> None:
    torch.manual_seed(3)
    network = IResNet18().build(FACE).network.train()
    features = network(torch.randn(4, *FACE, generator=torch.Generator().manual_seed(0)))
    assert features[0, :5].tolist() == pytest.approx([1.441, -1.4451, 0.5519, -0.4615, -0.1557], abs=2e-3)
    assert features[3, 507:].tolist() == pytest.approx([-0.5563, 0.2794, -1.6885, -0.2779, 0.0549], abs=2e-3)


def test_published_weights_fit() -> None:
    names = list(IResNet18().build(FACE).network.state_dict())
    assert len(names) == 187
    assert names[:3] == ["conv1.weight", "bn1.weight", "bn1.bias"]
    assert "layer3.0.downsample.1.running_var" in names
    assert names[-5:] == [
        f"features.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]


def test_the_lengths_of_features_are_not_learnt() -> None:
    network = IResNet18().build(InputShape(3, 32, 32)).network
    assert [name for name, parameter in network.named_parameters() if not parameter.requires_grad] == [
        "features.weight"
    ]


@pytest.mark.parametrize("shape", [InputShape(1, 8, 8), InputShape(3, 32, 32), InputShape(3, 17, 40)], ids=str)
def test_other_sizes_are_taken_too(shape: InputShape) -> None:
    network, width = IResNet18().build(shape)
    assert network(torch.rand(2, *shape)).shape == (2, width)
