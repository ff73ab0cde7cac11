"""The claims of `faces`: pairs in LFW's format, read as torchvision reads them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from trainers.datasets import MissingDataError
from trainers.datasets.faces import Faces, Pair, read_pairs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAIRS = "2\t1\nAnn_Lee\t1\t3\nAnn_Lee\t2\tBo\t1\nBo\t1\t2\nBo\t2\tAnn_Lee\t1\n"
"""Two folds, each of one genuine and one impostor pair."""

MINE = Faces(path="mine", size=8)


def _image(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 12), (level, level, level)).save(path)


@pytest.fixture
def write_pairs(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "pairs.txt"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Two people to train on; image i of person k is all 100 k + 10 i in the folder `test`."""
    for number, person in enumerate(("Ann_Lee", "Bo")):
        for index in (1, 2, 3):
            _image(tmp_path / "mine" / "train" / person / f"{index}.png", index)
            _image(tmp_path / "mine" / "test" / person / f"{person}_{index:04}.png", 100 * number + 10 * index)
    (tmp_path / "mine" / "pairs.txt").write_text(PAIRS)
    return tmp_path


class TestReadPairs:
    def test_three_fields_are_genuine_and_four_an_impostor(self, write_pairs: Callable[[str], Path]) -> None:
        assert read_pairs(write_pairs(PAIRS)) == [
            Pair("Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0003.jpg", genuine=True),
            Pair("Ann_Lee/Ann_Lee_0002.jpg", "Bo/Bo_0001.jpg", genuine=False),
            Pair("Bo/Bo_0001.jpg", "Bo/Bo_0002.jpg", genuine=True),
            Pair("Bo/Bo_0002.jpg", "Ann_Lee/Ann_Lee_0001.jpg", genuine=False),
        ]

    def test_torchvision_reads_the_same_pairs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from torchvision import datasets

        root = tmp_path / "lfw-py"
        root.mkdir()
        (root / "lfw-funneled.tgz").write_bytes(b"")
        (root / "pairs.txt").write_text(PAIRS)
        md5 = {path.name: hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() for path in root.iterdir()}
        monkeypatch.setattr(datasets.LFWPairs, "checksums", md5)
        listed = {"funneled": ("lfw_funneled", "lfw-funneled.tgz", md5["lfw-funneled.tgz"])}
        monkeypatch.setattr(datasets.LFWPairs, "file_dict", listed)
        official = datasets.LFWPairs(str(tmp_path))
        folder = f"{root / 'lfw_funneled'}/"
        ours = read_pairs(root / "pairs.txt")
        assert [(folder + pair.file_a, folder + pair.file_b) for pair in ours] == official.data
        assert [int(pair.genuine) for pair in ours] == official.targets

    def test_the_files_for_development_have_no_folds(self, write_pairs: Callable[[str], Path]) -> None:
        assert len(read_pairs(write_pairs("1\nA\t1\t2\nA\t1\tB\t1\n"))) == 2

    def test_blanks_separate_where_there_are_no_tabs_and_belong_to_names_where_there_are(
        self, write_pairs: Callable[[str], Path]
    ) -> None:
        pairs = read_pairs(write_pairs("1\nA 1 12345\r\nAnn Lee\t1\tB\t1\n\n"))
        assert pairs[0].file_b == "A/A_12345.jpg"
        assert pairs[1].file_a == "Ann Lee/Ann Lee_0001.jpg"

    @pytest.mark.parametrize(
        ("text", "line", "reason"),
        [
            ("", 1, "expected the numbers of folds and pairs"),
            ("A\t1\t2\n", 1, "expected the numbers of folds and pairs"),
            ("1\nA\t1\t2\nA\t1\n", 3, "found 2 fields"),
            ("1\nA\t1\t2\nA\t1\tB\t2\t3\n", 3, "found 5 fields"),
            ("1\nA\t1\tx\n", 2, "the number of an image of A, found 'x'"),
            ("1\n\nA\t-1\t2\n", 3, "the number of an image of A, found '-1'"),
            ("1\nA\t1\t2\nA\t1\tA\t2\n", 3, "an impostor pair needs two people, but both are A"),
            ("1\nA\t2\t2\nA\t1\tB\t2\n", 2, "A/A_0002.jpg is paired with itself"),
            ("2\t1\nA\t1\t2\nA\t1\tB\t2\n", 1, "announces 2 genuine and as many impostor pairs, but 1 and 1 follow"),
            ("1\nA\t1\t2\nA\t1\t3\n", 1, "but 2 and 0 follow"),
        ],
    )
    def test_a_wrong_line_is_named_with_the_reason(
        self, text: str, line: int, reason: str, write_pairs: Callable[[str], Path]
    ) -> None:
        with pytest.raises(MissingDataError) as caught:
            read_pairs(write_pairs(text))
        assert f"pairs.txt:{line}: " in str(caught.value)
        assert reason in str(caught.value)

    def test_a_file_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(MissingDataError, match=r"pairs.txt cannot be read"):
            read_pairs(tmp_path / "pairs.txt")


