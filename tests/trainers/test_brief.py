"""Training cut short, as a rehearsal does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from trainers import compilation, fit
from trainers.brief import Brief
from trainers.data import split
from trainers.recipe import Recipe, Training

SHORT = Brief(epochs=2, steps=3, rows=40)


def recipe(**training: Any) -> Recipe:
    fields = {"epochs": 50, "batch_size": 64, "learning_rate": 0.1, **training}
    return Recipe(loss="bce_unified", backbone="resnet8", dataset="digits", seed=0, training=Training(**fields))  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def found() -> fit.Fit:
    asked = recipe()
    return fit.fit(asked, asked.dataset.load(Path("data")), brief=SHORT)


def test_it_ends_after_a_few_steps_and_evaluates_a_few_images(found: fit.Fit) -> None:
    assert len(found.history) == 2
    assert len(found.step_seconds) == 6
    assert all(seconds > 0 for seconds in found.step_seconds)
    assert len(found.evaluation.label) == 40
    assert found.validation is not None
    assert len(found.validation.label) == 40
    assert found.classes == 10


def test_the_schedule_is_that_of_the_whole_recipe(found: fit.Fit) -> None:
    rates = [figures["learning_rate"] for figures in found.history]
    assert rates[0] == pytest.approx(0.1)
    assert 0.0999 < rates[1] < 0.1  # cosine over 50 epochs, after 1


def test_its_first_epoch_has_the_batches_of_the_whole_recipe() -> None:
    asked = recipe(epochs=1)
    data = asked.dataset.load(Path("data"))
    steps = len(split(data, asked, torch.device("cpu")).train) // 64
    whole = fit.fit(asked, data)
    brief = fit.fit(asked, data, brief=Brief(epochs=1, steps=steps))
    assert brief.history[0]["train_loss"] == whole.history[0]["train_loss"]
    assert whole.step_seconds == ()


def test_a_recipe_of_one_epoch_has_a_second_one_too() -> None:
    asked = recipe(epochs=1)
    found = fit.fit(asked, asked.dataset.load(Path("data")), brief=SHORT)
    assert len(found.history) == 2
    assert len(found.step_seconds) == 6


def test_images_to_evaluate_are_from_all_over_a_split() -> None:
    asked = recipe()
    splits = split(asked.dataset.load(Path("data")), asked, torch.device("cpu"))
    cut = SHORT.cut(splits)
    assert cut.train is splits.train
    assert cut.test.sample[[0, -1]].tolist() == [0, 796]
    assert len(cut.unknown) == 0


def test_pairs_to_verify_keep_their_images() -> None:
    asked = recipe().model_copy(update={"dataset": recipe().dataset.model_copy(update={"hold_out": (8, 9)})})
    splits = split(asked.dataset.load(Path("data")), asked, torch.device("cpu"))
    assert splits.verify is not None
    verify = SHORT.cut(splits).verify
    assert verify is not None
    assert len(verify.pairs) == len(verify.genuine) == 40
    assert 0 < verify.genuine.sum() < 40
    assert verify.identities is not None
    labels = verify.images.labels.numpy()[verify.pairs]
    assert (labels == verify.identities).all()
    assert ((labels[:, 0] == labels[:, 1]) == verify.genuine).all()


@pytest.mark.parametrize(
    ("epochs", "compiles", "expected"), [(10_000, True, True), (10_000, False, False), (9, True, False)]
)
def test_the_network_is_compiled_if_the_whole_recipe_would(
    epochs: int,
    compiles: bool,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = list[Any]()

    class Noted(compilation.Compiled):
        def __init__(self, network: Any, device: Any) -> None:
            asked.append(network)
            super().__init__(network, device)
            self._quick = network

    monkeypatch.setattr(fit, "Compiled", Noted)
    wanted = recipe(epochs=epochs)
    short = Brief(epochs=1, steps=1, rows=10, compiles=compiles)
    fit.fit(wanted, wanted.dataset.load(Path("data")), brief=short)
    assert bool(asked) == expected
