"""Binary cross-entropy against torch, timm and the facts that make it a loss for uniform accuracy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from timm.loss.binary_cross_entropy import BinaryCrossEntropy
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from trainers.losses import BiasedLoss, Loss
from trainers.losses.bce import BCE, BCEDiverse, BCEUnified, binary_cross_entropy
from trainers.metrics.uniform import accuracy_at, uniform_accuracy

LOG_2 = math.log(2)
LOSSES = [BCE(), BCEUnified(), BCEDiverse()]

seeds = st.integers(0, 2**32 - 1)
spreads = st.sampled_from([0.1, 1.0, 5.0])


def _draw(
    seed: int, samples: int = 16, classes: int = 5, spread: float = 3.0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = spread * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    return scores.to(dtype), torch.randint(0, classes, (samples,), generator=generator)


def _positive_and_rival(scores: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    own = one_hot(labels, scores.shape[1]).bool()
    return scores[own].numpy(), scores.masked_fill(own, -torch.inf).amax(dim=1).numpy()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_it_is_torchs_binary_cross_entropy_summed_over_classes(loss: Loss, classes: int) -> None:
    logits, labels = _draw(0, classes=classes)
    targets = one_hot(labels, classes).double()
    expected = binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)
    torch.testing.assert_close(loss.per_sample(logits, labels), expected)


def test_its_gradient_is_that_of_torchs() -> None:
    logits, labels = _draw(1)
    logits.requires_grad_()
    (ours,) = torch.autograd.grad(binary_cross_entropy(logits, labels).sum(), logits)
    targets = one_hot(labels, logits.shape[1]).double()
    (theirs,) = torch.autograd.grad(binary_cross_entropy_with_logits(logits, targets, reduction="sum"), logits)
    # torch's softplus is linear above 20, hence off by up to exp(-20)
    torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=0)


@pytest.mark.parametrize("classes", [2, 10])
def test_it_is_timms_times_the_number_of_classes(classes: int) -> None:
    logits, labels = _draw(2, classes=classes, dtype=torch.float32)
    timms = BinaryCrossEntropy(smoothing=0.0)(logits, labels)
    torch.testing.assert_close(binary_cross_entropy(logits, labels).mean(), classes * timms)


def test_with_two_classes_it_is_the_sum_of_two_softplus() -> None:
    logits = torch.tensor([[0.5, -2.0], [0.5, -2.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1])
    expected = [
        math.log1p(math.exp(-0.5)) + math.log1p(math.exp(-2)),
        math.log1p(math.exp(2)) + math.log1p(math.exp(0.5)),
    ]
    assert binary_cross_entropy(logits, labels).tolist() == pytest.approx(expected)


def test_classes_add_up_rather_than_average() -> None:
    logits, labels = _draw(3, classes=4)
    more = torch.cat([logits, torch.zeros(len(logits), 6)], dim=1)
    torch.testing.assert_close(binary_cross_entropy(more, labels), binary_cross_entropy(logits, labels) + 6 * LOG_2)


def test_analytic_gradients_equal_numeric_ones() -> None:
    logits, labels = _draw(4, samples=6, classes=4)
    assert torch.autograd.gradcheck(lambda scores: binary_cross_entropy(scores, labels), logits.requires_grad_())


def test_labels_and_scores_stay_as_they_were() -> None:
    logits, labels = _draw(5)
    before = logits.clone(), labels.clone()
    binary_cross_entropy(logits, labels)
    assert torch.equal(logits, before[0])
    assert torch.equal(labels, before[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("own", [0, 1])
def test_scores_of_ten_thousand_are_safe(dtype: torch.dtype, sign: int, own: int) -> None:
    logits = torch.tensor([[sign * 1e4, -sign * 1e4, 1e4]], dtype=dtype, requires_grad=True)
    loss = binary_cross_entropy(logits, torch.tensor([own]))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    wrong = torch.tensor([[sign > 0, sign < 0, True]]) ^ one_hot(torch.tensor([own]), 3).bool()
    torch.testing.assert_close(loss.item(), 1e4 * wrong.sum().item(), rtol=0.01, atol=0)
    assert torch.equal(logits.grad.abs() == 1, wrong)


def test_a_small_loss_keeps_its_digits() -> None:
    logits = torch.tensor([[15.0, -16.0, -17.0]])
    expected = sum(math.log1p(math.exp(-score)) for score in (15, 16, 17))
    assert binary_cross_entropy(logits, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-5)


@given(seeds, spreads, st.floats(-5, 5), st.sampled_from([2, 3, 10]))
def test_a_sample_whose_loss_is_below_log_2_is_right_at_the_bias(
    seed: int, spread: float, bias: float, classes: int
) -> None:
    scores, labels = _draw(seed, samples=32, classes=classes, spread=spread)
    scores[torch.arange(16), labels[:16]] += 10  # some easy samples
    losses = binary_cross_entropy(scores - bias, labels).numpy()
    positive, rival = _positive_and_rival(scores, labels)
    assert ((rival < bias) & (bias < positive))[losses < LOG_2].all()
    at_bias = accuracy_at(bias, positive, rival)
    assert uniform_accuracy(positive, rival).accuracy >= at_bias >= 1 - losses.mean() / LOG_2 - 1e-12


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_at_zero_scores_and_the_prior_bias_its_gradient_is_that_of_softmax(classes: int) -> None:
    scores = torch.zeros(classes, classes, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(classes)
    bias = BCEUnified(bias_init="prior").initial_bias(classes)
    losses = binary_cross_entropy(scores - bias, labels)
    (ours,) = torch.autograd.grad(losses.sum(), scores)
    (softmax,) = torch.autograd.grad(cross_entropy(scores, labels, reduction="sum"), scores)
    torch.testing.assert_close(ours, softmax)
    torch.testing.assert_close(ours, 1 / classes - torch.eye(classes, dtype=torch.float64))
    expected = math.log(classes) + (classes - 1) * math.log(classes / (classes - 1))
    assert losses[0].item() == pytest.approx(expected)


@pytest.mark.parametrize("classes", [2, 10])
def test_at_zero_scores_and_bias_the_loss_is_log_2_a_class(classes: int) -> None:
    scores = torch.zeros(1, classes, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0])
    loss = binary_cross_entropy(scores, labels)
    assert loss.item() == pytest.approx(classes * LOG_2)
    (gradient,) = torch.autograd.grad(loss.sum(), scores)
    assert gradient[0].tolist() == [-0.5] + [0.5] * (classes - 1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("classes", [2, 10])
def test_at_the_best_bias_soft_misses_equal_soft_false_accepts(seed: int, classes: int) -> None:
    scores, labels = _draw(seed, samples=64, classes=classes)
    own = one_hot(labels, classes).bool()

    def slope(bias: float) -> float:
        unified = torch.tensor(bias, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(BCEUnified().per_sample(scores - unified, labels).sum(), unified)
        return gradient.item()

    best = brentq(slope, -50, 50, xtol=1e-12)
    misses = torch.sigmoid(best - scores[own]).sum().item()
    false_accepts = torch.sigmoid(scores[~own] - best).sum().item()
    assert misses == pytest.approx(false_accepts, rel=1e-6)
    assert slope(best - 1) < 0 < slope(best + 1)


@pytest.mark.parametrize(("loss", "biases"), [(BCE(), 0), (BCEUnified(), 1), (BCEDiverse(), 7)])
def test_the_names_say_how_many_biases_are_learnt(loss: Loss, biases: int) -> None:
    assert loss.biases(7) == biases


@pytest.mark.parametrize("kind", [BCEUnified, BCEDiverse])
def test_the_bias_starts_where_the_recipe_says(kind: type[BiasedLoss]) -> None:
    assert kind().initial_bias(10) == math.log(9)
    assert kind(bias_init=-2.5).initial_bias(10) == -2.5
    assert kind(bias_init="prior").initial_bias(10) == math.log(9)
    assert kind(bias_init="prior").initial_bias(2) == 0
