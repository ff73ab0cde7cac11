"""A loss that does not return one number per sample is refused in its first batch, by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainers.datasets import TrainTest
from trainers.datasets.digits import Digits
from trainers.fit import fit
from trainers.losses import Loss, one_per_sample
from trainers.recipe import Recipe

N = 6
K = 4


class Odd(Loss):
    """Squares of the logits, after something has been done to them."""

    name = "odd"
    does: ClassVar[Callable[[Tensor], Any]]
    calls: ClassVar[int]

    def per_sample(self, logits: Tensor, labels: Tensor) -> Any:
        """Whatever `does` makes of it."""
        type(self).calls += 1
        return type(self).does(logits.square())


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Tensor], Any]], Odd]:
    def make(does: Callable[[Tensor], Any]) -> Odd:
        monkeypatch.setattr(Odd, "does", staticmethod(does), raising=False)
        monkeypatch.setattr(Odd, "calls", 0, raising=False)
        return Odd()

    return make


REFUSED: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "one per class": (lambda s: s, "returned shape (6, 4); one number per sample, shape (6,), is needed: sum over cl"),
    "a column": (lambda s: s.sum(1, keepdim=True), "returned shape (6, 1); .* squeeze the last dimension."),
    "a mean": (lambda s: s.mean(), "returned shape (); .* leave the averaging over samples to the caller"),
    "one element": (lambda s: s.mean()[None], "returned shape (1,); .* the loss of each sample"),
    "a mean over samples": (lambda s: s.mean(0), "returned shape (4,); .* the loss of each sample"),
    "one too few": (lambda s: s.sum(1)[:-1], "returned shape (5,); .* the loss of each sample"),
    "whole numbers": (lambda s: s.sum(1).long(), "returned torch.int64; floating-point numbers are needed"),
    "another device": (lambda s: s.sum(1).to("meta"), "returned numbers on meta; they are needed on cpu"),
    "detached": (lambda s: s.sum(1).detach(), "returned numbers without a gradient; .*detach()"),
    "an array": (lambda s: s.sum(1).detach().numpy(), "returned a ndarray; .* a tensor of shape (6,)."),
    "a pair": (lambda s: (s.sum(1), s), "returned a tuple; "),
    "nothing": (lambda _: None, "returned a NoneType; "),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_anything_but_one_number_per_sample_is_refused(kind: str, odd: Callable[..., Odd]) -> None:
    does, sentence = REFUSED[kind]
    pattern = r".*".join(map(re.escape, sentence.split(".*")))
    with pytest.raises(TypeError, match=rf"^Loss 'odd' {pattern}"):
        one_per_sample(odd(does), torch.randn(N, K, requires_grad=True), torch.zeros(N, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_one_number_per_sample_of_any_floating_type_passes_as_it_is(
    dtype: torch.dtype, odd: Callable[..., Odd]
) -> None:
    logits = torch.randn(N, K, requires_grad=True)
    losses = one_per_sample(odd(lambda s: s.sum(1).to(dtype)), logits, torch.zeros(N, dtype=torch.int64))
    assert torch.equal(losses, logits.square().sum(1).to(dtype))


def test_no_gradient_is_asked_of_logits_that_have_none(odd: Callable[..., Odd]) -> None:
    losses = one_per_sample(odd(lambda s: s.sum(1)), torch.zeros(N, K), torch.zeros(N, dtype=torch.int64))
    assert losses.tolist() == [0] * N


@pytest.fixture(scope="module")
def few() -> TrainTest:
    data = Digits().load(Path())
    return TrainTest(data.train.take(np.arange(128)), data.test.take(np.arange(50)), classes=10)


@pytest.mark.parametrize("training", [{}, {"mixing": ["mixup"]}, {"mixing": ["cutmix"]}, {"precision": "bfloat16"}])
@pytest.mark.parametrize("reduce", [lambda s: s, lambda s: s.mean(), lambda s: s.sum(1, keepdim=True)])
def test_training_ends_in_the_first_batch(
    training: dict[str, Any], reduce: Callable[[Tensor], Any], few: TrainTest, odd: Callable[..., Odd]
) -> None:
    settings = {"epochs": 1, "batch_size": 32, "validation_fraction": 0.0, **training}
    recipe = Recipe(loss=odd(reduce), backbone="resnet8", dataset="digits", seed=0, training=settings)
    with pytest.raises(
        TypeError, match=r"Loss 'odd' returned shape \(.*one number per sample, shape \(32,\), is needed"
    ):
        fit(recipe, few)
    assert Odd.calls == 1


class Sound(Loss):
    """Cross-entropy written differently."""

    name = "sound"

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As torch has it."""
        return cross_entropy(logits, labels, reduction="none")


def test_a_sound_loss_trains_to_the_same_bits_as_before_the_check(few: TrainTest) -> None:
    def trained(loss: Any) -> bytes:
        settings = {"epochs": 1, "batch_size": 32}
        recipe = Recipe(loss=loss, backbone="resnet8", dataset="digits", seed=0, training=settings)
        return fit(recipe, few).evaluation.positive.tobytes()

    assert trained(Sound()) == trained("softmax")
