"""The user's own images in Parquet files, as written by Hugging Face's `datasets`."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt

from trainers.datasets import UnreadableHereError, UnusableDataError, grouped
from trainers.datasets.decoded import Encoded, Picture, Splits, unchanged
from trainers.datasets.hashes import hashes
from trainers.datasets.own import Layout, Own
from trainers.datasets.pictures import opened
from trainers.datasets.remarks import few

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

Shape = tuple[Literal[1, 3], PositiveInt, PositiveInt]


class Parquet(Own):
    """Your own images in Parquet files: a column of images and one of labels.

    An image is an encoded file (bytes, or Hugging Face's struct of bytes and path), or a
    list of C x H x W bytes with `shape` given. A label is the name of a class or an integer; names
    of integers are taken from Hugging Face's metadata. A split is `PATH/train.parquet`, or the
    files `PATH/train-*.parquet`, or those in `PATH/train`; the same with `test`. With `test_fraction`,
    all images are in `PATH/*.parquet`. A sample's id is its row, counted through the files in the order
    of their names. One file at a time is held in memory.
    """

    name = "parquet"

    image: str = "image"
    """The column of images."""
    label: str = "label"
    """The column of labels: integers from 0 to classes - 1, or names."""
    shape: Shape | None = None
    """Channels, height and width of images that are lists of bytes instead of encoded files."""
    test_fraction: float | None = Field(default=None, gt=0, lt=1, exclude_if=lambda share: share is None)
    """The fraction of each class to test on, if the files are not divided into train and test."""
    test_seed: int = Field(default=0, ge=0, exclude_if=lambda seed: seed == 0)
    """Another number tests on other images. The seeds of an experiment do not change the test images."""
    group: str | None = Field(default=None, exclude_if=lambda column: column is None)
    """The column that says which images belong together, such as those of one part; `test_fraction` keeps them on one
    side. Default: `group`, if there is such a column."""

    def _files_of(self, chosen: Mapping[str, Encoded], data_dir: Path) -> dict[str, str]:
        """SHA-256 of each file by its name relative to `path`."""
        files = dict.fromkeys(file for images in chosen.values() for file in images.files)
        return hashes(self._root(data_dir), list(files), data_dir)

    origin = "Images in folders are read by 'image_folder'."

    def _expected(self, where: str) -> str:
        columns = f"with the columns '{self.image}' and '{self.label}'"
        if self.test_fraction is not None:
            return f"expected *.parquet in {where}, {columns}."
        return (
            f"expected train.parquet and test.parquet in {where}, or train-*.parquet and test-*.parquet, or folders "
            f"train and test of such files, {columns}. Files that are not divided need 'test_fraction'."
        )

    def _look(self, data_dir: Path) -> Layout:
        root = self._existing(data_dir)
        divided = {split: _files(root, split) for split in ("train", "test")}
        if self.test_fraction is not None and all(divided.values()):
            return Layout(None, [f"{root} is divided into train and test already: leave out 'test_fraction'."])
        parts = divided if self.test_fraction is None else {"": divided["train"] or _files(root, "*")}
        if not all(parts.values()):
            return Layout(None, [self._absent(str(root))])
        wrong: list[str] = []
        read = {part: _read(root, files, self.label, wrong) for part, files in parts.items()}
        if wrong:
            return Layout(None, wrong)
        names, numbers = _numbered(root, read, _names(root / next(iter(parts.values()))[0], self.label), wrong)
        if wrong:
            return Layout(None, wrong)
        images = {part: self._rows_in(root, files, read[part], numbers[part]) for part, files in parts.items()}
        classes = len(names) or int(max(labels.max() for labels in numbers.values())) + 1
        if self.test_fraction is None:
            return Layout(Splits(images["train"], images["test"], classes, names))
        return self._divided(images[""], classes, names, self.test_fraction)

    def _rows_in(
        self, root: Path, files: Sequence[str], read: Sequence[NDArray[Any]], numbers: NDArray[np.int64]
    ) -> ParquetRows:
        import numpy as np

        starts = np.cumsum([0, *map(len, read)])
        return ParquetRows(root, files, starts, self.image, self.shape, np.arange(len(numbers)), numbers)

    def _divided(self, whole: ParquetRows, classes: int, names: tuple[str, ...], share: float) -> Layout:
        try:
            groups = self._groups_of(whole)
        except UnusableDataError as error:
            return Layout(None, [str(error)])
        train, test = grouped.divided(whole.labels, groups, share, self.test_seed)
        together = [grouped.numbered([groups[row] for row in rows.tolist()]) for rows in (train, test)]
        tested = set(whole.labels[test].tolist())
        wrong = [
            f"The images of class '{names[number] if names else number}' cannot be divided: they belong together, or "
            "there is only one."
            for number in range(classes)
            if number not in tested
        ]
        return Layout(Splits(whole.take(train), whole.take(test), classes, names, *together), wrong)

    def _groups_of(self, whole: ParquetRows) -> list[str]:
        """What each row belongs to."""
        column = self.group or "group"
        found: list[Any] = []
        for file in whole.parts:
            try:
                found.append(_column(whole.folder / file, column))
            except UnusableDataError:
                if self.group or found:
                    raise
        if len(found) < len(whole.parts):  # by default, such a column need not be there
            return [f"row {row}" for row in range(len(whole.labels))]
        if empty := sum(int(part.isna().sum()) for part in found):
            raise UnusableDataError(f"The column '{column}' of {whole.folder} has {empty} empty cells: fill them.")
        return [str(value) for part in found for value in part]


@dataclass(frozen=True, eq=False)
class ParquetRows(Encoded):
    """Rows of several files.

    `starts` int64 (files + 1,) is the number of each file's first row; `rows` int64 (n,) are
    the rows to use, counted through all files.
    """

    folder: Path
    parts: Sequence[str]
    starts: NDArray[np.int64]
    column: str
    shape: Shape | None
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]

    @property
    def files(self) -> Sequence[str]:
        """All files, in the order in which rows are counted."""
        return self.parts

    def called(self, row: int) -> str:
        """The row in its file, counted from 0."""
        import numpy as np

        place = int(self.rows[row])
        number = int(np.searchsorted(self.starts, place, side="right")) - 1
        return f"Row {place - int(self.starts[number])} of {self.folder / self.parts[number]}"

    def take(self, rows: NDArray[np.int64]) -> ParquetRows:
        """A selection of the rows, in this order."""
        return ParquetRows(
            self.folder, self.parts, self.starts, self.column, self.shape, self.rows[rows], self.labels[rows]
        )

    def texts(self, hashes: Mapping[str, str]) -> Iterator[str]:
        """Each file's hash, then the column, the shape and the rows to use."""
        yield from (hashes[file] for file in self.parts)
        yield f"{self.column}\t{self.shape}\t{hashlib.sha256(self.rows.astype('<i8').tobytes()).hexdigest()}"

    def pictures(self, hashes: Mapping[str, str]) -> Iterator[Picture]:
        """The rows file by file; files without selected rows are not read."""
        import numpy as np

        for number, file in enumerate(self.parts):
            start = self.starts[number]
            stop = self.starts[number + 1]
            places = np.flatnonzero((self.rows >= start) & (self.rows < stop))
            if len(places):
                yield from self._pictures(self.folder / file, hashes[file], places, self.rows[places] - start)

    def _pictures(
        self, file: Path, expected: str, places: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Iterator[Picture]:
        column = _column(file, self.column, io.BytesIO(unchanged(str(file), expected)))
        for place, row in zip(places.tolist(), rows.tolist(), strict=True):
            yield Picture(place, f"Row {row} of {file}", partial(_opened, column.iloc[row], self.shape))


def _files(root: Path, split: str) -> list[str]:
    for pattern in (f"{split}.parquet", f"{split}-*.parquet", f"{split}/*.parquet"):
        if found := sorted(root.glob(pattern)):
            return [file.relative_to(root).as_posix() for file in found]
    return []


def _column(file: Path, name: str, content: io.BytesIO | None = None) -> Any:  # a pandas.Series, imported late
    if find_spec("pandas") is None:
        raise UnreadableHereError("pandas")
    import pandas as pd

    try:
        return pd.read_parquet(file if content is None else content, columns=[name])[name]
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise UnusableDataError(
            f"The column '{name}' of {file} cannot be read: {reason}. "
            "The parameters image and label name the columns; a damaged file must be replaced."
        ) from error


def _footer(file: Path) -> str:
    """The metadata at the end of a Parquet file, as far as they are text."""
    with file.open("rb") as opened_file:
        opened_file.seek(-8, os.SEEK_END)
        length = int.from_bytes(opened_file.read(4), "little")
        opened_file.seek(-8 - length, os.SEEK_END)
        return opened_file.read(length).decode("utf-8", "ignore")


def _names(file: Path, column: str) -> tuple[str, ...]:
    """The names of integer labels in the metadata of Hugging Face's `datasets`; empty where there are none."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        footer = _footer(file)
        about, _ = json.JSONDecoder().raw_decode(footer, footer.index('{"info": {"features"'))
        return tuple(map(str, about["info"]["features"][column]["names"]))
    return ()


def _read(root: Path, files: Sequence[str], column: str, wrong: list[str]) -> list[NDArray[Any]]:
    """The labels in each file, integers or strings; what is wrong with them is added to `wrong`."""
    found: list[NDArray[Any]] = []
    for file in files:
        try:
            found.append(_labels(root / file, column))
        except UnusableDataError as error:
            wrong.append(str(error))
    return found


def _labels(file: Path, name: str) -> NDArray[Any]:
    import numpy as np

    column = _column(file, name)
    if column.dtype.kind in "iu" and not column.hasnans:
        return column.to_numpy(np.int64)
    if not column.empty and all(isinstance(label, str) for label in column):
        return column.to_numpy(np.str_)
    raise UnusableDataError(
        f"The labels in column '{name}' of {file} are {column.dtype}; expected an integer in each row, or a name in "
        "each."
    )


def _numbered(
    root: Path, read: Mapping[str, Sequence[NDArray[Any]]], known: tuple[str, ...], wrong: list[str]
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """The names of the classes, and the labels of each part as numbers; what is wrong with them is added to `wrong`."""
    import numpy as np

    if len({labels.dtype.kind for part in read.values() for labels in part}) > 1:
        wrong.append(f"Some labels in {root} are names and some numbers; expected an integer in each row, or a name.")
        return (), {}
    parts = {part: np.concatenate(labels) for part, labels in read.items()}
    for part, labels in parts.items():
        if not len(labels):
            wrong.append(f"The {f'{part} ' * bool(part)}files in {root} have no rows.")
    if wrong:
        return (), {}
    train, *others = parts.values()
    if train.dtype.kind == "U":
        names, _ = np.unique(train, return_inverse=True)
        wrong += _strangers(root, names, others)
        return tuple(names.tolist()), {part: np.searchsorted(names, labels) for part, labels in parts.items()}
    numbers = np.unique(train)
    if numbers[0] != 0 or numbers[-1] != len(numbers) - 1:
        wrong.append(
            f"The training labels in {root} run from {numbers[0]} to {numbers[-1]} and have {len(numbers)} values; "
            f"expected 0 to {len(numbers) - 1}. Number the classes from 0 without gaps."
        )
    wrong += _strangers(root, numbers, others)
    return known if len(known) == len(numbers) else (), parts


def _strangers(root: Path, train: NDArray[Any], others: Sequence[NDArray[Any]]) -> Iterator[str]:
    """The test labels that no training image has, in a sentence."""
    import numpy as np

    for test in others:
        if len(strange := np.setdiff1d(test, train)):
            yield (
                f"The test labels in {root} include {few([str(label) for label in strange])}, which no training image "
                "has."
            )


def _opened(cell: Any, shape: Shape | None) -> Image:
    import numpy as np
    from PIL import Image

    if isinstance(cell, dict):
        if cell.get("bytes") is None:
            raise ValueError(f"it refers to {cell.get('path')} and holds no bytes")
        cell = cell["bytes"]
    if isinstance(cell, bytes):
        return opened(cell)
    if not isinstance(cell, np.ndarray):
        raise TypeError(f"it is {type(cell).__name__}; expected bytes, or a list of bytes with the parameter shape")
    return Image.fromarray(_array(cell, shape))


def _array(cell: NDArray[Any], shape: Shape | None) -> NDArray[np.uint8]:
    """The bytes in Pillow's layout: (H, W, 3), or (H, W) for grey."""
    import numpy as np

    if shape is None:
        raise ValueError("it is a list; its shape must be given, as in shape: [3, 32, 32]")
    if cell.dtype != np.uint8:
        raise ValueError(f"it is a list of {cell.dtype}; expected uint8")
    array = cell.reshape(shape).transpose(1, 2, 0)
    return array[:, :, 0] if shape[0] == 1 else array
