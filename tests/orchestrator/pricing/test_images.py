"""How many images a cell has, with and without their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.experiment.checks import labels_here
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, plan
from orchestrator.pricing.images import SHAPES, images_of
from orchestrator.pricing.work import work_of
from trainers import catalogue
from trainers.backbones.vectors import MLP


def cell(dataset: Any, **recipe: Any) -> Cell:
    asked = {
        "name": "asked", "losses": ["softmax"], "backbones": ["resnet8"], "datasets": [dataset], "seeds": 1,
        "recipe": {"epochs": 1, **recipe}, "baseline": "softmax",
    }  # fmt: skip
    return plan(Experiment.model_validate(asked)).cells[0]


def nowhere(dataset: object) -> None:
    """No labels are here."""


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25])
def test_a_published_data_set_has_as_many_images_without_its_files_as_with_them(
    tmp_path: Path, fraction: float
) -> None:
    asked = cell("digits", validation_fraction=fraction)
    found = images_of(nowhere)(asked)
    assert found == images_of(labels_here(tmp_path))(asked)
    assert found is not None
    assert (found.train + found.validation, found.test, found.classes) == (1000, 797, 10)
    assert found.validation == round(1000 * fraction)


def test_parameters_that_leave_images_out_are_counted_without_the_files_nearly_as_with_them(tmp_path: Path) -> None:
    asked = cell({"name": "digits", "hold_out": [8, 9], "train_fraction": 0.5, "imbalance": 10})
    guessed = images_of(nowhere)(asked)
    counted = images_of(labels_here(tmp_path))(asked)
    assert guessed is not None
    assert counted is not None
    assert guessed.train == pytest.approx(counted.train, rel=0.1)
    assert guessed.classes == counted.classes == 8


def test_shapes_are_those_of_the_images(tmp_path: Path) -> None:
    assert catalogue.resolve("datasets", "digits").load(tmp_path).train.pixels.shape[1:] == SHAPES["digits"]  # pyright: ignore[reportAttributeAccessIssue]
    assert SHAPES.keys() <= catalogue.plugins("datasets").keys()


def test_vectors_are_as_long_as_their_files_say_and_have_a_price(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 30)):
        vectors = numbers.normal(size=(count, 48)).astype(np.float32)
        np.savez(tmp_path / f"{split}.npz", features=vectors, label=np.arange(count) % 3)
    asked = cell({"name": "features", "path": str(tmp_path)}, validation_fraction=0.1)
    found = images_of(labels_here(tmp_path))(asked)
    assert found is not None
    assert (found.shape, found.train, found.validation, found.test, found.classes) == ((48, 1, 1), 54, 6, 30, 3)
    assert work_of(asked.recipe.model_copy(update={"backbone": MLP()}), found) is not None
    assert images_of(nowhere)(asked) is None


def test_corrupted_copies_are_evaluated_too() -> None:
    found = images_of(nowhere)(
        cell({"name": "cifar10", "shift": {"corruption": ["fog", "snow"], "severity": [1, 3, 5]}})
    )
    assert found is not None
    assert found.test == 10_000 * 7


def test_images_that_are_decoded_first_take_disk_and_others_none() -> None:
    known = images_of(nowhere)
    imagenet = known(cell({"name": "imagenet", "size": 64}))
    cifar = known(cell("cifar10"))
    assert imagenet is not None
    assert cifar is not None
    assert (imagenet.decoded_bytes, cifar.decoded_bytes) == ((1_281_167 + 50_000) * 3 * 64 * 64, 0)


def test_a_folder_whose_files_are_not_here_is_not_guessed() -> None:
    assert images_of(nowhere)(cell({"name": "image_folder", "path": "nowhere"})) is None
