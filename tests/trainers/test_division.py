"""What labels alone say of a recipe, without torch and before an image is read."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from trainers.datasets import Labels
from trainers.division import faults, no_validation, rows
from trainers.recipe import Recipe


def _labels(*counts: int, test: int = 2, classes: int | None = None) -> Labels:
    """So many training images of each class, and `test` test images of each."""
    return Labels(
        np.repeat(np.arange(len(counts)), counts), np.repeat(np.arange(len(counts)), test), classes or len(counts)
    )


def _recipe(loss: Any = "softmax", dataset: dict[str, Any] | None = None, **training: Any) -> Recipe:
    settings = {"batch_size": 8, "validation_fraction": 0.2, **training}
    return Recipe(
        loss=loss, backbone="resnet8", dataset={"name": "digits", **(dataset or {})}, seed=0, training=settings
    )


def _faults(labels: Labels, **options: Any) -> list[str]:
    return list(faults(labels, _recipe(**options)))


def test_a_recipe_that_fits_has_no_fault() -> None:
    assert _faults(_labels(20, 20)) == []


@pytest.mark.parametrize(
    ("counts", "dataset", "training", "left"),
    [
        ((5, 4), {}, {}, 7),
        ((20, 20), {"train_fraction": 0.2}, {}, 6),
        ((40, 40), {"imbalance": 40.0}, {"batch_size": 40}, 33),
        ((5, 5, 90), {"hold_out": [2]}, {"batch_size": 9}, 8),
        ((30, 30), {}, {"validation_fraction": 0.9}, 6),
    ],
)
def test_a_batch_is_held_against_what_modifiers_and_validation_leave(
    counts: tuple[int, ...], dataset: dict[str, Any], training: dict[str, Any], left: int
) -> None:
    (fault,) = _faults(_labels(*counts), dataset=dataset, **training)
    batch = training.get("batch_size", 8)
    assert (
        fault
        == f"batch_size {batch} is larger than the {left} training images of 'digits'; choose a smaller batch_size"
    )
    assert len(rows(_labels(*counts), _recipe(dataset=dataset, **training)).train) == left
    assert _faults(_labels(*counts), dataset=dataset, **{**training, "batch_size": left}) == []


def _certifying(share: float, seed: int = 0, **dataset: Any) -> Recipe:
    return _recipe(dataset=dataset).model_copy(update={"certify": share, "seed": seed})


def test_what_is_kept_apart_is_a_share_of_each_class_and_no_part_of_the_test_images() -> None:
    labels = _labels(20, 20, 20, test=10)
    chosen = rows(labels, _certifying(0.3))
    assert np.bincount(labels.test[chosen.certification]).tolist() == [3, 3, 3]
    assert sorted([*chosen.test, *chosen.certification]) == list(range(30))
    plain = rows(labels, _recipe())
    assert (len(plain.test), len(plain.certification)) == (30, 0)
    assert set(rows(labels, _certifying(0.6)).certification) > set(chosen.certification)


def test_what_is_kept_apart_is_the_same_for_other_seeds_fewer_training_images_and_other_unknown_ones() -> None:
    labels = _labels(20, 20, test=10)
    recipes = [
        _certifying(0.5, seed=7),
        _certifying(0.5, train_fraction=0.5),
        _certifying(0.5, unknowns={"name": "fashion_mnist"}),
    ]
    first, *others = (rows(labels, recipe).certification.tolist() for recipe in (_certifying(0.5), *recipes))
    assert others == [first, first, first]
    assert first != [*range(5), *range(10, 15)]  # drawn, and not the first images


def test_what_is_kept_apart_is_of_known_classes_and_leaves_a_class_its_last_image() -> None:
    labels = Labels(np.repeat([0, 1, 2], 20), np.array([0, 1, 1, 1, 1, 2, 2]), 3)
    chosen = rows(labels, _certifying(0.5, hold_out=[2]))
    assert labels.test[chosen.certification].tolist() == [1, 1]
    assert chosen.unknown.tolist() == [5, 6]
    assert sorted([*chosen.test, *chosen.certification]) == [0, 1, 2, 3, 4]


def test_what_is_kept_apart_is_made_of_whole_groups() -> None:
    groups = np.repeat(np.arange(10), 4)
    labels = Labels(np.repeat([0, 1], 20), np.repeat([0, 1], 20), 2, test_groups=groups)
    apart = rows(labels, _certifying(0.4)).certification
    assert np.bincount(labels.test[apart]).tolist() == [8, 8]
    assert np.bincount(groups[apart], minlength=10).tolist().count(4) == 4


def test_a_trial_keeps_nothing_apart_and_too_few_test_images_are_a_fault() -> None:
    recipe = _certifying(0.5)
    trial = recipe.model_copy(update={"scored_on": "validation"})
    assert len(rows(_labels(20, 20), trial).certification) == 0
    (fault,) = faults(_labels(20, 20, test=1), recipe)
    assert fault == "'digits' has too few test images to keep some apart ('certify: 0.5')"
    assert list(faults(_labels(20, 20, test=1), trial)) == []


def test_without_a_share_to_keep_apart_a_recipe_says_nothing_of_it() -> None:
    assert "certify" not in _recipe().model_dump(mode="json")
    assert _certifying(0.5).model_dump(mode="json")["certify"] == 0.5


def test_a_held_out_class_must_exist() -> None:
    assert _faults(_labels(20, 20), dataset={"hold_out": [2]}) == ["held_out names 2; the classes are 0 to 1"]


@pytest.mark.parametrize(
    ("labels", "hold_out", "said"),
    [
        (_labels(40), [], "has only 1 known class; 2 are needed"),
        (_labels(40, classes=5), [], "has only 1 known class; 2 are needed"),
        (_labels(40, 40), [1], "has only 1 known class after hold_out; 2 are needed"),
    ],
)
def test_one_known_class_is_nothing_to_tell_apart(labels: Labels, hold_out: list[int], said: str) -> None:
    assert _faults(labels, dataset={"hold_out": hold_out}) == [f"'digits' {said}"]


def test_holding_out_every_class_is_said() -> None:
    (fault,) = _faults(_labels(9, 9), dataset={"hold_out": [0, 1]})
    assert "all 2 classes" in fault


def test_a_modifier_that_cannot_be_is_said_in_its_own_words() -> None:
    (fault,) = _faults(_labels(20, 20), dataset={"imbalance": 50.0})
    assert fault == "imbalance is 50; it must lie between 1 and 20, the largest class's images"


def test_known_classes_need_a_test_image() -> None:
    labels = Labels(np.repeat([0, 1, 2], 20), np.array([2, 2]), 3)
    assert _faults(labels, dataset={"hold_out": [2]}) == ["'digits' has no test image of a known class"]


@pytest.mark.parametrize("share", [0.0, 0.01])
def test_a_calibrated_loss_needs_validation_images(share: float) -> None:
    (fault,) = _faults(_labels(20, 20), loss="softmax_calibrated", validation_fraction=share)
    assert "the validation split is empty" in fault
    assert "a calibrated loss needs it" in fault
    assert _faults(_labels(20, 20), loss="softmax", validation_fraction=share) == []


def test_a_trial_needs_validation_images_and_no_test_image() -> None:
    labels = Labels(np.repeat([0, 1], 20), np.array([], np.int64), 2)
    trial = _recipe().model_copy(update={"scored_on": "validation"})
    assert list(faults(labels, trial)) == []
    (fault,) = faults(
        labels, trial.model_copy(update={"training": trial.training.model_copy(update={"validation_fraction": 0.01})})
    )
    assert "a trial is scored on it" in fault


def test_that_there_is_no_validation_image_is_said_as_far_as_it_is_known() -> None:
    none = _recipe(validation_fraction=0.0)
    few = _recipe(validation_fraction=0.01)
    assert [len(list(no_validation(None, each, "x needs it"))) for each in (none, few)] == [1, 0]
    (said,) = no_validation(_labels(20, 20), few, "x needs it")
    assert said == "the validation split is empty ('validation_fraction' 0.01 of 40 images), and x needs it: raise it"
    assert list(no_validation(_labels(40, 40), few, "x needs it")) == []


def test_all_of_it_is_known_without_torch() -> None:
    program = "import sys, trainers.division; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
