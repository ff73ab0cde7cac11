"""The claims of `image_folder`, and what planning with every dataset of files costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from trainers.catalogue import resolve
from trainers.datasets import MissingDataError
from trainers.datasets.decoded import Files
from trainers.datasets.image_folder import ImageFolder

MINE = ImageFolder(path="mine", size=8)


def _image(path: Path, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (9, 12), level).save(path)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Three training and two test images of a cat and a dog, written in no order, among other files."""
    for level, name in enumerate(
        ("train/dog/b.png", "train/cat/x.JPG", "test/dog/z.webp", "test/cat/deep/er/a.bmp", "train/dog/a.jpeg")
    ):
        _image(tmp_path / "mine" / name, 40 * level)
    for name in (
        "train/readme.txt",
        "train/dog/notes.txt",
        "test/.DS_Store",
        "train/.hidden/x.png",
        "train/dog/._b.png",
    ):
        path = tmp_path / "mine" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("no image")
    return tmp_path


def test_images_come_sorted_by_name_with_classes_in_the_order_of_the_alphabet(data_dir: Path) -> None:
    images = MINE.load(data_dir)
    assert images.classes == 2
    assert images.train.pixels.shape == (3, 3, 8, 8)
    assert images.train.labels.tolist() == [0, 1, 1]
    assert images.test.labels.tolist() == [0, 1]
    assert np.allclose(images.train.pixels[:, 0, 4, 4], [40, 160, 0], atol=2)  # JPEG rounds
    assert np.allclose(images.test.pixels[:, 0, 4, 4], [120, 80], atol=2)


def test_sample_ids_are_places_among_the_sorted_names(data_dir: Path) -> None:
    train, test, *_ = MINE._splits(data_dir)
    assert isinstance(train, Files)
    assert isinstance(test, Files)
    assert train.names == ["cat/x.JPG", "dog/a.jpeg", "dog/b.png"]
    assert test.names == ["cat/deep/er/a.bmp", "dog/z.webp"]


def test_grey_images_have_one_channel(data_dir: Path) -> None:
    grey = ImageFolder(path="mine", size=8, channels=1).load(data_dir)
    assert grey.train.pixels.shape == (3, 1, 8, 8)


def test_absolute_and_relative_paths_read_alike(data_dir: Path, tmp_path: Path) -> None:
    absolute = ImageFolder(path=str(data_dir / "mine"), size=8).load(tmp_path / "other")
    assert np.array_equal(absolute.train.pixels, MINE.load(data_dir).train.pixels)


def test_classes_that_differ_are_named_with_the_split_that_has_them(data_dir: Path) -> None:
    _image(data_dir / "mine" / "train" / "bird" / "1.png")
    _image(data_dir / "mine" / "test" / "fish" / "1.png")
    with pytest.raises(
        MissingDataError, match=r"differ: only train has bird, and only test has fish\. Each class needs"
    ):
        MINE.load(data_dir)


def test_a_class_with_an_empty_folder_is_named(data_dir: Path) -> None:
    _image(data_dir / "mine" / "train" / "bird" / "1.png")
    (data_dir / "mine" / "test" / "bird").mkdir()
    with pytest.raises(
        MissingDataError, match=r"Folder 'bird' in .*test has no readable image .it is empty.: fill or remove it"
    ):
        MINE.load(data_dir)


def test_a_long_list_of_classes_is_shortened(data_dir: Path) -> None:
    for number in range(9):
        _image(data_dir / "mine" / "train" / f"bird{number}" / "1.png")
    with pytest.raises(MissingDataError, match="only train has bird0, bird1, bird2, bird3, bird4 and 4 more"):
        MINE.load(data_dir)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_split_is_explained_with_the_folder_and_its_layout(part: str, data_dir: Path) -> None:
    (data_dir / "mine" / part).rename(data_dir / "mine" / "elsewhere")
    with pytest.raises(MissingDataError) as caught:
        MINE.prepare(data_dir)
    message = str(caught.value)
    assert message.startswith("No data for 'image_folder': expected train/CLASS/IMAGE and test/CLASS/IMAGE")
    assert str(data_dir / "mine") in message
    assert ".jpg" in message


def test_the_path_is_required() -> None:
    for parameters in ({}, {"path": ""}):
        with pytest.raises(ValidationError, match="path"):
            resolve("datasets", "image_folder", parameters)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"channels": 2}, {"train_size": 0}, {"width": 5}])
def test_wrong_parameters_are_refused_while_planning(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        resolve("datasets", "image_folder", {"path": "mine", **wrong})


def test_planning_with_datasets_of_files_imports_neither_torch_nor_what_reads_them() -> None:
    program = (
        "import sys; from trainers.catalogue import resolve\n"
        "for name in ('svhn', 'stl10', 'food101', 'imagenet', 'tiny_imagenet', 'cub200'):\n"
        "    resolve('datasets', name, {'train_size': 100}).model_dump()\n"
        "for name in ('image_folder', 'parquet', 'faces'): resolve('datasets', name, {'path': 'x'}).model_dump()\n"
        "print(sorted({'torch', 'torchvision', 'numpy', 'PIL', 'pandas', 'pyarrow', 'scipy'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    ran = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
