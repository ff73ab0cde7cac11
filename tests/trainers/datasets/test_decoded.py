"""What all datasets of encoded images share: decoded once, mapped into memory, never half written."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from trainers.datasets import MissingDataError, TrainTest, decoded
from trainers.datasets.image_folder import ImageFolder
from trainers.datasets.sized import fixed_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TRAIN = 12
TEST = 4
MINE = ImageFolder(path="mine", size=8)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Twelve training and four test images of two classes; training image i is all 10 i, test image i all 200 + i."""
    for part, count, first, step in (("train", TRAIN, 0, 10), ("test", TEST, 200, 1)):
        for index in range(count):
            path = tmp_path / "data" / "mine" / part / "ab"[2 * index // count] / f"{index:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (12, 10), (first + step * index,) * 3).save(path)
    return tmp_path / "data"


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one entry an image that is decoded."""
    made: list[int] = []
    genuine = decoded.decode

    def counting(*args: Any, **kwargs: Any) -> Any:
        made.append(1)
        return genuine(*args, **kwargs)

    monkeypatch.setattr(decoded, "decode", counting)
    return made


def _levels(images: TrainTest) -> tuple[list[int], list[int]]:
    return images.train.pixels[:, 0, 3, 3].tolist(), images.test.pixels[:, 0, 3, 3].tolist()


def _cached(data_dir: Path) -> list[Path]:
    return sorted((data_dir / ".decoded").glob("*.npy"))


class TestImagesAreMappedIntoMemory:
    def test_pixels_are_a_memory_map_of_bytes_with_channels_first(self, data_dir: Path) -> None:
        images = MINE.load(data_dir)
        for split, count in ((images.train, TRAIN), (images.test, TEST)):
            assert isinstance(split.pixels, np.memmap)
            assert split.pixels.shape == (count, 3, 8, 8)
            assert split.pixels.dtype == np.uint8
            assert split.labels.dtype == np.int64
        assert _levels(images) == (list(range(0, 120, 10)), [200, 201, 202, 203])

    def test_torch_takes_them_without_a_warning(self, data_dir: Path, recwarn: pytest.WarningsRecorder) -> None:
        import torch

        torch.from_numpy(MINE.load(data_dir).test.pixels)
        assert not recwarn.list

    def test_what_is_written_to_the_array_stays_in_memory(self, data_dir: Path) -> None:
        MINE.load(data_dir).train.pixels[:] = 7
        assert _levels(MINE.load(data_dir))[0][1] == 10

    def test_more_images_than_a_batch_keep_their_places(self, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(decoded, "BATCH", 5)
        assert _levels(MINE.load(data_dir))[0] == list(range(0, 120, 10))


class TestImagesAreDecodedOnce:
    def test_a_second_load_decodes_nothing(self, data_dir: Path, decodings: list[int]) -> None:
        first = _levels(MINE.load(data_dir))
        assert len(decodings) == TRAIN + TEST
        written = {path: path.stat().st_mtime_ns for path in _cached(data_dir)}
        assert _levels(MINE.load(data_dir)) == first
        assert len(decodings) == TRAIN + TEST
        assert written == {path: path.stat().st_mtime_ns for path in _cached(data_dir)}

    def test_preparing_decodes_for_loading(self, data_dir: Path, decodings: list[int]) -> None:
        MINE.prepare(data_dir)
        decodings.clear()
        MINE.load(data_dir)
        assert decodings == []

    def test_callers_at_once_decode_once(self, data_dir: Path, decodings: list[int]) -> None:
        with ThreadPoolExecutor(8) as pool:
            loaded = list(pool.map(MINE.load, [data_dir] * 8))
        assert len(decodings) == TRAIN + TEST
        assert all(_levels(images) == _levels(loaded[0]) for images in loaded)

    def test_two_processes_at_once_decode_once(
        self, data_dir: Path, tmp_path: Path, twice_at_once: Callable[..., list[str]]
    ) -> None:
        log = tmp_path / "log"
        program = (
            "import sys; from pathlib import Path; from trainers.datasets import decoded\n"
            "from trainers.datasets.image_folder import ImageFolder\n"
            "genuine = decoded.decode\n"
            "def slow(*args, **kwargs):\n"
            "    with open(sys.argv[2], 'a') as log: log.write('x')\n"
            "    import time; time.sleep(0.05)\n"
            "    return genuine(*args, **kwargs)\n"
            "decoded.decode = slow; print('ready', flush=True); sys.stdin.readline()\n"
            "images = ImageFolder(path='mine', size=8).load(Path(sys.argv[1]))\n"
            "print(images.train.pixels[:, 0, 3, 3].tolist())"
        )
        said = twice_at_once(program, data_dir, log)
        assert said == [str(list(range(0, 120, 10)))] * 2
        assert log.read_text() == "x" * (TRAIN + TEST)


class TestOnlyWholeFilesAreUsed:
    def test_what_a_killed_writer_left_is_not_used_and_goes_away(self, data_dir: Path) -> None:
        MINE.load(data_dir)
        whole = _cached(data_dir)
        for path in whole:
            half = path.with_suffix(".0123.part")
            half.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            path.unlink()
        assert _levels(MINE.load(data_dir))[0] == list(range(0, 120, 10))
        assert _cached(data_dir) == whole
        assert not list((data_dir / ".decoded").glob("*.part"))

    @pytest.mark.parametrize("length", [0, 40, 500])
    def test_a_file_cut_short_is_decoded_again(self, length: int, data_dir: Path, decodings: list[int]) -> None:
        MINE.load(data_dir)
        for path in _cached(data_dir):
            os.truncate(path, length)
        decodings.clear()
        assert _levels(MINE.load(data_dir))[1] == [200, 201, 202, 203]
        assert len(decodings) == TRAIN + TEST

    def test_nothing_is_seen_before_it_is_whole(self, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[list[Path]] = []
        genuine = decoded.decode

        def looking(*args: Any, **kwargs: Any) -> Any:
            seen.append(_cached(data_dir))
            return genuine(*args, **kwargs)

        monkeypatch.setattr(decoded, "decode", looking)
        MINE.load(data_dir)
        assert seen[:TRAIN] == [[]] * TRAIN

    def test_a_failure_leaves_nothing_behind(self, data_dir: Path) -> None:
        (data_dir / "mine" / "train" / "b" / "11.png").write_bytes(b"no image")
        with pytest.raises(MissingDataError):
            MINE.load(data_dir)
        assert {path.suffix for path in (data_dir / ".decoded").iterdir()} <= {".lock", ".json"}


class TestChangesAreNoticed:
    def test_a_changed_file_is_decoded_anew(self, data_dir: Path) -> None:
        MINE.load(data_dir)
        Image.new("RGB", (12, 10), (99, 99, 99)).save(data_dir / "mine" / "test" / "a" / "00.png")
        assert _levels(MINE.load(data_dir))[1] == [99, 201, 202, 203]

    def test_a_file_of_another_date_alone_is_not_decoded_again(self, data_dir: Path, decodings: list[int]) -> None:
        MINE.load(data_dir)
        decodings.clear()
        os.utime(data_dir / "mine" / "test" / "a" / "00.png", (1, 1))
        MINE.load(data_dir)
        assert decodings == []

    def test_a_change_that_keeps_length_and_date_is_noticed(self, data_dir: Path) -> None:
        path = data_dir / "mine" / "test" / "a" / "00.bmp"
        (data_dir / "mine" / "test" / "a" / "00.png").unlink()
        Image.new("RGB", (12, 10), (50, 50, 50)).save(path)
        MINE.load(data_dir)
        before = path.stat()
        Image.new("RGB", (12, 10), (60, 60, 60)).save(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        assert _levels(MINE.load(data_dir))[1] == [60, 201, 202, 203]

    def test_an_image_that_changes_between_hashing_and_decoding_is_refused(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = data_dir / "mine" / "test" / "a" / "00.png"
        known = decoded.hashes

        def then_changed(*about: Any) -> dict[str, str]:
            found = known(*about)
            if about[0].name == "test":
                path.write_bytes(b"other")
            return found

        monkeypatch.setattr(decoded, "hashes", then_changed)
        with pytest.raises(MissingDataError, match=r"00\.png has changed since it was hashed"):
            MINE.load(data_dir)
        assert not [file for file in _cached(data_dir) if "-test-" in file.name]

    def test_an_added_file_is_seen(self, data_dir: Path) -> None:
        MINE.load(data_dir)
        shutil.copy(data_dir / "mine" / "test" / "a" / "00.png", data_dir / "mine" / "test" / "b" / "99.png")
        assert _levels(MINE.load(data_dir))[1] == [200, 201, 202, 203, 200]

    def test_sizes_and_channels_are_kept_apart(self, data_dir: Path) -> None:
        shapes = [
            ImageFolder(path="mine", size=size, channels=channels).load(data_dir).test.pixels.shape
            for size, channels in ((8, 3), (6, 3), (8, 1), (8, 3))
        ]
        assert shapes == [(TEST, 3, 8, 8), (TEST, 3, 6, 6), (TEST, 1, 8, 8), (TEST, 3, 8, 8)]

    def test_a_data_folder_that_moves_takes_its_decoded_images_along(
        self, data_dir: Path, decodings: list[int]
    ) -> None:
        MINE.load(data_dir)
        decodings.clear()
        moved = data_dir.rename(data_dir.with_name("elsewhere"))
        MINE.load(moved)
        assert decodings == []


class TestSubsets:
    def test_only_the_subset_is_decoded(self, data_dir: Path, decodings: list[int]) -> None:
        images = ImageFolder(path="mine", size=8, train_size=5, test_size=2).load(data_dir)
        assert (len(images.train), len(images.test)) == (5, 2)
        assert len(decodings) == 7

    def test_a_subset_is_stable_and_part_of_every_larger_one(self, data_dir: Path) -> None:
        small, again, large = (
            _levels(ImageFolder(path="mine", size=8, train_size=size).load(data_dir))[0] for size in (5, 5, 9)
        )
        assert small == again == large[:5] == (10 * fixed_order(TRAIN)[:5]).tolist()

    def test_a_subset_keeps_images_and_labels_together(self, data_dir: Path) -> None:
        train = ImageFolder(path="mine", size=8, train_size=9).load(data_dir).train
        assert np.array_equal(train.pixels[:, 0, 0, 0] >= 60, train.labels)

    def test_a_training_subset_leaves_the_test_images_alone(self, data_dir: Path, decodings: list[int]) -> None:
        MINE.load(data_dir)
        decodings.clear()
        ImageFolder(path="mine", size=8, train_size=5).load(data_dir)
        assert len(decodings) == 5

    def test_more_images_than_there_are_is_an_error(self, data_dir: Path) -> None:
        with pytest.raises(ValueError, match="'image_folder' has 4 test images, fewer than test_size=5"):
            ImageFolder(path="mine", test_size=5).load(data_dir)


class TestPlaces:
    def test_a_read_only_data_folder_falls_back_to_the_temporary_one(
        self, data_dir: Path, own_places: Path, decodings: list[int]
    ) -> None:
        # A file in the way, because the permissions of a folder do not stop root.
        (data_dir / ".decoded").write_text("in the way")
        for _ in range(2):
            assert _levels(MINE.load(data_dir))[1] == [200, 201, 202, 203]
        assert len(decodings) == TRAIN + TEST
        assert len(list(own_places.rglob("*.npy"))) == 2

    def test_no_data_folder_is_made_for_images_that_lie_elsewhere(self, data_dir: Path, own_places: Path) -> None:
        ImageFolder(path=str(data_dir / "mine"), size=8).load(data_dir / "none")
        assert not (data_dir / "none").exists()
        assert len(list(own_places.rglob("*.npy"))) == 2

    def test_the_environment_names_the_place(
        self, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "fast" / "disk"))
        MINE.load(data_dir)
        assert len(list((tmp_path / "fast" / "disk").glob("image_folder-*.npy"))) == 2
        assert not (data_dir / ".decoded").exists()

    def test_images_decoded_before_the_folder_became_read_only_are_used(
        self, data_dir: Path, decodings: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        MINE.load(data_dir)
        decodings.clear()

        def refuse(*_: object, **__: object) -> None:
            raise OSError("read-only")

        monkeypatch.setattr(Path, "mkdir", refuse)
        monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
        MINE.load(data_dir)
        assert decodings == []

    def test_without_any_place_the_message_names_those_tried_and_the_way_out(
        self, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("no folder")
        monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "file"))
        with pytest.raises(MissingDataError, match=r"cannot write to .*file .*Set ORCHESTRATOR_CACHE"):
            MINE.load(data_dir)

    def test_a_full_disk_is_known_before_anything_is_decoded(
        self, data_dir: Path, decodings: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = namedtuple("usage", "total used free")  # noqa: PYI024  # as shutil has it
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
        with pytest.raises(MissingDataError, match=r"12 of 3x8x8 bytes need 0.0 GB.*ORCHESTRATOR_CACHE"):
            MINE.load(data_dir)
        assert decodings == []

    def test_a_disk_that_fills_up_is_reported_as_missing_data(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(MissingDataError, match="No space left on device"):
            MINE.load(data_dir)
        assert _cached(data_dir) == []


class TestBadImages:
    @pytest.mark.parametrize("damage", [lambda content: b"", lambda content: b"text", lambda content: content[:-30]])
    def test_a_corrupt_image_is_named(self, damage: Callable[[bytes], bytes], data_dir: Path) -> None:
        path = data_dir / "mine" / "train" / "b" / "07.png"
        draw = np.random.default_rng(0)
        Image.fromarray(draw.integers(0, 256, (20, 20, 3), np.uint8)).save(path)
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(MissingDataError, match=r"mine/train/b/07.png is no image .*Replace it"):
            MINE.prepare(data_dir)

    def test_32_bit_pixels_are_refused_rather_than_cut_off(self, data_dir: Path) -> None:
        path = data_dir / "mine" / "test" / "b" / "02.tif"
        Image.fromarray(np.full((9, 9), 0.5, np.float32)).save(path)
        with pytest.raises(MissingDataError, match=r"02.tif .*32-bit pixels of mode F"):
            MINE.load(data_dir)
        with pytest.raises(MissingDataError, match=r"1 image with 32-bit pixels: .*02.tif.*as in 'range: \[0, 1\]'"):
            MINE.prepare(data_dir)


class TestDecoding:
    @pytest.fixture
    def noise(self) -> Iterator[Image.Image]:
        draw = np.random.default_rng(0)
        with Image.fromarray(draw.integers(0, 256, (37, 53, 3), np.uint8)) as image:
            yield image

    @pytest.mark.parametrize("size", [8, 20, 37, 64])
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("upright", [False, True])
    def test_pixels_are_those_of_torchvision(self, size: int, channels: int, upright: bool, noise: Image.Image) -> None:
        from torchvision.transforms import CenterCrop, Compose, Grayscale, Resize

        image = noise.transpose(Image.Transpose.ROTATE_90) if upright else noise
        steps = [*([Grayscale()] if channels == 1 else []), Resize(size), CenterCrop(size)]
        official = np.asarray(Compose(steps)(image)).reshape(size, size, channels).transpose(2, 0, 1)
        assert np.array_equal(decoded.decode(image.copy, size=size, channels=channels), official)

    def test_an_image_of_the_right_size_is_left_as_it_is(self, noise: Image.Image) -> None:
        square = noise.crop((0, 0, 30, 30))
        assert np.array_equal(decoded.decode(square.copy, size=30, channels=3), np.asarray(square).transpose(2, 0, 1))

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "LA"])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_every_kind_of_image_becomes_colour_or_grey(self, mode: str, channels: int) -> None:
        image = Image.new("RGB", (5, 7), "white").convert(mode)
        array = decoded.decode(image.copy, size=4, channels=channels)
        assert array.shape == (channels, 4, 4)
        assert (array == 255).all()

    def test_16_bit_levels_keep_their_upper_half(self, tmp_path: Path) -> None:
        levels = np.arange(16, dtype=np.uint16).reshape(4, 4) * 4096 + 77
        Image.fromarray(levels).save(tmp_path / "x-ray.png")
        array = decoded.decode(partial(Image.open, tmp_path / "x-ray.png"), size=4, channels=1)
        assert np.array_equal(array[0], levels // 256)

    @pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="NOT TESTED: only Linux lists open files there")
    def test_images_are_closed(self, data_dir: Path) -> None:
        MINE.load(data_dir)
        opened = [str(link.resolve()) for link in Path("/proc/self/fd").iterdir()]
        assert not [path for path in opened if path.startswith(str(data_dir / "mine"))]

    def test_threads_end_with_the_decoding(self, data_dir: Path) -> None:
        MINE.load(data_dir)
        assert not [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]
