"""Long trainings are compiled, by the recipe alone, to the same mathematics; short ones never are."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._inductor.config import patch

from trainers import compilation
from trainers.backbones import InputShape
from trainers.compilation import Compiled, worthwhile
from trainers.datasets.digits import Digits
from trainers.fit import Fit, fit
from trainers.recipe import Recipe, Training

CPU = torch.device("cpu")
GREY = InputShape(1, 28, 28)


def test_a_whole_training_on_fashion_mnist_pays_for_compiling_and_a_short_one_does_not() -> None:
    assert worthwhile(Training(epochs=20), 54_000, GREY)
    assert not worthwhile(Training(epochs=3), 54_000, GREY)
    assert not worthwhile(Training(epochs=100), 900, InputShape(1, 8, 8))


@pytest.mark.parametrize(("device", "graphs"), [("cpu", False), ("cuda", True)])
def test_gpus_are_given_whole_steps_as_cuda_graphs(device: str, *, graphs: bool, monkeypatch: Any) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(torch, "compile", lambda network, **options: asked.append(options) or network)
    Compiled(nn.Identity(), torch.device(device))
    assert asked == [
        {
            "dynamic": False,
            "options": {"triton.cudagraphs": graphs, "compile_threads": torch.get_num_threads()},
        }
    ]


@pytest.mark.slow
def test_without_a_compiler_the_network_is_run_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    network = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh())
    quick = Compiled(network, CPU)
    images = torch.randn(4, 3)
    with (
        patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.warns(RuntimeWarning, match="uncompiled: .*no-such-compiler"),
    ):
        found = quick(images)
    assert not quick.done
    assert int(network[1].num_batches_tracked) == 1  # the failure left no trace
    assert torch.equal(found, network(images))
    assert torch.equal(quick(images), network(images))


@pytest.fixture(scope="module")
def trained() -> Callable[[float], Fit]:
    """Two epochs, compiled or not, in steps so small that rounding is not blown up."""
    data = Digits().load(Path())
    training = {"epochs": 2, "batch_size": 64, "learning_rate": 1e-3, "augmentation": ["crop"]}
    recipe = Recipe(loss="bce_unified", backbone="resnet8", dataset="digits", seed=0, training=training)

    def train(worth: float) -> Fit:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(compilation, "WORTH", worth)
            return fit(recipe, data)

    return train


@pytest.fixture(scope="module")
def compiled(trained: Callable[[float], Fit]) -> Fit:
    return trained(0)


@pytest.mark.needs("a C++ compiler")
class TestATrainingThatIsCompiled:
    def test_it_says_so(self, compiled: Fit) -> None:
        assert compiled.compiled

    def test_it_ends_where_the_other_ends_up_to_rounding(self, compiled: Fit, trained: Callable[[float], Fit]) -> None:
        plain = trained(math.inf)
        assert not plain.compiled
        first, other = (found.history[0]["train_loss"] for found in (compiled, plain))
        assert first == pytest.approx(other, rel=1e-3)
        apart = np.abs(compiled.evaluation.positive - plain.evaluation.positive)
        assert np.median(apart) < 0.01 * np.std(plain.evaluation.positive)

    def test_it_ends_with_the_same_bits_again(self, compiled: Fit, trained: Callable[[float], Fit]) -> None:
        again = trained(0)
        assert again.history == compiled.history
        np.testing.assert_array_equal(again.evaluation.positive, compiled.evaluation.positive)

    def test_its_model_is_a_plain_one(self, compiled: Fit) -> None:
        assert not [part for part in compiled.model.modules() if isinstance(part, Compiled)]
        assert not [name for name in compiled.model.state_dict() if "_orig_mod" in name]
