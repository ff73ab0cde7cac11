"""The claims of `svhn` and `stl10`, on tiny files read by torchvision's own loaders."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import drawn
from trainers.datasets import MissingDataError
from trainers.datasets.stl10 import STL10
from trainers.datasets.svhn import SVHN

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainers.datasets.checksummed import Checksummed

    Write = Callable[[Path], None]

TRAIN = 12
TEST = 7


@pytest.fixture
def write_svhn(monkeypatch: pytest.MonkeyPatch) -> Write:
    return lambda data_dir: drawn.svhn(data_dir, monkeypatch, TRAIN, TEST)


@pytest.fixture
def write_stl10(monkeypatch: pytest.MonkeyPatch) -> Write:
    return lambda data_dir: drawn.stl10(data_dir, monkeypatch, TRAIN, TEST)


def test_svhn_reads_both_files_with_channels_first_and_zero_for_the_digit_zero(
    tmp_path: Path, write_svhn: Write
) -> None:
    write_svhn(tmp_path)
    images = SVHN().load(tmp_path)
    assert images.train.pixels.shape == (TRAIN, 3, 32, 32)
    assert images.test.pixels.shape == (TEST, 3, 32, 32)
    assert images.train.pixels.flags.c_contiguous
    assert images.train.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert np.array_equal(images.train.pixels[:, 1, 3, 9], 100 + np.arange(TRAIN))
    assert not images.train.pixels[:, :, 4].any()
    assert images.classes == 10


def test_stl10_reads_columns_as_columns_and_counts_labels_from_zero(tmp_path: Path, write_stl10: Write) -> None:
    write_stl10(tmp_path)
    images = STL10().load(tmp_path)
    assert images.train.pixels.shape == (TRAIN, 3, 96, 96)
    assert images.test.pixels.shape == (TEST, 3, 96, 96)
    assert images.train.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert np.array_equal(images.test.pixels[:, 2, 9, 3], 200 + np.arange(TEST))
    assert not images.train.pixels[:, :, :, 4].any()
    assert images.classes == 10


@pytest.mark.parametrize("dataset", [SVHN(), STL10()], ids=lambda dataset: dataset.name)
class TestBoth:
    def test_bytes_are_in_order_for_torch(
        self, dataset: Checksummed, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        request.getfixturevalue(f"write_{dataset.name}")(tmp_path)
        images = dataset.load(tmp_path)
        for split in (images.train, images.test):
            assert split.pixels.dtype == np.uint8
            assert split.labels.dtype == np.int64
            assert split.pixels.flags.c_contiguous
            assert split.pixels.flags.writeable

    def test_subsets_are_those_of_every_dataset(
        self, dataset: Checksummed, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        request.getfixturevalue(f"write_{dataset.name}")(tmp_path)
        whole = dataset.load(tmp_path).train
        part = type(dataset)(train_size=5).load(tmp_path).train
        larger = type(dataset)(train_size=9).load(tmp_path).train
        assert np.array_equal(part.pixels, larger.pixels[:5])
        index = part.pixels.reshape(5, -1).max(axis=1) - 200  # the blue of image i is 200 + i
        assert np.array_equal(part.labels, whole.labels[index])

    def test_a_damaged_file_counts_as_missing(
        self, dataset: Checksummed, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        request.getfixturevalue(f"write_{dataset.name}")(tmp_path)
        file = dataset._files()[0]
        path = tmp_path / dataset.folder / file
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(MissingDataError, match=f"expected undamaged {file}"):
            dataset.load(tmp_path)

    def test_missing_files_are_named_with_their_folder_and_the_way_out(
        self, dataset: Checksummed, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        with pytest.raises(MissingDataError) as caught:
            dataset.prepare(tmp_path / "data")
        message = str(caught.value)
        assert message.startswith(f"No data for '{dataset.name}'")
        assert str(tmp_path / "data") in message
        assert all(file in message for file in dataset._files())
        assert "no network here" in message
        assert "'digits'" in message


def test_svhn_needs_no_extra_and_stl10_no_unlabelled_images() -> None:
    assert list(SVHN()._files()) == ["train_32x32.mat", "test_32x32.mat"]
    assert list(STL10()._files()) == ["train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"]


def test_a_download_of_svhn_leaves_both_files_in_the_data_folder(
    tmp_path: Path, write_svhn: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets.svhn

    write_svhn(tmp_path / "server")
    asked: list[str] = []

    def serve(url: str, root: str, filename: str, md5: str) -> None:
        asked.append(url)
        Path(root, filename).write_bytes((tmp_path / "server" / filename).read_bytes())

    monkeypatch.setattr(torchvision.datasets.svhn, "download_url", serve)
    assert len(SVHN().load(tmp_path / "data").train) == TRAIN
    SVHN().load(tmp_path / "data")
    assert len(asked) == 2
    assert {path.name for path in (tmp_path / "data").iterdir()} <= {*SVHN()._files(), ".svhn.lock", ".decoded"}


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="NOT TESTED: tarfile warns about torchvision's call")
@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")
def test_an_archive_of_stl10_in_the_data_folder_saves_the_network(
    tmp_path: Path, write_stl10: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import datasets

    write_stl10(tmp_path / "elsewhere")
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    archive = data_dir / "stl10_binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "elsewhere" / STL10.folder, STL10.folder)
    monkeypatch.setattr(datasets.STL10, "tgz_md5", drawn.md5(archive))
    assert len(STL10().load(data_dir).test) == TEST
    assert {path.name for path in data_dir.iterdir()} <= {archive.name, STL10.folder, ".stl10.lock", ".decoded"}
