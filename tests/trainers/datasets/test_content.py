"""What tells one state of a data set from another: bytes and names, whatever the dates say."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import ValidationError

from trainers.data import drawn_from
from trainers.datasets import Dataset, Images, MissingDataError, TrainTest, Verification, hashes
from trainers.datasets.cifar import CIFAR10
from trainers.datasets.content import ArraysError, Content, arrays_digest, content
from trainers.datasets.decoded import Decoded, Files, Splits
from trainers.datasets.digits import Digits
from trainers.datasets.faces import Faces
from trainers.datasets.image_folder import ImageFolder
from trainers.datasets.imagenet import ImageNet
from trainers.datasets.parquet import Parquet
from trainers.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable

MINE = ImageFolder(path="mine", size=8)


def paint(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), level).save(path)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Two classes with three training and two test images each, as bitmaps: all files are equally long."""
    for split, count in (("train", 3), ("test", 2)):
        for number, kind in enumerate(("hole", "ok")):
            for index in range(count):
                paint(tmp_path / "mine" / split / kind / f"{index}.bmp", 100 * number + 10 * index + (split == "test"))
    return tmp_path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by the name of every file that is hashed."""
    names: list[str] = []
    genuine = hashes.sha256

    def counting(path: str) -> str:
        names.append(Path(path).name)
        return genuine(path)

    monkeypatch.setattr(hashes, "sha256", counting)
    return names


def digest(dataset: Dataset, data_dir: Path) -> str:
    found = content(dataset, data_dir)
    assert found is not None
    assert found.digest == dataset.digest(data_dir)
    return found.digest


def quietly(path: Path, change: Callable[[Path], None]) -> None:
    """Change a file and give it back its date; its size is the caller's affair."""
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