class TestFaces:
    def test_it_trains_and_tests_like_an_image_folder(self, data_dir: Path) -> None:
        images = MINE.load(data_dir)
        assert images.train.pixels.shape == (6, 3, 8, 8)
        assert images.test.labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert images.classes == 2

    def test_pairs_point_to_their_faces(self, data_dir: Path) -> None:
        pairs = MINE.verification(data_dir)
        level = pairs.pixels[:, 0, 4, 4].astype(int)
        assert isinstance(pairs.pixels, np.memmap)
        assert level[pairs.first].tolist() == [10, 20, 110, 120]
        assert level[pairs.second].tolist() == [30, 110, 120, 10]
        assert pairs.genuine.tolist() == [True, False, True, False]
        assert pairs.fold is not None
        assert pairs.fold.tolist() == [0, 0, 1, 1]
        assert pairs.identity is not None
        assert pairs.identity[pairs.first].tolist() == [0, 0, 1, 1]
        assert pairs.identity[pairs.second].tolist() == [0, 1, 1, 0]
        assert len(pairs.pixels) == 5  # Bo's third image is in no pair

    def test_pairs_may_show_people_who_are_in_no_split(self, data_dir: Path) -> None:
        _image(data_dir / "lfw" / "Cy" / "Cy_0001.jpg", 70)
        _image(data_dir / "lfw" / "Di" / "Di_0001.jpg", 80)
        _image(data_dir / "lfw" / "Di" / "Di_0002.jpg", 90)
        (data_dir / "lfw" / "pairs.txt").write_text("1\nDi 1 2\nCy 1 Di 1\n")
        other = Faces(path="mine", size=8, pairs="../lfw/pairs.txt", pair_images=str(data_dir / "lfw"))
        pairs = other.verification(data_dir)
        assert pairs.pixels[:, 0, 4, 4].tolist() == [70, 80, 90]
        assert pairs.fold is None  # the first line names none
        assert len(other.load(data_dir).train) == 6

    def test_subsets_leave_the_pairs_alone(self, data_dir: Path) -> None:
        pairs = Faces(path="mine", size=8, train_size=2, test_size=1).verification(data_dir)
        assert np.array_equal(pairs.pixels, MINE.verification(data_dir).pixels)

    def test_a_face_that_is_not_there_is_named(self, data_dir: Path) -> None:
        (data_dir / "mine" / "test" / "Bo" / "Bo_0001.png").unlink()
        with pytest.raises(MissingDataError, match=r"pairs.txt names Bo/Bo_0001.jpg, .*1 of 5 images are absent"):
            MINE.prepare(data_dir)

    def test_missing_pairs_are_named_before_anything_trains(self, data_dir: Path) -> None:
        (data_dir / "mine" / "pairs.txt").unlink()
        with pytest.raises(MissingDataError, match=r"No pairs for 'faces': expected .*mine/pairs.txt"):
            MINE.prepare(data_dir)

    def test_missing_images_are_named_with_their_layout(self, tmp_path: Path) -> None:
        with pytest.raises(MissingDataError, match=r"No data for 'faces': expected train/CLASS/IMAGE"):
            MINE.prepare(tmp_path)
