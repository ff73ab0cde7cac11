"""Balanced and logit-adjusted SoftMax, against formulas by hand and the published code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainers.datasets import Dataset, Images, TrainTest
from trainers.fit import fit
from trainers.losses import Loss, Seen, one_per_sample
from trainers.losses.long_tail import SoftmaxBalanced, SoftmaxLogitAdjusted
from trainers.losses.softmax import Softmax
from trainers.recipe import Recipe, Training

COUNTS = torch.tensor([900, 90, 10])


def _of(loss: Loss, logits: Tensor, labels: Tensor, counts: Tensor = COUNTS) -> Tensor:
    return one_per_sample(loss, logits, labels, Seen(counts, torch.zeros(len(labels), 1), 1))


def published(labels: Tensor, logits: Tensor, sample_per_class: Tensor) -> Tensor:
    """As in github.com/jiawei-ren/BalancedMetaSoftmax, loss/BalancedSoftmaxLoss.py, without its mean over samples."""
    spc = sample_per_class.type_as(logits)
    spc = spc.unsqueeze(0).expand(logits.shape[0], -1)
    logits = logits + spc.log()
    return cross_entropy(input=logits, target=labels, reduction="none")


@pytest.mark.parametrize(("label", "share"), [(0, 0.9), (1, 0.09), (2, 0.01)])
def test_at_equal_logits_a_class_has_the_probability_of_its_share(label: int, share: float) -> None:
    found = _of(SoftmaxBalanced(), torch.zeros(1, 3), torch.tensor([label]))
    assert found.item() == pytest.approx(-math.log(share), rel=1e-6)


def test_it_is_the_published_code() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(50, 3, generator=draw, dtype=torch.float64)
    labels = torch.randint(3, (50,), generator=draw)
    torch.testing.assert_close(_of(SoftmaxBalanced(), logits, labels), published(labels, logits, COUNTS))
    torch.testing.assert_close(_of(SoftmaxLogitAdjusted(), logits, labels), published(labels, logits, COUNTS))


def test_tau_weighs_the_shares_as_in_equation_10() -> None:
    # log(1 + sum over y' != y of (share of y' / share of y)^tau exp(z_y' - z_y)), by hand for y = 2 and tau = 2
    logits = torch.tensor([[1.0, 0.5, -0.5]], dtype=torch.float64)
    expected = math.log(1 + 90**2 * math.exp(1.5) + 9**2 * math.exp(1.0))
    assert _of(SoftmaxLogitAdjusted(tau=2), logits, torch.tensor([2])).item() == pytest.approx(expected, rel=1e-12)


def test_with_equal_classes_it_is_softmax() -> None:
    logits = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(9) % 3
    equal = torch.full((3,), 5)
    torch.testing.assert_close(_of(SoftmaxBalanced(), logits, labels, equal), Softmax().per_sample(logits, labels))


def test_its_best_scores_are_right_for_balanced_classes() -> None:
    # One input that class 0 shows in 20 % of its images and class 2 in 60 %: by Bayes 900 to 30 images are of class 0,
    # and still class 2 must win, since it is thrice as likely where classes are equally frequent.
    shown = torch.tensor([0.2, 0.0, 0.6])
    joint = (COUNTS * shown) / COUNTS.sum()
    scores = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([scores], max_iter=200, tolerance_grad=1e-12)

    def risk() -> Tensor:
        search.zero_grad()
        every = torch.cat([_of(SoftmaxBalanced(), scores, torch.tensor([label])) for label in (0, 2)])
        total = (joint[[0, 2]].double() * every).sum()
        total.backward()
        return total

    search.step(risk)
    assert (scores[0, 2] - scores[0, 0]).item() == pytest.approx(math.log(3), abs=1e-4)


def test_a_class_without_images_counts_as_one_image() -> None:
    counts = torch.tensor([9, 0, 90])
    found = _of(SoftmaxBalanced(), torch.zeros(1, 3), torch.tensor([0]), counts)
    assert found.item() == pytest.approx(-math.log(0.09), rel=1e-6)


class Unequal(Dataset):
    """Vectors of three classes with 40, 20 and 10 training samples."""

    name = "unequal"
    vectors = True

    def load(self, data_dir: object) -> TrainTest:
        """Two numbers per sample."""
        del data_dir
        labels = np.repeat(np.arange(3), [40, 20, 10])
        vectors = np.random.default_rng(0).normal(size=(70, 2, 1, 1)).astype(np.float32)
        images = Images(vectors, labels)
        return TrainTest(images, images.take(np.arange(0, 70, 7)), classes=3)

    def prepare(self, data_dir: object) -> None:
        """There is nothing to do."""


class Curious(Softmax):
    """SoftMax that remembers what it was shown."""

    name = "curious"

    def per_sample(
        self, logits: Tensor, labels: Tensor, *, class_counts: Tensor, epoch: int, features: Tensor
    ) -> Tensor:  # type: ignore[override]
        """As SoftMax."""
        shown.append((class_counts.tolist(), epoch, tuple(features.shape)))
        return super().per_sample(logits, labels)


shown: list[tuple[list[int], int, tuple[int, ...]]] = []


def test_a_loss_sees_what_it_asks_for() -> None:
    shown.clear()
    training = Training(epochs=2, batch_size=32, validation_fraction=0.2)
    recipe = Recipe(loss=Curious(), backbone="identity", dataset=Unequal(), seed=0, training=training)
    fit(recipe, recipe.dataset.load(None))  # type: ignore[arg-type]
    # The validation split has a fifth of each class, which the loss must not count.
    assert shown == [([32, 16, 8], epoch, (32, 2)) for epoch in (1, 2)]


def test_what_cannot_be_asked_for_is_refused_where_the_class_is_defined() -> None:
    with pytest.raises(TypeError, match="asks for 'weather'; what it can ask for is class_counts, features, epoch"):

        class Strange(Softmax):
            """A loss that asks for too much."""

            name = "strange"

            def per_sample(self, logits: Tensor, labels: Tensor, *, weather: str) -> Tensor:  # type: ignore[override]
                """Never called."""
                raise NotImplementedError(weather)
