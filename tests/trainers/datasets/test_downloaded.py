"""What all downloaded datasets share: subsets, and files fetched once and published whole."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import pytest
from pydantic import ValidationError

from trainers.datasets import Images, MissingDataError, fingerprint
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
    MNIST().find(data_dir)
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


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Grows by one entry whenever the official files are read."""
    made: list[Path] = []
    genuine = MNIST._read

    def counting(dataset: MNIST, data_dir: Path) -> tuple[Images, Images]:
        made.append(data_dir)
        return genuine(dataset, data_dir)

    monkeypatch.setattr(MNIST, "_read", counting)
    return made


def _written(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.rglob("*.npy")}


class TestFilesAreReadOnceAMachine:
    def test_pixels_are_a_memory_map_of_what_the_files_hold(self, data_dir: Path) -> None:
        images = MNIST().load(data_dir)
        for mapped, read in zip((images.train, images.test), MNIST()._read(data_dir), strict=True):
            assert isinstance(mapped.pixels, np.memmap)
            assert mapped.pixels.dtype == np.uint8
            assert np.array_equal(mapped.pixels, read.pixels)
            assert type(mapped.labels) is np.ndarray
            assert mapped.labels.dtype == np.int64
            assert np.array_equal(mapped.labels, read.labels)

    def test_a_second_load_opens_no_official_file(self, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = fingerprint(MNIST().load(data_dir))

        def refuse(*_: object) -> NoReturn:
            raise AssertionError("opened")

        monkeypatch.setattr(MNIST, "_read", refuse)
        monkeypatch.setattr(MNIST, "_present", refuse)
        assert fingerprint(MNIST().load(data_dir)) == first

    def test_every_load_maps_the_same_file(self, data_dir: Path) -> None:
        one = MNIST().load(data_dir)
        other = MNIST().load(data_dir)
        assert one.train.pixels.filename == other.train.pixels.filename  # pyright: ignore[reportAttributeAccessIssue]
        assert len(_written(data_dir)) == 4

    def test_what_is_written_to_the_array_stays_in_memory(self, data_dir: Path) -> None:
        MNIST().load(data_dir).train.pixels[:] = 7
        assert _indices(MNIST(), data_dir)[0] == list(range(40))

    def test_subsets_come_from_the_file_of_the_whole(self, data_dir: Path, readings: list[Path]) -> None:
        subset = _indices(MNIST(train_size=10), data_dir)
        before = _written(data_dir)
        assert len(MNIST().load(data_dir).train) == 40
        assert _indices(MNIST(train_size=10), data_dir) == subset
        assert _written(data_dir) == before
        assert len(readings) == 1

    def test_a_changed_file_is_read_anew(self, data_dir: Path, readings: list[Path]) -> None:
        MNIST().load(data_dir)
        file = data_dir / MNIST.folder / f"{FILES[3]}.gz"
        file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()), mtime=1))
        MNIST().load(data_dir)
        assert len(readings) == 2
        assert len(_written(data_dir)) == 8

    @pytest.mark.parametrize("number", range(4))
    @pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-1], lambda content: b"?" * 999])
    def test_a_damaged_array_is_written_again(
        self, number: int, damage: Callable[[bytes], bytes], data_dir: Path, readings: list[Path]
    ) -> None:
        MNIST().load(data_dir)
        path = sorted(data_dir.rglob("*.npy"))[number]
        whole = path.read_bytes()
        path.write_bytes(damage(whole))
        assert _indices(MNIST(), data_dir) == (list(range(40)), list(range(12)))
        assert path.read_bytes() == whole
        assert len(readings) == 2

    def test_arrays_are_of_no_use_without_the_files(self, data_dir: Path) -> None:
        MNIST().load(data_dir)
        (data_dir / MNIST.folder / f"{FILES[0]}.gz").unlink()
        for call in (MNIST().find, MNIST().prepare, MNIST().load):
            with pytest.raises(MissingDataError, match="No data for 'mnist'"):
                call(data_dir)

    def test_files_of_the_system_are_mapped_without_a_data_folder(
        self, tmp_path: Path, own_places: Path, write_mnist: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_mnist(tmp_path / "system")
        monkeypatch.setattr(MNIST, "system_folder", tmp_path / "system")
        assert isinstance(MNIST().load(tmp_path / "none").train.pixels, np.memmap)
        assert not (tmp_path / "none").exists()
        assert len(_written(own_places)) == 4

    def test_callers_at_once_read_once(self, data_dir: Path, readings: list[Path]) -> None:
        with ThreadPoolExecutor(8) as pool:
            loaded = list(pool.map(MNIST().load, [data_dir] * 8))
        assert len({fingerprint(images) for images in loaded}) == 1
        assert len(readings) == 1

    def test_two_processes_at_once_read_once(
        self, data_dir: Path, tmp_path: Path, twice_at_once: Callable[..., list[str]]
    ) -> None:
        program = (
            "import sys, time; from pathlib import Path; from trainers.datasets import fingerprint\n"
            "from trainers.datasets.idx import MNIST\n"
            "genuine = MNIST._read\n"
            "def slow(*args):\n"
            "    with open(sys.argv[2], 'a') as log: log.write('x')\n"
            "    time.sleep(0.5)\n"
            "    return genuine(*args)\n"
            "MNIST._read = slow; print('ready', flush=True); sys.stdin.readline()\n"
            "print(fingerprint(MNIST().load(Path(sys.argv[1]))))"
        )
        said = twice_at_once(program, data_dir, tmp_path / "log")
        assert said == [fingerprint(MNIST().load(data_dir))] * 2
        assert (tmp_path / "log").read_text() == "x"


class TestWithoutAPlaceForThem:
    @pytest.fixture(params=["no folder", "no room", "a full disk"])
    def _refused(self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_: int) -> NoReturn:
            raise OSError(28, "No space left on device")

        match request.param:
            case "no folder":
                (tmp_path / "in the way").write_text("no folder")
                monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "in the way"))
            case "no room":
                usage = namedtuple("usage", "total used free")  # noqa: PYI024  # as shutil has it
                monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
            case _:
                monkeypatch.setattr(os, "fsync", full)

    @pytest.mark.usefixtures("_refused")
    def test_each_process_reads_for_itself_and_once(self, data_dir: Path, readings: list[Path]) -> None:
        images = MNIST().load(data_dir)
        assert not isinstance(images.train.pixels, np.memmap)
        assert images.train.pixels[:, 0, 0, 0].tolist() == list(range(40))
        assert images.test.labels.tolist() == [*range(10), 0, 1]
        assert len(readings) == 1
        assert _written(data_dir) == {}

    @pytest.mark.usefixtures("_refused")
    def test_a_damaged_file_is_still_called_damaged(self, data_dir: Path) -> None:
        path = data_dir / MNIST.folder / f"{FILES[0]}.gz"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(MissingDataError, match="is not the idx file"):
            MNIST().load(data_dir)
