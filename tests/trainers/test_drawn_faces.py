"""Faces from a folder with a file of pairs, from training to verification, on identities drawn from a seed."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.random import RandomState
from numpy.typing import NDArray
from PIL import Image

from trainers.fit import Fit, fit
from trainers.recipe import Recipe

SIDE = 16
EACH = 6
UNSEEN = [f"Unseen_{number}" for number in range(12)]


def _face(person: NDArray[np.float64], draw: RandomState) -> Image.Image:
    """A person's pattern, lit and disturbed anew."""
    light = draw.uniform(0.8, 1.2)
    noise = draw.normal(0, 12, person.shape)
    return Image.fromarray((light * person + noise).clip(0, 255).astype(np.uint8))


def _people(folder: Path, names: list[str], draw: RandomState, first: int = 1) -> None:
    for name in names:
        person = draw.uniform(0, 255, (4, 4, 3)).repeat(SIDE // 4, 0).repeat(SIDE // 4, 1)
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + EACH):
            _face(person, draw).save(folder / name / f"{name}_{number:04}.png")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("data")
    known = [f"Known_{number}" for number in range(10)]
    root = data_dir / "mine"
    _people(root / "train", known, RandomState(0))
    _people(root / "test", known, RandomState(0))
    _people(root / "unseen", UNSEEN, RandomState(1))
    genuine = [f"{name}\t{i}\t{j}" for name in UNSEEN for i, j in combinations(range(1, EACH + 1), 2)]
    impostor = [f"{a}\t{i}\t{b}\t{j}" for a, b in combinations(UNSEEN, 2) for i, j in ((1, 2), (3, 1), (4, 5))]
    folds = 10
    each = min(len(genuine), len(impostor)) // 10
    parts = [pairs[each * fold : each * (fold + 1)] for fold in range(folds) for pairs in (genuine, impostor)]
    (root / "pairs.txt").write_text("\n".join([f"{folds}\t{each}", *(line for part in parts for line in part)]) + "\n")
    return data_dir


def _trained(data_dir: Path, loss: str, backbone: str = "resnet8", epochs: int = 8) -> Fit:
    recipe = Recipe.model_validate(
        {
            "loss": {"name": loss, "scores": {"scale": 16}},
            "backbone": backbone,
            "dataset": {"name": "faces", "path": "mine", "size": SIDE, "pair_images": "unseen"},
            "seed": 0,
            "training": {"epochs": epochs, "batch_size": 20, "learning_rate": 0.05},
        }
    )
    return fit(recipe, recipe.dataset.load(data_dir))


@pytest.mark.parametrize("loss", ["normface", "cosface", "arcface", "uniface"])
def test_every_loss_of_face_recognition_verifies_people_it_has_never_seen(data_dir: Path, loss: str) -> None:
    measured = _trained(data_dir, loss).metrics
    eer, low, high = (measured[f"verification_eer{end}"] for end in ("", "_low", "_high"))
    assert eer is not None
    assert low is not None
    assert high is not None
    assert 0 <= low <= eer <= high < 0.4
    tar = measured["verification_tar_1"]
    assert tar is not None
    assert tar > 0.3
    accuracy = measured["verification_accuracy"]
    assert accuracy is not None
    assert 0.7 < accuracy <= 1
    assert measured["verification_tar_01"] is None  # 180 impostor pairs cannot carry 0.1 %


def test_the_published_network_takes_them(data_dir: Path) -> None:
    measured = _trained(data_dir, "cosface", "iresnet18", epochs=3).metrics
    assert measured["verification_eer"] is not None
    assert measured["verification_eer"] < 0.4
