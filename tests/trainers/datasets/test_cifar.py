"""The claims of `cifar10` and `cifar100`, on tiny batches read by torchvision's own loader."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

import drawn
from trainers.datasets import MissingDataError
from trainers.datasets.cifar import CIFAR10, CIFAR100

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PER_BATCH = 6


@pytest.fixture
def write_batches(monkeypatch: pytest.MonkeyPatch) -> Callable[[CIFAR10 | CIFAR100, Path], None]:
    """Write batches of six images."""
    return lambda dataset, data_dir: drawn.cifar(dataset, data_dir, monkeypatch, PER_BATCH)


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
    monkeypatch.setattr(CIFAR100()._official(), "tgz_md5", drawn.md5(archive))
    assert len(CIFAR100().load(data_dir).train) == PER_BATCH
    assert {path.name for path in data_dir.iterdir()} <= {archive.name, CIFAR100.folder, ".cifar100.lock", ".decoded"}


def test_missing_batches_are_named_with_their_folder_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError) as caught:
        CIFAR100().prepare(tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "cifar-100-python") in message
    assert "'digits'" in message
