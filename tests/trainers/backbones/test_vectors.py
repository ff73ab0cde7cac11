"""The claims of the backbones for vectors."""

from __future__ import annotations

import torch

from trainers.backbones import InputShape
from trainers.backbones.vectors import MLP, Identity


def test_identity_hands_its_input_on() -> None:
    network, width = Identity().build(InputShape(6, 1, 1))
    vectors = torch.rand(4, 6, 1, 1)
    assert width == 6
    assert torch.equal(network(vectors), vectors[:, :, 0, 0])
    assert list(network.parameters()) == []


def test_an_mlp_has_as_many_hidden_layers_as_asked() -> None:
    torch.manual_seed(0)
    network, width = MLP(depth=3, width=5).build(InputShape(6, 1, 1))
    weights = [each.weight for each in network.modules() if isinstance(each, torch.nn.Linear)]
    assert width == 5
    assert [tuple(weight.shape) for weight in weights] == [(5, 6), (5, 5), (5, 5)]
    assert (network(torch.rand(4, 6, 1, 1)) >= 0).all()


def test_weights_have_the_variance_of_he() -> None:
    torch.manual_seed(0)
    network, _ = MLP(width=2000).build(InputShape(500, 1, 1))
    (weight,) = (each.weight for each in network.modules() if isinstance(each, torch.nn.Linear))
    assert abs(weight.var().item() * 500 / 2 - 1) < 0.01
