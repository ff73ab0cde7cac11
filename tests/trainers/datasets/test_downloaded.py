"""What all downloaded datasets share: subsets, and files fetched once and published whole."""

from __future__ import annotations

import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydantic import ValidationError

from trainers.datasets import MissingDataError
from trainers.datasets.downloaded import STALL_SECONDS, fixed_order
from trainers.datasets.idx import FILES, MNIST

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def data_dir(tmp_path: Path, write_mnist: Callable[..., None]) -> Path:
    write_mnist(tmp_path / MNIST.folder)
    return tmp_path


@pytest.fixture
def server(write_mnist: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """A network that serves MNIST slowly and noisily; lists the timeout of each download."""
    asked: list[float | None] = []

    def download(_: MNIST, root: Path, data_dir: Path) -> None:
        del data_dir
        asked.append(socket.getdefaulttimeout())
        print("100%")
        print("|######|", file=sys.stderr)
        time.sleep(0.05)
        write_mnist(root / MNIST.folder, suffix="")

    monkeypatch.setattr(MNIST, "_download", download)
    return asked


def _indices(dataset: MNIST, data_dir: Path) -> tuple[list[int], list[int]]:
    images = dataset.load(data_dir)
    return images.train.pixels[:, 0, 0, 0].tolist(), images.test.pixels[:, 0, 0, 0].tolist()


def test_without_sizes_all_images_come_in_file_order(data_dir: Path) -> None:
    assert _indices(MNIST(), data_dir) == (list(range(40)), list(range(12)))


def test_a_subset_is_the_same_every_time(data_dir: Path) -> None:
    subset = MNIST(train_size=10, test_size=5)
    train, test = _indices(subset, data_dir)
    assert (train, test) == _indices(subset, data_dir)
    assert train == fixed_order(40)[:10].tolist()
    assert len(set(train)) == 10
    assert len(set(test)) == 5


def test_the_order_of_subsets_is_frozen() -> None:
    assert fixed_order(10).tolist() == [7, 0, 8, 3, 9, 2, 6, 5, 4, 1]
    assert np.array_equal(np.sort(fixed_order(1000)), np.arange(1000))


def test_a_subset_is_part_of_every_larger_one(data_dir: Path) -> None:
    small, _ = _indices(MNIST(train_size=10), data_dir)
    large, _ = _indices(MNIST(train_size=25), data_dir)
    assert large[:10] == small


def test_a_subset_keeps_images_and_labels_together(data_dir: Path) -> None:
    train = MNIST(train_size=17).load(data_dir).train
    assert np.array_equal(train.pixels[:, 0, 0, 0] % 10, train.labels)


def test_the_training_subset_leaves_the_test_images_alone(data_dir: Path) -> None:
    assert _indices(MNIST(train_size=3), data_dir)[1] == _indices(MNIST(), data_dir)[1]


@pytest.mark.parametrize("sizes", [{"train_size": 60_001}, {"test_size": 10_001}])
def test_more_images_than_the_official_ones_are_refused_while_planning(sizes: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match=r"has (60000 train|10000 test) images"):
        MNIST(**sizes)


@pytest.mark.parametrize("size", [0, -1])
def test_a_subset_holds_an_image_at_least(size: int) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        MNIST(train_size=size)


def test_more_images_than_the_files_hold_are_refused_with_their_number(data_dir: Path) -> None:
    with pytest.raises(ValueError, match="'mnist' has 12 test images, fewer than test_size=13"):
        MNIST(test_size=13).load(data_dir)


def test_prepared_data_is_neither_locked_nor_written_to(data_dir: Path) -> None:
    before = sorted(data_dir.rglob("*"))
    MNIST().prepare(data_dir)
    MNIST().load(data_dir)
    assert sorted(data_dir.rglob("*")) == before


def test_loading_fetches_what_is_missing(tmp_path: Path, server: list[float | None]) -> None:
    assert len(MNIST().load(tmp_path / "new").train) == 40
    assert len(server) == 1


def test_callers_that_prepare_together_download_once(tmp_path: Path, server: list[float | None]) -> None:
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(MNIST().prepare, [tmp_path] * 8))
    assert len(server) == 1
    assert {path.name for path in (tmp_path / MNIST.folder).iterdir()} == set(FILES)


def test_a_failed_download_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(_: MNIST, root: Path, data_dir: Path) -> None:
        del data_dir
        (root / MNIST.folder).mkdir(parents=True)
        (root / MNIST.folder / FILES[0]).write_bytes(b"half")
        raise ConnectionResetError("cable pulled")

    monkeypatch.setattr(MNIST, "_download", break_off)
    with pytest.raises(MissingDataError, match="cable pulled"):
        MNIST().prepare(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.name != ".mnist.lock"] == []


@pytest.mark.usefixtures("server")
def test_a_download_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    MNIST().prepare(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_silent_server_is_given_up_and_other_sockets_stay_patient(tmp_path: Path, server: list[float | None]) -> None:
    before = socket.getdefaulttimeout()
    MNIST().prepare(tmp_path)
    assert server == [STALL_SECONDS]
    assert socket.getdefaulttimeout() == before


def test_a_data_folder_that_cannot_be_made_is_reported_as_missing_data(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(MissingDataError, match="the download failed"):
        MNIST().prepare(tmp_path / "file")
