"""The user's own images in Parquet files, as written by Hugging Face's `datasets`."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt

from trainers.datasets import MissingDataError
from trainers.datasets.decoded import Decoded, Encoded, Picture, Splits, unchanged
from trainers.datasets.hashes import hashes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

Shape = tuple[Literal[1, 3], PositiveInt, PositiveInt]


class Parquet(Decoded):
    """Your own images in Parquet files: a column of images and one of integer labels.

    An image is an encoded file (bytes, or Hugging Face's struct of bytes and path), or a
    list of C x H x W bytes with `shape` given. A split is `PATH/train.parquet`, or the
    files `PATH/train-*.parquet`, or those in `PATH/train`; the same with `test`. A sample's
    id is its row, counted through the files in the order of their names. One file at a time
    is held in memory.
    """

    name = "parquet"

    path: str = Field(min_length=1)
    """The folder, absolute or relative to the data folder. Relative paths give the same cell ids on every machine."""
    image: str = "image"
    """The column of images."""
    label: str = "label"
    """The column of labels, 0 to classes - 1."""
    shape: Shape | None = None
    """Channels, height and width of images that are lists of bytes instead of encoded files."""
    size: int = Field(default=64, ge=1)
    """Side of the square images, in pixels."""

    def manifest(self, data_dir: Path) -> dict[str, str]:
        """SHA-256 of each file by its name relative to `path`; raises as `load` does."""
        root, found = self._found(data_dir)
        return hashes(root, [file for files in found for file in files], data_dir)

    def _found(self, data_dir: Path) -> tuple[Path, list[list[str]]]:
        """The folder, and the names of each split's files."""
        root = data_dir / Path(self.path).expanduser()
        found = [_files(root, split) for split in ("train", "test")]
        if not all(found):
            raise MissingDataError(
                f"No data for '{self.name}': expected train.parquet and test.parquet in {root}, or "
                "train-*.parquet and test-*.parquet, or folders train and test of such files, with the columns "
                f"'{self.image}' and '{self.label}'. Images in folders are read by 'image_folder'."
            )
        return root, found

    def _splits(self, data_dir: Path) -> Splits:
        root, found = self._found(data_dir)
        train, test = (self._images(root, files) for files in found)
        return Splits(train, test, _classes(root, train.labels, test.labels))

    def _images(self, root: Path, files: Sequence[str]) -> Rows:
        import numpy as np

        labels = [_labels(root / file, self.label) for file in files]
        starts = np.cumsum([0, *map(len, labels)])
        joined = np.concatenate(labels)
        return Rows(root, files, starts, self.image, self.shape, np.arange(len(joined)), joined)


@dataclass(frozen=True, eq=False)
class Rows(Encoded):
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

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """A selection of the rows, in this order."""
        return Rows(self.folder, self.parts, self.starts, self.column, self.shape, self.rows[rows], self.labels[rows])

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
    import pandas as pd

    try:
        return pd.read_parquet(file if content is None else content, columns=[name])[name]
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise MissingDataError(
            f"The column '{name}' of {file} cannot be read: {reason}. "
            "The parameters image and label name the columns; a damaged file must be replaced."
        ) from error


def _labels(file: Path, name: str) -> NDArray[np.int64]:
    import numpy as np

    column = _column(file, name)
    if column.dtype.kind not in "iu" or column.hasnans:
        raise MissingDataError(
            f"The labels in column '{name}' of {file} are {column.dtype}; expected an integer in each row."
        )
    return column.to_numpy(np.int64)


def _classes(root: Path, train: NDArray[np.int64], test: NDArray[np.int64]) -> int:
    """The number of classes, checked: labels must be 0 to K - 1 without gaps."""
    import numpy as np

    for split, labels in (("train", train), ("test", test)):
        if not len(labels):
            raise MissingDataError(f"The {split} files in {root} have no rows.")
    known = np.unique(train)
    if known[0] != 0 or known[-1] != len(known) - 1:
        raise MissingDataError(
            f"The training labels in {root} run from {known[0]} to {known[-1]} and have {len(known)} values; "
            f"expected 0 to {len(known) - 1}. Number the classes from 0 without gaps."
        )
    if len(strange := np.setdiff1d(test, known)):
        raise MissingDataError(f"The test labels in {root} include {strange[0]}, which no training image has.")
    return len(known)


def _opened(cell: Any, shape: Shape | None) -> Image:
    import numpy as np
    from PIL import Image

    if isinstance(cell, dict):
        if cell.get("bytes") is None:
            raise ValueError(f"it refers to {cell.get('path')} and holds no bytes")
        cell = cell["bytes"]
    if isinstance(cell, bytes):
        return Image.open(io.BytesIO(cell))
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
