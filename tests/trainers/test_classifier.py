"""The model: scores without the bias, logits less the bias, and weights that know no loss."""

from __future__ import annotations

import math

import pytest
import torch

from trainers.backbones import InputShape
from trainers.backbones.resnet import ResNet8
from trainers.classifier import Classifier
from trainers.losses import Loss
from trainers.losses.bce import BCE, BCEDiverse, BCEUnified
from trainers.losses.softmax import Softmax

SHAPE = InputShape(1, 8, 8)
LOSSES = [Softmax(), BCE(), BCEUnified(bias_init=2.0), BCEDiverse(bias_init="prior")]
all_losses = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)


def _classifier(loss: Loss, classes: int = 5, seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(ResNet8(), loss, SHAPE, classes).eval()


@all_losses
def test_shapes_are_as_documented(loss: Loss) -> None:
    model = _classifier(loss)
    images = torch.rand(3, *SHAPE)
    assert model.features(images).shape == (3, model.width) == (3, 64)
    assert model.scores(model.features(images)).shape == (3, 5)
    assert model(images).shape == (3, 5)


@all_losses
def test_scores_are_inner_products_with_the_weights(loss: Loss) -> None:
    model = _classifier(loss)
    features = torch.randn(3, model.width)
    torch.testing.assert_close(model.scores(features), features @ model.linear.weight.T)
    assert torch.equal(model.scores(torch.zeros(1, model.width)), torch.zeros(1, 5))


@all_losses
def test_logits_are_scores_less_the_bias(loss: Loss) -> None:
    model = _classifier(loss)
    images = torch.rand(3, *SHAPE)
    scores = model.scores(model.features(images))
    bias = torch.tensor(model.learned_bias() or [0.0])
    torch.testing.assert_close(model(images), scores - bias)


def test_each_class_has_its_own_bias_in_bce_diverse() -> None:
    model = _classifier(BCEDiverse())
    images = torch.rand(3, *SHAPE)
    before = model(images)
    assert model.bias is not None
    model.bias.data += torch.arange(5.0)
    torch.testing.assert_close(model(images), before - torch.arange(5.0))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (Softmax(), []),
        (BCE(), []),
        (BCEUnified(bias_init=2.0), [2.0]),
        (BCEDiverse(bias_init="prior"), [math.log(4)] * 5),
    ],
    ids=lambda value: getattr(value, "name", "as listed"),
)
def test_the_learned_bias_is_listed_from_its_start(loss: Loss, expected: list[float]) -> None:
    assert _classifier(loss).learned_bias() == pytest.approx(expected)


@pytest.mark.parametrize(("loss", "biases"), [(Softmax(), 0), (BCEUnified(), 1), (BCEDiverse(), 5)])
def test_the_bias_is_the_only_parameter_a_loss_adds(loss: Loss, biases: int) -> None:
    sizes = {name: parameter.numel() for name, parameter in _classifier(loss).named_parameters()}
    without = {name: parameter.numel() for name, parameter in _classifier(BCE()).named_parameters()}
    assert sizes.pop("bias", 0) == biases
    assert sizes == without


@all_losses
def test_all_losses_start_from_the_same_weights(loss: Loss) -> None:
    weights = _classifier(loss).state_dict()
    weights.pop("bias", None)
    reference = _classifier(Softmax()).state_dict()
    assert weights.keys() == reference.keys()
    assert all(torch.equal(weights[name], reference[name]) for name in reference)


def test_another_seed_starts_from_other_weights() -> None:
    first = _classifier(Softmax())
    other = _classifier(Softmax(), seed=1)
    assert not torch.equal(first.linear.weight, other.linear.weight)
