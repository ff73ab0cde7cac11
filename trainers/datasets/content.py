"""The content of a dataset as a digest: another digest means other data, and therefore another cell."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.datasets import Dataset, digest_of, digest_with_unknowns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from trainers.datasets import TrainTest

READING = "reading"
"""The entry of a manifest that says how pixels are read, if not as before EXIF data and ranges were looked at."""


@dataclass(frozen=True)
class Content:
    """What is known about a dataset's content."""

    digest: str | None
    """64 hex digits; None if it is not known on this machine."""
    manifest: Mapping[str, str] | None = None
    """SHA-256 of each file by name, and of their arrangement, if the dataset consists of files."""
    recorded: float | None = None
    """If the data are not on this machine: when the digest was recorded, in seconds since 1970."""
    by_cells: bool = False
    """Whether the digest is known only from cells that were trained on the data."""
    needs_loading: bool = False
    """Whether the current digest can only be computed from the arrays, which only a launch loads."""


class ArraysError(Exception):
    """The digest can only be computed from the arrays that the dataset loads."""


class ChangedDataError(Exception):
    """The data differ from those that a cell was planned for."""


def content(dataset: Dataset, data_dir: Path, data: TrainTest | None = None) -> Content | None:
    """The current content of a dataset; None if the name already determines it.

    Args:
        dataset: The dataset.
        data_dir: Folder that holds its files.
        data: The loaded arrays, for datasets whose digest can only be computed from them.

    Raises:
        MissingDataError: The files are missing.
        ArraysError: The dataset must be loaded first.
        ValueError: The dataset's `digest` does not return 64 hex digits.
    """
    if dataset.unknowns is None:
        return _content(dataset, data_dir, data)
    known = dataset.model_copy(update={"unknowns": None})
    held = content(known, data_dir, data)
    # Arrays that are hashed are loaded here, too.
    others = content(dataset.unknowns, data_dir) if data is None else here(dataset.unknowns, data_dir)
    if held is None and others is None:
        return None
    digest = digest_with_unknowns(_digest(known, held), _digest(dataset.unknowns, others))
    files = dict((held and held.manifest) or {})
    files |= {f"unknowns/{name}": text for name, text in ((others and others.manifest) or {}).items()}
    return Content(digest, files or None)


def here(dataset: Dataset, data_dir: Path) -> Content | None:
    """As `content`, but the arrays are loaded if only they tell.

    Args:
        dataset: The dataset.
        data_dir: Folder that holds its files.
    """
    try:
        return content(dataset, data_dir)
    except ArraysError:
        return content(dataset, data_dir, dataset.load(data_dir))


def digest_here(dataset: Dataset, data_dir: Path) -> str | None:
    """The digest of a dataset, also of a published one; raises as `here`."""
    return _digest(dataset, here(dataset, data_dir))


def _digest(dataset: Dataset, held: Content | None) -> str | None:
    return (held and held.digest) or dataset.published_digest


def _content(dataset: Dataset, data_dir: Path, data: TrainTest | None) -> Content | None:
    if dataset.is_official(data_dir):
        return None
    if not _is_told(type(dataset)):
        if data is None:
            raise ArraysError(f"'{dataset.key}' has no digest of its own")
        return Content(arrays_digest(data))
    if type(dataset).digest is Dataset.digest and (files := dataset.manifest(data_dir)) is not None:
        return Content(digest_of(files), files)
    digest = dataset.digest(data_dir)
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"The digest of '{dataset.key}' is '{digest}'; expected 64 hexadecimal digits, as of SHA-256.")
    return Content(digest)


def _is_told(kind: type[Dataset]) -> bool:
    """Whether `digest` or `manifest` describes what `load` reads; not if a subclass overrides `load` alone."""

    def distance(method: str) -> int:
        return next(place for place, each in enumerate(kind.__mro__) if method in vars(each))

    return min(distance("digest"), distance("manifest")) <= distance("load")


def arrays_digest(data: TrainTest) -> str:
    """SHA-256 over everything that a dataset loads: pixels, labels, classes, and pairs and groups if there are any."""
    whole = hashlib.sha256(str(data.classes).encode())
    arrays = [data.train.pixels, data.train.labels, data.test.pixels, data.test.labels]
    if data.pairs is not None:
        arrays += [data.pairs.pixels, data.pairs.first, data.pairs.second, data.pairs.genuine]
        arrays += [each for each in (data.pairs.identity, data.pairs.fold) if each is not None]
    if data.train.groups is not None:
        arrays.append(data.train.groups)
    for part in (part for array in arrays for part in _parts(array)):
        whole.update(part)
    return whole.hexdigest()


BLOCK = 1024
"""Images in memory at a time while hashing."""


def _parts(array: NDArray[np.generic]) -> Iterator[bytes]:
    # The shape distinguishes equal bytes that are divided differently; the byte order is fixed for all machines.
    yield f"{array.shape}{array.dtype.newbyteorder('<').str}".encode()
    for start in range(0, len(array), BLOCK):
        block = array[start : start + BLOCK]
        yield block.astype(block.dtype.newbyteorder("<"), copy=False).tobytes()
