"""Softmax cross-entropy against its formula, and what it cannot see."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainers.losses import BiasedLoss
from trainers.losses.bce import BCE
from trainers.losses.softmax import Softmax

SOFTMAX = Softmax()


def _draw(seed: int, samples: int = 16, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    return scores, torch.randint(0, classes, (samples,), generator=generator)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_it_is_the_log_of_the_sum_less_the_own_score(classes: int) -> None:
    scores, labels = _draw(0, classes=classes)
    rows = zip(scores.tolist(), labels.tolist(), strict=True)
    expected = [math.log(math.fsum(map(math.exp, row))) - row[label] for row, label in rows]
    assert SOFTMAX.per_sample(scores, labels).tolist() == pytest.approx(expected)


def test_its_mean_is_torchs_cross_entropy() -> None:
    scores, labels = _draw(1)
    torch.testing.assert_close(SOFTMAX.per_sample(scores, labels).mean(), cross_entropy(scores, labels))


def test_analytic_gradients_equal_numeric_ones() -> None:
    scores, labels = _draw(2, samples=6, classes=4)
    assert torch.autograd.gradcheck(lambda logits: SOFTMAX.per_sample(logits, labels), scores.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("own", [0, 1])
def test_scores_of_ten_thousand_are_safe(dtype: torch.dtype, own: int) -> None:
    scores = torch.tensor([[1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
    loss = SOFTMAX.per_sample(scores, torch.tensor([own]))
    loss.sum().backward()
    assert loss.item() == pytest.approx(own * 2e4, rel=0.01)
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


@given(st.integers(0, 2**32 - 1), st.floats(-100, 100))
def test_a_shift_of_a_samples_scores_goes_unseen(seed: int, shift: float) -> None:
    scores, labels = _draw(seed)
    shifts = shift * torch.linspace(-1, 1, len(scores), dtype=torch.float64)[:, None]
    shifted = SOFTMAX.per_sample(scores + shifts, labels)
    torch.testing.assert_close(shifted, SOFTMAX.per_sample(scores, labels), rtol=0, atol=1e-10)


def test_a_unified_bias_would_be_inert() -> None:
    scores, labels = _draw(3)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(SOFTMAX.per_sample(scores - bias, labels).sum(), bias)
    assert gradient.item() == pytest.approx(0, abs=1e-12)


def test_the_mean_of_class_biases_would_be_inert() -> None:
    scores, labels = _draw(4)
    biases = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(SOFTMAX.per_sample(scores - biases, labels).sum(), biases)
    assert gradient.abs().max() > 0.1
    assert gradient.sum().item() == pytest.approx(0, abs=1e-12)


def test_a_sample_whose_loss_is_below_log_2_is_right_sample_wise() -> None:
    scores, labels = _draw(5, samples=2000, classes=3)
    surely = SOFTMAX.per_sample(scores, labels) < math.log(2)
    assert 100 < surely.sum() < 2000
    assert torch.equal(scores.argmax(dim=1)[surely], labels[surely])


def test_two_classes_are_a_binary_decision_on_the_difference() -> None:
    scores, labels = _draw(6, classes=2)
    difference = scores[:, 1] - scores[:, 0]
    centred = torch.stack([-difference / 2, difference / 2], dim=1)
    # sigmoid of the whole difference for one class, of half of it for each of two in BCE
    expected = BCE().per_sample(torch.stack([-difference, difference], dim=1), labels) / 2
    torch.testing.assert_close(SOFTMAX.per_sample(centred, labels), expected)
    torch.testing.assert_close(SOFTMAX.per_sample(scores, labels), expected)


def test_it_learns_no_bias() -> None:
    assert SOFTMAX.biases(10) == 0
    assert not isinstance(SOFTMAX, BiasedLoss)
