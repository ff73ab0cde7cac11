"""The claims of `cifar10` and `cifar100`, on tiny batches read by torchvision's own loader."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from trainers.datasets import MissingDataError
from trainers.datasets.cifar import CIFAR10, CIFAR100

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PER_BATCH = 6


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _batch(number: int, labels_key: str) -> dict[str, Any]:
    index = np.arange(number * PER_BATCH, (number + 1) * PER_BATCH)
    red = index
    green = 100 + index
    blue = 200 + index
    pixels = np.repeat(np.stack([red, green, blue], axis=1), 32 * 32, axis=1)
    return {"data": pixels.astype(np.uint8), labels_key: (index % 10).tolist()}


def _dump(value: object) -> bytes:
    # The official batches were pickled by Python 2, where the booleans in a dtype were integers.
    return pickle.dumps(value, protocol=2).replace(b"\x89\x88\x87", b"K\x00K\x01\x87")


@pytest.fixture
def write_batches(monkeypatch: pytest.MonkeyPatch) -> Callable[[CIFAR10 | CIFAR100, Path], None]:
    """Write batches of six images, and let torchvision expect their checksums."""

    def write(dataset: CIFAR10 | CIFAR100, data_dir: Path) -> None:
        official = dataset._official()
        folder = data_dir / dataset.folder
        folder.mkdir(parents=True)
        labels_key = "labels" if dataset.name == "cifar10" else "fine_labels"
        files = [file for file, _ in (*official.train_list, *official.test_list)]
        for number, file in enumerate(files):
            (folder / file).write_bytes(_dump(_batch(number, labels_key)))
        meta = folder / official.meta["filename"]
        meta.write_bytes(_dump({official.meta["key"]: [f"class {k}" for k in range(dataset.classes)]}))
        listed = [[file, _md5(folder / file)] for file in files]
        monkeypatch.setattr(official, "train_list", listed[:-1])
        monkeypatch.setattr(official, "test_list", listed[-1:])
        monkeypatch.setattr(official, "meta", {**official.meta, "md5": _md5(meta)})

    return write


@pytest.mark.parametrize(("dataset", "batches"), [(CIFAR10(), 5), (CIFAR100(), 1)], ids=["cifar10", "cifar100"])
def test_batches_are_read_in_file_order_with_channels_first(
    dataset: CIFAR10 | CIFAR100,
    batches: int,
    tmp_path: Path,
    write_batches: Callable[[CIFAR10 | CIFAR100, Path], None],
) -> None:
    write_batches(dataset, tmp_path)
    images = dataset.load(tmp_path)
    trained = np.arange(batches * PER_BATCH)
    assert images.train.pixels.shape == (len(trained), 3, 32, 32)
    assert images.train.pixels.dtype == np.uint8
    assert images.train.pixels.flags.c_contiguous
    assert images.train.labels.dtype == np.int64
    assert np.array_equal(images.train.labels, trained % 10)
    assert np.array_equal(images.train.pixels[:, 1, 7, 7], 100 + trained)
    assert images.test.pixels[0, 0, 0, 0] == len(trained)
    assert images.classes == dataset.classes


def test_a_damaged_batch_counts_as_missing(
    tmp_path: Path, write_batches: Callable[[CIFAR10 | CIFAR100, Path], None]
) -> None:
    write_batches(CIFAR10(), tmp_path)
    batch = tmp_path / CIFAR10.folder / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(MissingDataError, match="expected undamaged data_batch_1") as caught:
        CIFAR10().load(tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "cifar-10-batches-py") in message
    assert "cifar-10-python.tar.gz" in message
    assert "no network here" in message


@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")
def test_an_archive_in_the_data_folder_saves_the_network(
    tmp_path: Path,
    write_batches: Callable[[CIFAR10 | CIFAR100, Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_batches(CIFAR100(), tmp_path / "elsewhere")
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    archive = data_dir / "cifar-100-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "elsewhere" / CIFAR100.folder, CIFAR100.folder)
    monkeypatch.setattr(CIFAR100()._official(), "tgz_md5", _md5(archive))
    assert len(CIFAR100().load(data_dir).train) == PER_BATCH
    assert {path.name for path in data_dir.iterdir()} <= {archive.name, CIFAR100.folder, ".cifar100.lock", ".decoded"}


def test_missing_batches_are_named_with_their_folder_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError) as caught:
        CIFAR100().prepare(tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "cifar-100-python") in message
    assert "'digits'" in message
