"""How features become scores: normalising, scale and margins, against formulas written out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from trainers.backbones import InputShape
from trainers.backbones.resnet import ResNet8
from trainers.classifier import Classifier
from trainers.losses import Scores
from trainers.losses.bce import BCEUnified
from trainers.losses.softmax import Softmax

K = 4
N = 9
UNIT = {"normalise_features": True, "normalise_weights": True}


def _model(bias: float = 0.0, **scores: Any) -> Classifier:
    torch.manual_seed(0)
    return Classifier(ResNet8(), BCEUnified(bias_init=bias, scores=Scores(**scores)), InputShape(1, 8, 8), K)


@pytest.fixture
def features() -> Tensor:
    return torch.randn(N, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(N) % K


def _angles(model: Classifier, features: Tensor) -> Tensor:
    weight = model.linear.weight.detach().double()
    cosines = torch.nn.functional.cosine_similarity(features.double()[:, None], weight[None], dim=2)
    return cosines.clamp(-1, 1).arccos()


def test_by_default_scores_are_inner_products(features: Tensor) -> None:
    model = _model()
    torch.testing.assert_close(model.scores(features), features @ model.linear.weight.T)


def test_normalised_scores_are_scaled_cosines(features: Tensor) -> None:
    model = _model(scale=16, **UNIT)
    torch.testing.assert_close(
        model.scores(features).double(), 16 * _angles(model, features).cos(), rtol=1e-4, atol=1e-4
    )


def test_either_side_is_normalised_alone(features: Tensor) -> None:
    lengths = features.norm(dim=1, keepdim=True)
    model = _model(normalise_features=True)
    torch.testing.assert_close(model.scores(features), features / lengths @ model.linear.weight.T)
    model = _model(normalise_weights=True)
    weight = model.linear.weight / model.linear.weight.norm(dim=1, keepdim=True)
    torch.testing.assert_close(model.scores(features), features @ weight.T)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("cosine", lambda angle: angle.cos() - 0.3), ("angular", lambda angle: (angle + 0.3).cos())],
)
def test_a_margin_makes_the_own_class_harder_while_training(
    kind: Any, expected: Any, features: Tensor, labels: Tensor
) -> None:
    model = _model(bias=1.0, scale=8, margin=0.3, margin_kind=kind, **UNIT)
    angles = _angles(model, features)
    own = torch.arange(K) == labels[:, None]
    wanted = 8 * torch.where(own, expected(angles), angles.cos()) - 1
    torch.testing.assert_close(model.logits(features, labels).double(), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.logits(features).double(), 8 * angles.cos() - 1, rtol=1e-4, atol=1e-4)


def test_beyond_the_margins_reach_the_angular_score_keeps_falling() -> None:
    model = _model(margin=0.5, margin_kind="angular", **UNIT)
    with torch.no_grad():
        model.linear.weight.zero_()
        model.linear.weight[:, 0] = 1.0
    angles = torch.linspace(0, math.pi, 200, dtype=torch.float64)
    features = torch.zeros(200, 64)
    features[:, 0] = angles.cos()
    features[:, 1] = angles.sin()
    scores = model.logits(features, torch.zeros(200, dtype=torch.int64))[:, 0]
    assert (scores.diff() < 1e-6).all()


def test_a_learnt_scale_starts_at_scale_and_learns(features: Tensor, labels: Tensor) -> None:
    model = _model(scale=16, learn_scale=True, **UNIT)
    torch.testing.assert_close(model.scores(features), _model(scale=16, **UNIT).scores(features))
    Softmax().per_sample(model.logits(features, labels), labels).sum().backward()
    assert model.log_scale is not None
    assert model.log_scale.grad is not None
    assert model.log_scale.grad.abs() > 0


def test_a_margin_without_normalising_is_refused() -> None:
    with pytest.raises(ValidationError, match="a margin needs normalise_features and normalise_weights"):
        Scores(margin=0.2, normalise_features=True)


def test_features_of_any_length_get_the_same_cosines(features: Tensor) -> None:
    model = _model(scale=4, **UNIT)
    torch.testing.assert_close(model.scores(features), model.scores(1000 * features))
