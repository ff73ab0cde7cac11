"""The neighbours of SoftMax and BCE: against torch, torchvision and timm, and at their limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot, softplus

from trainers.losses import Loss
from trainers.losses.bce import BCE, BCEDiverse, BCEFixed, BCEUnified
from trainers.losses.focal import Focal
from trainers.losses.hinge import Hinge
from trainers.losses.poly import Poly1
from trainers.losses.softmax import Softmax, SoftmaxDiverse, SoftmaxUnified

N = 40
K = 7


@pytest.fixture
def logits() -> Tensor:
    return 3 * torch.randn(N, K, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def labels() -> Tensor:
    return torch.randint(K, (N,), generator=torch.Generator().manual_seed(1))


def test_focal_loss_is_torchvisions_summed_over_classes(logits: Tensor, labels: Tensor) -> None:
    from torchvision.ops import sigmoid_focal_loss

    expected = sigmoid_focal_loss(logits, one_hot(labels, K).double(), alpha=-1, gamma=2, reduction="none").sum(1)
    torch.testing.assert_close(Focal(gamma=2).per_sample(logits, labels), expected)


def test_focal_loss_without_focus_is_binary_cross_entropy(logits: Tensor, labels: Tensor) -> None:
    torch.testing.assert_close(Focal(gamma=0).per_sample(logits, labels), BCE().per_sample(logits, labels))


def test_poly_1_without_its_term_is_cross_entropy(logits: Tensor, labels: Tensor) -> None:
    torch.testing.assert_close(Poly1(epsilon=0).per_sample(logits, labels), Softmax().per_sample(logits, labels))


def test_poly_1_adds_epsilon_times_the_chance_of_error(logits: Tensor, labels: Tensor) -> None:
    own = logits.softmax(dim=1)[torch.arange(N), labels]
    expected = cross_entropy(logits, labels, reduction="none") + 2.5 * (1 - own)
    torch.testing.assert_close(Poly1(epsilon=2.5).per_sample(logits, labels), expected)


def test_hinge_is_multi_label_hinge_by_a_loop(logits: Tensor, labels: Tensor) -> None:
    expected = [
        sum(max(0.0, 2 - z if k == own else 2 + z) for k, z in enumerate(row))
        for row, own in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    torch.testing.assert_close(Hinge(width=2).per_sample(logits, labels), torch.tensor(expected, dtype=torch.float64))


def test_hinge_costs_nothing_where_every_decision_is_beyond_its_width() -> None:
    assert Hinge(width=1).per_sample(torch.tensor([[1.5, -1.5, -2.0]]), torch.tensor([0])).item() == 0


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_smoothed_softmax_is_torchs(logits: Tensor, labels: Tensor, smoothing: float) -> None:
    expected = cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(Softmax(smoothing=smoothing).per_sample(logits, labels), expected)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_smoothed_bce_is_bce_with_soft_targets(logits: Tensor, labels: Tensor, smoothing: float) -> None:
    targets = one_hot(labels, K).double() * (1 - smoothing) + smoothing / K
    expected = binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)
    torch.testing.assert_close(BCE(smoothing=smoothing).per_sample(logits, labels), expected)


def test_smoothed_bce_is_k_times_timms(logits: Tensor, labels: Tensor) -> None:
    from timm.loss import BinaryCrossEntropy

    theirs = BinaryCrossEntropy(smoothing=0.1)(logits, labels)
    torch.testing.assert_close(BCE(smoothing=0.1).per_sample(logits, labels).mean(), K * theirs)


def test_a_fixed_bias_is_a_shift_of_the_scores(logits: Tensor, labels: Tensor) -> None:
    fixed = BCEFixed(bias=1.5).per_sample(logits, labels)
    torch.testing.assert_close(fixed, BCE().per_sample(logits - 1.5, labels))


def test_the_prior_gives_every_class_its_share_at_zero_scores() -> None:
    zeros = torch.zeros(1, K, dtype=torch.float64, requires_grad=True)
    BCEFixed(bias="prior").per_sample(zeros, torch.tensor([2])).sum().backward()
    assert zeros.grad is not None
    torch.testing.assert_close(zeros.grad[0], 1 / K - one_hot(torch.tensor(2), K).double())


def test_a_unified_bias_cannot_matter_to_softmax(logits: Tensor, labels: Tensor) -> None:
    bias = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    loss = SoftmaxUnified().per_sample(logits - bias, labels)
    torch.testing.assert_close(loss, Softmax().per_sample(logits, labels))
    loss.sum().backward()
    assert bias.grad is not None
    assert abs(bias.grad.item()) < 1e-12


def test_the_gradients_of_softmaxs_class_biases_add_up_to_nothing(logits: Tensor, labels: Tensor) -> None:
    biases = torch.zeros(K, dtype=torch.float64, requires_grad=True)
    SoftmaxDiverse().per_sample(logits - biases, labels).sum().backward()
    assert biases.grad is not None
    assert biases.grad.abs().max() > 0.1
    assert abs(biases.grad.sum().item()) < 1e-12


ALL = [Softmax, SoftmaxUnified, SoftmaxDiverse, BCE, BCEFixed, BCEUnified, BCEDiverse, Focal, Hinge, Poly1]


@pytest.mark.parametrize("loss", [*(kind() for kind in ALL), Softmax(smoothing=0.1), BCE(smoothing=0.1)], ids=repr)
@pytest.mark.parametrize("scale", [1e4, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_huge_scores_leave_loss_and_gradient_finite(loss: Loss, scale: float, dtype: torch.dtype) -> None:
    scores = (scale * torch.randn(8, K, generator=torch.Generator().manual_seed(0))).to(dtype).requires_grad_()
    value = loss.per_sample(scores, torch.arange(8) % K)
    value.sum().backward()
    assert scores.grad is not None
    assert value.isfinite().all()
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("loss", [kind() for kind in ALL if kind is not Hinge], ids=repr)
def test_gradients_are_right_in_double_precision(loss: Loss, logits: Tensor, labels: Tensor) -> None:
    few = logits[:6].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda scores: loss.per_sample(scores, labels[:6]), few)


def test_two_classes_of_bce_unified_are_logistic_regression() -> None:
    """With scores (s, -s) and no bias, BCE is twice the logistic loss of s, so both have one minimum."""
    from sklearn.linear_model import LogisticRegression

    draw = torch.Generator().manual_seed(0)
    features = torch.randn(200, 3, dtype=torch.float64, generator=draw)
    labels = (features @ torch.tensor([1.0, -2.0, 0.5]).double() + torch.randn(200, generator=draw) > 0).long()
    weight = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        score = features @ weight
        loss = BCEUnified().per_sample(torch.stack([-score, score], dim=1), labels).mean()
        loss.backward()
        return float(loss.detach())

    optimizer.step(closure)
    reference = LogisticRegression(C=math.inf, fit_intercept=False, tol=1e-10, max_iter=1000)
    expected = reference.fit(features.numpy(), labels.numpy()).coef_[0]
    torch.testing.assert_close(weight.detach(), torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


def test_softplus_bounds_the_count_of_violated_inequalities(logits: Tensor, labels: Tensor) -> None:
    """From the naive loss to BCE: 1[x >= 0] <= softplus(x) / log 2, summed over own class and rivals."""
    own = logits[torch.arange(N), labels]
    others = logits.masked_fill(one_hot(labels, K).bool(), -math.inf)
    violated = (own <= 0).double() + (others >= 0).double().sum(1)
    assert (violated <= BCE().per_sample(logits, labels) / math.log(2) + 1e-12).all()
    assert softplus(torch.tensor(0.0)).item() == pytest.approx(math.log(2))
