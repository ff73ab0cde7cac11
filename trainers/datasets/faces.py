"""Faces of known people to train on, and pairs of faces to verify."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from trainers.datasets import MissingDataError, TrainTest, Verification
from trainers.datasets.decoded import Encoded, Files, pixels
from trainers.datasets.folders import OwnFolders, images_in
from trainers.datasets.hashes import hashes
from trainers.datasets.pictures import Reading
from trainers.datasets.tables import lines, wrong

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray


class Pair(NamedTuple):
    """Two face images, relative to the folder of people; `genuine` if they show one person."""

    file_a: str
    file_b: str
    genuine: bool


class Faces(OwnFolders):
    """Your own faces: an image folder of people, and pairs of faces to verify as in LFW.

    PATH/train/PERSON/IMAGE and PATH/test/PERSON/IMAGE as for `image_folder`. `pairs` lists
    pairs in the format of LFW's `pairs.txt` (Huang et al. 2007). Person A's fourth image is
    A/A_0004, with any image extension, in the folder `pair_images`.
    """

    name = "faces"
    origin = f"{OwnFolders.origin} The pairs come in a file like pairs.txt of LFW."

    size: int = Field(default=112, ge=1)
    """Side of the square images, in pixels."""
    pairs: str = Field(default="pairs.txt", min_length=1)
    """The file that lists the pairs, absolute or relative to `path`."""
    pair_images: str = Field(default="test", min_length=1)
    """The folder of the people in the pairs, absolute or relative to `path`; they need not be in train or test."""

    def find(self, data_dir: Path) -> None:
        """Check that the images exist, and those of the pairs.

        Raises:
            MissingDataError: Files are missing, or a line of the pairs is wrong.
        """
        super().find(data_dir)
        self._paired(data_dir)

    def manifest(self, data_dir: Path) -> dict[str, str]:
        """The files of both splits, the file of pairs, and the images that it names."""
        _, _, images = self._paired(data_dir)
        file = self._root(data_dir) / Path(self.pairs).expanduser()
        faces = hashes(images.folder, images.files, data_dir)
        return (
            super().manifest(data_dir)
            | {self.pairs: hashes(file.parent, [file.name], data_dir)[file.name]}
            | {f"{self.pair_images}/{name}": digest for name, digest in faces.items()}
        )

    def load(self, data_dir: Path) -> TrainTest:
        """Both splits, and the pairs to verify; raises as `verification` does."""
        return replace(super().load(data_dir), pairs=self.verification(data_dir))

    def verification(self, data_dir: Path) -> Verification:
        """The pairs and their faces; `train_size` and `test_size` do not affect them.

        Raises:
            MissingDataError: The file of pairs or one of its images is missing, or a line is wrong.
        """
        import numpy as np

        pairs, faces, images = self._paired(data_dir)
        reading = self._reading(dict(self._chosen(self._splits(data_dir))).values(), data_dir)
        place = {face: number for number, face in enumerate(faces)}
        people = [face.rpartition("/")[0] for face in faces]
        known = {person: number for number, person in enumerate(sorted(set(people)))}
        return Verification(
            pixels=pixels(images, f"{self.name}-pairs", self.size, self.channels, data_dir, reading=reading),
            first=np.array([place[pair.file_a] for pair in pairs], np.int64),
            second=np.array([place[pair.file_b] for pair in pairs], np.int64),
            genuine=np.array([pair.genuine for pair in pairs], np.bool_),
            identity=np.array([known[person] for person in people], np.int64),
            fold=_folds(self._root(data_dir) / Path(self.pairs).expanduser(), len(pairs)),
        )

    def _reading(self, splits: Iterable[Encoded], data_dir: Path) -> Reading:
        """The same for the faces to verify as for those to train on."""
        _, _, images = self._paired(data_dir)
        return super()._reading([*splits, images], data_dir)

    def _paired(self, data_dir: Path) -> tuple[Sequence[Pair], Sequence[str], Files]:
        """The pairs, their distinct faces, and the files of these faces."""
        import numpy as np

        root = self._root(data_dir)
        file = root / Path(self.pairs).expanduser()
        folder = root / Path(self.pair_images).expanduser()
        if not file.is_file():
            raise MissingDataError(f"No pairs for '{self.name}': expected {file}. {self.origin}")
        pairs = read_pairs(file)
        faces = sorted({face for pair in pairs for face in (pair.file_a, pair.file_b)})
        return pairs, faces, Files(folder, _on_disk(faces, folder, file), np.zeros(len(faces), np.int64))


def read_pairs(path: Path) -> list[Pair]:
    """The pairs in a file of LFW's format, in file order (http://vis-www.cs.umass.edu/lfw).

    The first line has the number of folds (optional) and the number of genuine and of impostor
    pairs in each. Then there is one line per pair: `name i j` for images i and j of one person,
    `name1 i name2 j` for images of two. Image 4 of A is the file `A/A_0004.jpg`.

    Args:
        path: The file; fields are separated by tabs, or by blanks in lines without a tab.

    Raises:
        MissingDataError: It cannot be read, a line is wrong (the message says which one),
            or the number of pairs is not that of the first line.
    """
    header, *rest = lines(path) or [""]
    expected = _count(path, header)
    pairs = [_pair(path, number, line) for number, line in enumerate(rest, 2) if line.strip()]
    genuine = sum(pair.genuine for pair in pairs)
    if (genuine, len(pairs) - genuine) != (expected, expected):
        reason = f"it announces {expected} genuine and as many impostor pairs, but {genuine} and "
        raise wrong(path, 1, f"{reason}{len(pairs) - genuine} follow")
    return pairs


def _folds(path: Path, count: int) -> NDArray[np.int64] | None:
    """The fold of each pair, in file order; None if the first line has no number of folds, or 1."""
    import numpy as np

    match lines(path)[0].split():
        case [folds, _] if int(folds) > 1:
            return np.arange(count, dtype=np.int64) * int(folds) // count
        case _:
            return None


def _count(path: Path, header: str) -> int:
    """The number of genuine pairs in the first line."""
    match header.split():
        case [pairs] if pairs.isdecimal():
            return int(pairs)
        case [folds, pairs] if folds.isdecimal() and pairs.isdecimal():
            return int(folds) * int(pairs)
        case _:
            raise wrong(path, 1, f"expected the numbers of folds and pairs, such as '10 300', found '{header}'")


def _pair(path: Path, number: int, line: str) -> Pair:
    fields = [field.strip() for field in line.split("\t")] if "\t" in line else line.split()
    match fields:
        case [name, i, j]:
            pair = Pair(_file(path, number, name, i), _file(path, number, name, j), genuine=True)
        case [name_a, i, name_b, j]:
            pair = Pair(_file(path, number, name_a, i), _file(path, number, name_b, j), genuine=False)
            if name_a == name_b:
                raise wrong(path, number, f"an impostor pair needs two people, but both are {name_a}")
        case _:
            raise wrong(path, number, f"expected 'name i j' or 'name1 i name2 j', found {len(fields)} fields")
    if pair.file_a == pair.file_b:
        raise wrong(path, number, f"{pair.file_a} is paired with itself")
    return pair


def _file(path: Path, number: int, name: str, image: str) -> str:
    if not image.isdecimal():
        raise wrong(path, number, f"expected the number of an image of {name}, found '{image}'")
    return f"{name}/{name}_{int(image):04d}.jpg"


def _on_disk(faces: Sequence[str], folder: Path, pairs: Path) -> list[str]:
    """The names of the files with their extensions."""
    found = {name.rpartition(".")[0]: name for name in images_in(folder)}
    absent = [face for face in faces if face.removesuffix(".jpg") not in found]
    if absent:
        raise MissingDataError(
            f"{pairs} names {absent[0]}, which is not in {folder}, nor with another ending "
            f"({len(absent)} of {len(faces)} images are absent). The parameter pair_images names the folder."
        )
    return [found[face.removesuffix(".jpg")] for face in faces]