class TestAFolder:
    def test_its_manifest_names_each_file_with_its_sha256(self, data_dir: Path) -> None:
        found = content(MINE, data_dir)
        assert found is not None
        assert found.manifest is not None
        file = data_dir / "mine" / "train" / "ok" / "0.bmp"
        assert found.manifest["train/ok/0.bmp"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert len(found.manifest) == 10 + 2
        assert found.recorded is None

    def test_it_is_the_same_elsewhere_and_after_a_touch(self, data_dir: Path, tmp_path: Path) -> None:
        before = digest(MINE, data_dir)
        os.utime(data_dir / "mine" / "train" / "ok" / "0.bmp")
        assert digest(MINE, data_dir) == before
        shutil.copytree(data_dir / "mine", tmp_path / "other" / "place" / "mine")
        assert digest(MINE, tmp_path / "other" / "place") == before

    def test_a_change_that_keeps_size_and_date_is_noticed_at_once(self, data_dir: Path) -> None:
        before = digest(MINE, data_dir)
        file = data_dir / "mine" / "test" / "ok" / "1.bmp"
        for level in (7, 9):  # twice in a row, faster than a file system's clock may tick
            quietly(file, lambda path, level=level: paint(path, level))
            after = digest(MINE, data_dir)
            assert after != before
            before = after

    @pytest.mark.parametrize("change", ["add", "remove", "rename image", "rename class", "swap"])
    def test_whatever_changes_what_is_read_is_another_state(self, data_dir: Path, change: str) -> None:
        before = digest(MINE, data_dir)
        train = data_dir / "mine" / "train"
        match change:
            case "add":
                shutil.copy(train / "ok" / "0.bmp", train / "ok" / "9.bmp")
            case "remove":
                (train / "ok" / "0.bmp").unlink()
            case "rename image":
                (train / "ok" / "0.bmp").rename(train / "ok" / "00.bmp")
            case "rename class":
                for split in ("train", "test"):
                    (data_dir / "mine" / split / "ok").rename(data_dir / "mine" / split / "fine")
            case _:
                for old, new in (("0", "x"), ("1", "0"), ("x", "1")):
                    (train / "ok" / f"{old}.bmp").rename(train / "ok" / f"{new}.bmp")
        assert digest(MINE, data_dir) != before

    def test_what_is_not_read_is_no_part_of_it(self, data_dir: Path) -> None:
        before = digest(MINE, data_dir)
        (data_dir / "mine" / "train" / "ok" / "notes.txt").write_text("by hand")
        (data_dir / "mine" / "LICENSE").write_text("mine")
        assert digest(MINE, data_dir) == before

    def test_of_a_part_only_the_images_that_are_used_count(self, data_dir: Path, read: list[str]) -> None:
        some = ImageFolder(path="mine", size=8, train_size=2)
        before = digest(some, data_dir)
        assert len(read) == 2 + 4
        used = {name for name in some.manifest(data_dir) if name.startswith("train/")}
        (unused, *_) = {f"train/{kind}/{i}.bmp" for kind in ("hole", "ok") for i in range(3)} - used
        paint(data_dir / "mine" / unused, 77)
        assert digest(some, data_dir) == before
        paint(data_dir / "mine" / min(used), 78)
        assert digest(some, data_dir) != before

    def test_absent_files_are_said_to_be_absent(self, tmp_path: Path) -> None:
        with pytest.raises(MissingDataError, match="No data for 'image_folder'"):
            content(MINE, tmp_path)

    def test_the_digest_is_over_names_and_hashes_in_order(self, data_dir: Path) -> None:
        found = content(MINE, data_dir)
        assert found is not None
        assert found.manifest is not None
        lines = "".join(f"{found.manifest[name]}  {name}\n" for name in sorted(found.manifest))
        assert found.digest == hashlib.sha256(lines.encode()).hexdigest()


class TestKnownHashes:
    def test_unchanged_files_are_not_read_again(self, data_dir: Path, read: list[str]) -> None:
        content(MINE, data_dir)
        assert len(read) == 10
        content(MINE, data_dir)
        assert len(read) == 10

    def test_one_changed_file_is_read_alone(self, data_dir: Path, read: list[str]) -> None:
        content(MINE, data_dir)
        read.clear()
        paint(data_dir / "mine" / "train" / "ok" / "2.bmp", 3)
        content(MINE, data_dir)
        assert read == ["2.bmp"]

    def test_forgotten_all_are_read_again(self, data_dir: Path, read: list[str]) -> None:
        content(MINE, data_dir)
        read.clear()
        hashes.forget(data_dir)
        content(MINE, data_dir)
        assert len(read) == 10

    def test_a_damaged_record_of_them_costs_only_time(self, data_dir: Path, read: list[str]) -> None:
        before = digest(MINE, data_dir)
        known = list((data_dir / ".decoded").glob("hashes-*.json"))
        assert len(known) == 2
        for damaged in ("", "[1]", '{"train": 3}', '{"hole/0.bmp": [[1], "x"]}'):
            for file in known:
                file.write_text(damaged)
            assert digest(MINE, data_dir) == before

    def test_a_file_that_changes_while_it_is_read_is_refused(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = data_dir / "mine" / "train" / "ok" / "2.bmp"
        genuine = hashes.sha256

        def meanwhile(path: str) -> str:
            found = genuine(path)
            if Path(path) == file:
                time.sleep(0.05)
                paint(file, 5)
            return found

        monkeypatch.setattr(hashes, "sha256", meanwhile)
        with pytest.raises(MissingDataError, match=r"2\.bmp changed while it was read"):
            content(MINE, data_dir)


def shard(path: Path, labels: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = [bytes([10 * index + 5] * 12) for index in range(len(labels))]
    pd.DataFrame({"image": [np.frombuffer(each, np.uint8) for each in pixels], "label": labels}).to_parquet(path)


def test_one_flipped_label_in_a_parquet_file_is_another_state(tmp_path: Path) -> None:
    for split in ("train", "test"):
        shard(tmp_path / "mine" / f"{split}.parquet", [0, 1, 0, 1])
    dataset = Parquet(path="mine", size=2, shape=(3, 2, 2))
    before = content(dataset, tmp_path)
    shard(tmp_path / "mine" / "test.parquet", [0, 1, 1, 1])
    after = content(dataset, tmp_path)
    assert before is not None
    assert after is not None
    assert before.manifest is not None
    assert after.manifest is not None
    assert before.digest != after.digest
    assert {name for name, found in after.manifest.items() if before.manifest[name] != found} == {"test.parquet"}
    assert dataset.load(tmp_path).test.labels.tolist() == [0, 1, 1, 1]


class TestFaces:
    @pytest.fixture
    def faces(self, tmp_path: Path) -> Path:
        for split in ("train", "test", "others"):
            for person in ("A", "B"):
                for index in (1, 2):
                    paint(tmp_path / "f" / split / person / f"{person}_000{index}.bmp", ord(person) + index)
        (tmp_path / "f" / "pairs.txt").write_text("1\nA 1 2\nA 1 B 1\n")
        return tmp_path

    def test_the_list_of_pairs_and_their_images_count(self, faces: Path) -> None:
        dataset = Faces(path="f", size=8, pair_images="others")
        seen = [digest(dataset, faces)]
        (faces / "f" / "pairs.txt").write_text("1\nA 1 2\nA 1 B 2\n")
        seen.append(digest(dataset, faces))
        paint(faces / "f" / "others" / "B" / "B_0002.bmp", 1)
        seen.append(digest(dataset, faces))
        assert len(set(seen)) == 3

    def test_an_image_that_no_pair_names_does_not(self, faces: Path) -> None:
        dataset = Faces(path="f", size=8, pair_images="others")
        before = digest(dataset, faces)
        paint(faces / "f" / "others" / "B" / "B_0002.bmp", 1)
        assert digest(dataset, faces) == before


class TestOfficialDatasets:
    def test_their_digest_is_fixed_and_needs_no_files(self, tmp_path: Path) -> None:
        for dataset in (Digits(), CIFAR10(), CIFAR10(train_size=100)):
            assert content(dataset, tmp_path) is None
        assert CIFAR10().digest(tmp_path) == CIFAR10().digest(tmp_path / "elsewhere") != Digits().digest(tmp_path)

    def test_that_of_digits_is_of_its_arrays(self, tmp_path: Path) -> None:
        assert Digits.official == arrays_digest(Digits().load(tmp_path))

    def test_a_part_of_one_is_what_its_files_are(self, tmp_path: Path) -> None:
        for part, kind in itertools.product(("train", "val"), ("n01", "n02")):
            paint(tmp_path / "imagenet" / part / kind / "0.bmp", 1)
        assert digest(ImageNet(), tmp_path) not in {
            None,
            hashlib.sha256((ImageNet.official or "").encode()).hexdigest(),
        }

    def test_without_files_nobody_knows_whether_it_is_whole(self, tmp_path: Path) -> None:
        with pytest.raises(MissingDataError):
            content(ImageNet(), tmp_path)


class Theirs(Dataset):
    """A data set of somebody else's: no files that anyone else knows of."""

    name = "theirs"
    level: int = 3

    def load(self, data_dir: Path) -> TrainTest:
        pixels = np.full((4, 1, 2, 2), self.level, np.uint8)
        images = Images(pixels, np.array([0, 1, 0, 1]))
        return TrainTest(images, images, 2)

    def prepare(self, data_dir: Path) -> None:
        pass


class Told(Theirs):
    """The same, and it says what it holds."""

    name = "told"
    said: str = "ab" * 32

    def digest(self, data_dir: Path) -> str:
        return self.said


class Heir(Told):
    """It reads something else than what the digest it inherits speaks of."""

    name = "heir"

    def load(self, data_dir: Path) -> TrainTest:
        return super().load(data_dir)


class Listed(Decoded):
    """Images with labels from a list of somebody else's."""

    name = "listed"
    official: ClassVar[str | None] = "it says so itself"

    def _splits(self, data_dir: Path) -> Splits:
        labels = np.array([int(each) for each in (data_dir / "labels.txt").read_text().split()])
        images = Files(data_dir / "mine" / "train", ["hole/0.bmp", "ok/0.bmp"], labels)
        return Splits(images, images, 2)


class TestThirdParties:
    def test_what_one_says_itself_counts(self, tmp_path: Path) -> None:
        assert content(Told(), tmp_path) == Content("ab" * 32)

    def test_what_is_no_digest_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="digest of 'told' is 'today'; expected 64 hexadecimal digits"):
            content(Told(said="today"), tmp_path)

    @pytest.mark.parametrize("kind", [Theirs, Heir])
    def test_of_others_only_their_arrays_tell(self, kind: type[Theirs], tmp_path: Path) -> None:
        with pytest.raises(ArraysError):
            content(kind(), tmp_path)
        found = content(kind(), tmp_path, kind().load(tmp_path))
        assert found == content(kind(), tmp_path, kind().load(tmp_path))
        assert found != content(kind(), tmp_path, kind(level=4).load(tmp_path))

    def test_an_official_one_changed_by_somebody_is_official_no_more(self, tmp_path: Path) -> None:
        class Mine(Digits):
            """Digits, and another name."""

            name = "mine"

        with pytest.raises(ArraysError):
            content(Mine(), tmp_path)

    def test_labels_of_ones_own_list_count(self, data_dir: Path) -> None:
        seen: list[str] = []
        for labels in ("0 1", "1 0"):
            (data_dir / "labels.txt").write_text(labels)
            seen.append(digest(Listed(), data_dir))
        assert seen[0] != seen[1]


class TestArrays:
    @pytest.fixture
    def data(self) -> TrainTest:
        draw = np.random.default_rng(0)
        pixels = draw.integers(0, 256, (6, 1, 3, 3), dtype=np.uint8)
        images = Images(pixels, np.arange(6) % 2)
        pairs = Verification(pixels[:2], np.array([0]), np.array([1]), np.array([True]))
        return TrainTest(images, images, 2, pairs)

    def test_every_byte_counts(self, data: TrainTest) -> None:
        assert data.pairs is not None
        flipped = data.train.pixels.copy()
        flipped[5, 0, 2, 2] ^= 1
        others = [
            replace(data, train=Images(flipped, data.train.labels)),
            replace(data, test=Images(data.test.pixels, data.test.labels[::-1])),
            replace(data, classes=3),
            replace(data, pairs=None),
            replace(data, pairs=replace(data.pairs, genuine=np.array([False]))),
            replace(data, train=data.train.take(np.array([1, 0, 2, 3, 4, 5]))),
        ]
        assert len({arrays_digest(each) for each in [data, *others]}) == 1 + len(others)

    def test_none_is_left_out_however_many_there_are(self) -> None:
        pixels = np.zeros((2500, 1, 1, 1), np.uint8)
        seen: set[str] = set()
        for row in (None, 0, 1023, 1024, 2499):
            changed = pixels.copy()
            if row is not None:
                changed[row] = 1
            images = Images(changed, np.zeros(2500, np.int64))
            seen.add(arrays_digest(TrainTest(images, images, 1)))
        assert len(seen) == 5


class TestInARecipe:
    FIELDS: ClassVar[dict[str, Any]] = {"loss": "softmax", "backbone": "resnet8", "seed": 0, "dataset": "digits"}

    def test_it_stands_in_the_json_only_where_it_is_known(self) -> None:
        assert "data_digest" not in Recipe(**self.FIELDS).model_dump(mode="json")
        assert Recipe(**self.FIELDS, data_digest="ab" * 32).model_dump(mode="json")["data_digest"] == "ab" * 32

    def test_it_is_64_hexadecimal_digits(self) -> None:
        with pytest.raises(ValidationError, match="data_digest"):
            Recipe(**self.FIELDS, data_digest="today")

    def test_nothing_is_drawn_from_it(self) -> None:
        recipe = Recipe(**self.FIELDS, data_digest="ab" * 32)
        assert "ab" * 32 not in str(drawn_from(recipe.dataset))
