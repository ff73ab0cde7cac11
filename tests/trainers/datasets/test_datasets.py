"""What holds for every dataset: cheap to plan with, and known by its content."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trainers.catalogue import plugins, resolve
from trainers.datasets import Dataset, Images, TrainTest, fingerprint

NAMES = ["cifar10", "cifar100", "digits", "fashion_mnist", "mnist"]


def _tiny(seed: int = 0) -> TrainTest:
    draw = np.random.default_rng(seed)
    train, test = (
        Images(draw.integers(0, 256, (count, 1, 2, 2), np.uint8), draw.integers(0, 3, count)) for count in (5, 4)
    )
    return TrainTest(train, test, classes=3)


def test_planning_with_datasets_imports_no_torch() -> None:
    program = (
        "import sys; from trainers.catalogue import resolve\n"
        f"for name in {NAMES}: resolve('datasets', name).model_dump()\n"
        "resolve('datasets', 'mnist', {'train_size': 100})\n"
        "print(sorted({'torch', 'torchvision', 'sklearn', 'numpy'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    ran = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_the_catalogue_knows_the_dataset_and_describes_it(name: str) -> None:
    dataset = resolve("datasets", name)
    assert isinstance(dataset, Dataset)
    assert dataset.model_dump()["name"] == name
    assert dataset.summary().endswith((".", ")."))
    assert plugins("datasets")[name] is type(dataset)


def test_equal_images_have_equal_fingerprints() -> None:
    assert fingerprint(_tiny()) == fingerprint(_tiny())
    assert len(fingerprint(_tiny())) == 16


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("kind", ["pixels", "labels"])
def test_a_single_changed_value_changes_the_fingerprint(part: str, kind: str) -> None:
    changed = _tiny()
    values = getattr(getattr(changed, part), kind)
    values.flat[0] ^= 1
    assert fingerprint(changed) != fingerprint(_tiny())


def test_the_order_of_images_is_part_of_the_fingerprint() -> None:
    images = _tiny()
    turned = TrainTest(images.train.take(np.arange(5)[::-1]), images.test, images.classes)
    assert fingerprint(turned) != fingerprint(images)
