"""Vectors as a dataset: features of images, texts or sounds that another program computed, or a table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from pydantic import Field, model_validator

from trainers.datasets import Images, Labels, MissingDataError, TrainTest, UnusableDataError
from trainers.datasets.hashes import hashes
from trainers.datasets.mapped import check_room, find_or_write, key
from trainers.datasets.sized import Sized

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

ENDINGS = (".parquet", ".npz", ".npy", ".safetensors")

BLOCK = 4096
"""Vectors in memory at a time while a file is written."""


class Features(Sized):
    """Your own vectors: features of images, texts or sounds, or the columns of a table, with a label per vector.

    `path` is a folder with `train` and `test` files (`train.parquet`, `test.parquet`), or one file, which is divided
    by a column (`split`) or by `test_fraction`. A file is one of

    - Parquet: `features` is a column of lists; without such a column, every column of numbers is a feature.
    - npz or safetensors: `features` (n, d) and `label` (n,) are arrays of these names.
    - npy: NAME.npy has the vectors, and NAME.label.npy beside it the labels; groups and splits in the same way.

    Labels are integers from 0, or texts, which are numbered in alphabetical order. Each feature is scaled by its mean
    and deviation on the training split, as the channels of images are.
    """

    name = "features"
    vectors: ClassVar[bool] = True

    path: str = Field(min_length=1)
    """The file or folder, absolute or relative to the data folder. Relative paths give the same cell ids everywhere."""
    features: str = "features"
    """The column or array of vectors."""
    label: str = "label"
    """The column or array of labels."""
    group: str | None = None
    """The column or array that says which samples belong together, for example all of one patient. Neither a split by
    `test_fraction` nor the validation split divides a group."""
    split: str | None = None
    """In a single file: the column or array that says `train` or `test`, as texts or as 0 and 1."""
    test_fraction: float | None = Field(default=None, gt=0, lt=1)
    """In a single file without `split`: about this fraction of each class, or of the groups, is for testing."""
    split_seed: int = Field(default=0, ge=0)
    """Draws the test samples of `test_fraction`. They are the same for all seeds of an experiment."""

    @model_validator(mode="after")
    def _is_split_once(self) -> Self:
        if self.split is not None and self.test_fraction is not None:
            raise ValueError("'split' and 'test_fraction' both divide the samples: leave out one")
        if self.shift is not None:
            raise ValueError("'shift' corrupts images, and these are vectors: leave it out")
        return self

    def load(self, data_dir: Path) -> TrainTest:
        """Both splits, float32 (n, d, 1, 1), mapped from a file that is written once per machine.

        Raises:
            MissingDataError: Files are missing, or cannot be used as a dataset.
            ValueError: There are fewer samples than `train_size` or `test_size`.
        """
        known = self.manifest(data_dir)
        tables = self._tables(data_dir)
        train, test = self._parts(tables)
        names = self._numbered(train, test)
        chosen = [part.take(rows) for part, rows in zip((train, test), self._sized(train, test), strict=True)]
        files = [f"{self.name}-{split}-{self._key(known)}.npy" for split in ("train", "test")]
        found = find_or_write(files, data_dir, partial(_write, chosen))
        images = [
            Images(vectors[:, :, None, None], names.of(part), part.groups)
            for vectors, part in zip(found, chosen, strict=True)
        ]
        return TrainTest(images[0], images[1], len(names.texts))

    def prepare(self, data_dir: Path) -> None:
        """Read the files once, so that damaged ones are found before training starts; raises as `load` does."""
        self.load(data_dir)

    def find(self, data_dir: Path) -> None:
        """Check that the files exist.

        Raises:
            MissingDataError: They are missing.
        """
        self._files(data_dir)

    def labels(self, data_dir: Path) -> Labels:
        """The labels of both splits; raises as `load` does."""
        train, test = self._parts(self._tables(data_dir))
        names = self._numbered(train, test)
        first, second = (part.take(rows) for part, rows in zip((train, test), self._sized(train, test), strict=True))
        shape = (train.table.columns.width, 1, 1)
        numbers = names.of(first), names.of(second)
        return Labels(*numbers, len(names.texts), first.groups, shape=shape, test_groups=second.groups)

    def manifest(self, data_dir: Path) -> dict[str, str]:
        """SHA-256 of each file, those beside an .npy file included; raises as `find` does."""
        files = self._files(data_dir)
        every = [each for file in files for each in self._with_neighbours(file)]
        root = files[0].parent
        return hashes(root, [file.name for file in every], data_dir)

    def _with_neighbours(self, file: Path) -> list[Path]:
        beside = [name for name in (self.label, self.group, self.split) if name]
        return [file, *(_neighbour(file, name) for name in beside)] if file.suffix == ".npy" else [file]

    def _files(self, data_dir: Path) -> list[Path]:
        """The single file, or those of training and test."""
        root = data_dir / Path(self.path).expanduser()
        if root.is_file() and root.suffix in ENDINGS:
            return [root]
        for ending in ENDINGS:
            found = [root / f"{split}{ending}" for split in ("train", "test")]
            if all(file.is_file() for file in found):
                return found
        endings = ", ".join(ENDINGS)
        raise MissingDataError(
            f"No data for '{self.name}': expected a file that ends in {endings} at {root}, or a folder with the files "
            "train and test of one of these endings."
        )

    def _key(self, known: dict[str, str]) -> str:
        texts = [str(self.model_dump(mode="json")), *(f"{name}\t{digest}" for name, digest in sorted(known.items()))]
        return key(texts)

    def _tables(self, data_dir: Path) -> list[_Table]:
        return [_Table(file, _read(file, self)) for file in self._files(data_dir)]

    def _parts(self, tables: list[_Table]) -> tuple[_Part, _Part]:
        """Training and test samples, checked."""
        if len(tables) == 2:  # noqa: PLR2004 - one of training, one of test
            train, test = (_Part(table, _everything(table)) for table in tables)
        else:
            (table,) = tables
            is_test = self._is_test(table)
            train, test = _Part(table, (~is_test).nonzero()[0]), _Part(table, is_test.nonzero()[0])
        for split, part in (("training", train), ("test", test)):
            if not len(part.rows):
                raise UnusableDataError(f"{part.table.file} has no {split} samples.")
        widths = [part.table.columns.width for part in (train, test)]
        if widths[0] != widths[1]:
            raise UnusableDataError(
                f"The training vectors have {widths[0]} features and the test vectors {widths[1]}, "
                f"in {train.table.file.parent}."
            )
        return train, test

    def _is_test(self, table: _Table) -> NDArray[np.bool_]:
        import numpy as np

        if self.split is not None:
            return _told_apart(table.file, self.split, table.columns.split)
        if self.test_fraction is None:
            raise UnusableDataError(
                f"{table.file} is one file, and nothing says what is for testing: name the column with 'split', or "
                "give 'test_fraction'."
            )
        return np.isin(_everything(table), _drawn(table.columns, self.test_fraction, self.split_seed))

    def _numbered(self, train: _Part, test: _Part) -> _Names:
        """The classes by name, checked."""
        import numpy as np

        known = np.unique(train.labels)
        if len(strange := np.setdiff1d(test.labels, known)):
            raise UnusableDataError(
                f"The test labels in {test.table.file} include {strange[0]}, which no training sample has."
            )
        if known.dtype.kind in "iu" and (known[0] != 0 or known[-1] != len(known) - 1):
            raise UnusableDataError(
                f"The labels in {train.table.file} run from {known[0]} to {known[-1]} and have {len(known)} values; "
                f"expected 0 to {len(known) - 1}. Number the classes from 0 without gaps, or write them as texts."
            )
        return _Names(known)

    def _sized(self, train: _Part, test: _Part) -> Iterator[NDArray[np.int64]]:
        yield self._rows("train", self.train_size, len(train.rows))
        yield self._rows("test", self.test_size, len(test.rows))


class _Columns(NamedTuple):
    """What a file holds: `vectors` gives the float32 vectors (m, d) of some rows."""

    vectors: Callable[[Any], Any]
    width: int
    labels: Any
    groups: Any
    split: Any


class _Table(NamedTuple):
    file: Path
    columns: _Columns


class _Part(NamedTuple):
    """Rows of a table."""

    table: _Table
    rows: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> _Part:
        return _Part(self.table, self.rows[rows])

    @property
    def labels(self) -> NDArray[Any]:
        return self.table.columns.labels[self.rows]

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """Numbers of the groups, (n,)."""
        import numpy as np

        groups = self.table.columns.groups
        return None if groups is None else np.unique(groups, return_inverse=True)[1].astype(np.int64)[self.rows]


class _Names(NamedTuple):
    """The classes, in the order of their numbers."""

    texts: NDArray[Any]

    def of(self, part: _Part) -> NDArray[np.int64]:
        import numpy as np

        return np.searchsorted(self.texts, part.labels).astype(np.int64)


def _everything(table: _Table) -> NDArray[np.int64]:
    import numpy as np

    return np.arange(len(table.columns.labels))


def _told_apart(file: Path, name: str, split: NDArray[Any]) -> NDArray[np.bool_]:
    import numpy as np

    found = set(np.unique(split).tolist())
    if not (found <= {"train", "test"} or found <= {0, 1}):
        raise UnusableDataError(
            f"'{name}' in {file} has {', '.join(repr(each) for each in sorted(found, key=str)[:5])}; expected 'train' "
            "and 'test', or 0 and 1."
        )
    return np.isin(split, ["test"] if found <= {"train", "test"} else [1])


def _drawn(columns: _Columns, fraction: float, seed: int) -> NDArray[np.int64]:
    """The test rows: about a fraction of each class, at least one and never all; or whole groups until they suffice."""
    import numpy as np

    from trainers.seeds import permutation

    order = permutation(len(columns.labels), "test fraction", seed)
    if columns.groups is not None:
        return _of_groups(columns.groups, order, round(fraction * len(order)))
    chosen = list[Any]()
    for label in np.unique(columns.labels):
        members = order[columns.labels[order] == label]
        chosen.append(members[: min(max(1, round(fraction * len(members))), len(members) - 1)])
    return np.concatenate(chosen)


def _of_groups(groups: NDArray[Any], order: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    import numpy as np

    names, first = np.unique(groups[order], return_index=True)
    taken = np.zeros(len(groups), np.bool_)
    for name in names[np.argsort(first)][:-1]:
        if taken.sum() >= wanted:
            break
        taken |= groups == name
    return np.flatnonzero(taken)


def _neighbour(file: Path, name: str) -> Path:
    return file.with_name(f"{file.stem}.{name}.npy")


def _read(file: Path, asked: Features) -> _Columns:
    """What a file holds.

    Raises:
        UnusableDataError: It cannot be read, or lacks what is asked for.
    """
    readers = {".parquet": _parquet, ".npz": _npz, ".npy": _npy, ".safetensors": _safetensors}
    try:
        found = readers[file.suffix](file, asked)
    except UnusableDataError:
        raise
    except Exception as error:  # each format's reader has errors of its own for damaged files
        raise UnusableDataError(f"{file} cannot be read: {str(error).partition(chr(10))[0]}.") from error
    for name, column in ((asked.label, found.labels), (asked.group, found.groups), (asked.split, found.split)):
        if column is not None and (column.ndim != 1 or column.dtype.kind not in "iubU"):
            raise UnusableDataError(
                f"'{name}' in {file} has the shape {column.shape} and the type {column.dtype}; expected one integer "
                "or text per sample, without gaps."
            )
        if column is not None and len(column) != len(found.labels):
            raise UnusableDataError(f"'{name}' in {file} has {len(column)} entries for {len(found.labels)} labels.")
    return found


def _parquet(file: Path, asked: Features) -> _Columns:
    import numpy as np
    import pandas as pd

    frame = pd.read_parquet(file)
    told = [name for name in (asked.label, asked.group, asked.split) if name]
    _check_names(file, told, list(frame.columns))
    if asked.features in frame.columns:
        matrix = np.stack([np.asarray(each, np.float32) for each in frame[asked.features]])
    else:
        numbers = [name for name in frame.columns if name not in told and frame[name].dtype.kind in "iufb"]
        if not numbers:
            raise UnusableDataError(f"{file} has neither a column '{asked.features}' nor columns of numbers.")
        matrix = frame[numbers].to_numpy(np.float32)
    columns = [None if name is None else _plain(frame[name]) for name in (asked.label, asked.group, asked.split)]
    return _columns(file, matrix, *columns)


def _plain(column: Any) -> NDArray[Any]:
    """A column as integers or texts; one with gaps stays as it is, and is refused."""
    import numpy as np

    if column.isna().any() or column.dtype.kind in "iub":
        return column.to_numpy()
    return np.array([each if isinstance(each, str) else None for each in column]).astype(np.str_)


def _npz(file: Path, asked: Features) -> _Columns:
    import numpy as np

    with np.load(file, allow_pickle=False) as arrays:
        return _named(file, {name: arrays[name] for name in arrays.files}, asked)


def _safetensors(file: Path, asked: Features) -> _Columns:
    from safetensors.numpy import load_file

    return _named(file, load_file(file), asked)


def _named(file: Path, arrays: dict[str, NDArray[Any]], asked: Features) -> _Columns:
    told = [name for name in (asked.features, asked.label, asked.group, asked.split) if name]
    _check_names(file, told, list(arrays))
    rest = [None if name is None else arrays[name] for name in (asked.label, asked.group, asked.split)]
    return _columns(file, arrays[asked.features], *rest)


def _npy(file: Path, asked: Features) -> _Columns:
    import numpy as np

    beside = [
        None if name is None else np.load(_neighbour(file, name), allow_pickle=False)
        for name in (asked.label, asked.group, asked.split)
    ]
    return _columns(file, np.load(file, mmap_mode="r", allow_pickle=False), *beside)


def _columns(file: Path, matrix: NDArray[Any], labels: Any, groups: Any, split: Any) -> _Columns:
    import numpy as np

    if matrix.ndim != 2 or matrix.dtype.kind not in "iufb":  # noqa: PLR2004 - samples and features
        raise UnusableDataError(
            f"The vectors in {file} have the shape {matrix.shape} and the type {matrix.dtype}; expected numbers (n, d)."
        )
    if len(matrix) != len(labels):
        raise UnusableDataError(f"{file} has {len(matrix)} vectors and {len(labels)} labels.")

    def vectors(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        found = matrix[rows].astype(np.float32)
        if len(bad := np.flatnonzero(~np.isfinite(found).all(axis=1))):
            raise UnusableDataError(
                f"Row {rows[bad[0]]} of {file} has a missing or infinite feature: fill or remove it."
            )
        return found

    return _Columns(vectors, matrix.shape[1], labels, groups, split)


def _check_names(file: Path, wanted: Sequence[str], found: Sequence[str]) -> None:
    if absent := [name for name in wanted if name not in found]:
        raise UnusableDataError(
            f"{file} has no {' and no '.join(map(repr, absent))}; it has {', '.join(map(repr, found[:10]))}. "
            "The parameters features, label, group and split name what to read."
        )


def _write(parts: Sequence[_Part], paths: Sequence[Path]) -> None:
    import numpy as np

    for part, path in zip(parts, paths, strict=True):
        shape = (len(part.rows), part.table.columns.width)
        check_room(path.parent, 4 * shape[0] * shape[1], f"{shape[0]} vectors of {shape[1]} numbers")
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for start in range(0, shape[0], BLOCK):
                file.write(part.table.columns.vectors(part.rows[start : start + BLOCK]).astype("<f4").tobytes())
