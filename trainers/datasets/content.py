"""What a data set holds, as a digest: another digest is other data, and so another cell."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.datasets import Dataset, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from trainers.datasets import TrainTest


@dataclass(frozen=True)
class Content:
    """What is known of a data set's content."""

    digest: str | None
    """64 hex digits; None where nobody here knows it."""
    manifest: Mapping[str, str] | None = None
    """SHA-256 of each file by its name, and of how they are arranged, where the data set consists of files."""
    recorded: float | None = None
    """When this was so, in seconds since 1970, where the data are not here to be asked."""
    by_cells: bool = False
    """Whether only cells that were trained on it tell so."""
    needs_loading: bool = False
    """Whether only the arrays tell what the data hold now, which a launch loads and others do not."""


class ArraysError(Exception):
    """Only the arrays that a data set loads tell what it holds."""


class ChangedDataError(Exception):
    """The data are not those that a cell was planned for."""


def content(dataset: Dataset, data_dir: Path, data: TrainTest | None = None) -> Content | None:
    """What a data set holds now; None where its name says so already.

    Args:
        dataset: The data set.
        data_dir: Folder that holds its files.
        data: What it has loaded, for data sets of which nothing else tells.

    Raises:
        MissingDataError: The files are not here.
        ArraysError: It has to be loaded first.
        ValueError: Its own `digest` gives something else than 64 hex digits.
    """
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
    """Whether `digest` or `manifest` speaks for what `load` reads: not where a heir reads something else."""

    def distance(method: str) -> int:
        return next(place for place, each in enumerate(kind.__mro__) if method in vars(each))

    return min(distance("digest"), distance("manifest")) <= distance("load")


def arrays_digest(data: TrainTest) -> str:
    """SHA-256 over all that a data set gives: pixels, labels, classes, and pairs where it brings some."""
    whole = hashlib.sha256(str(data.classes).encode())
    arrays = [data.train.pixels, data.train.labels, data.test.pixels, data.test.labels]
    if data.pairs is not None:
        arrays += [data.pairs.pixels, data.pairs.first, data.pairs.second, data.pairs.genuine]
        arrays += [each for each in (data.pairs.identity, data.pairs.fold) if each is not None]
    for part in (part for array in arrays for part in _parts(array)):
        whole.update(part)
    return whole.hexdigest()


BLOCK = 1024
"""Images in memory at a time while hashing."""


def _parts(array: NDArray[np.generic]) -> Iterator[bytes]:
    # The shape keeps apart equal bytes cut up differently; the byte order is the same on every machine.
    yield f"{array.shape}{array.dtype.newbyteorder('<').str}".encode()
    for start in range(0, len(array), BLOCK):
        block = array[start : start + BLOCK]
        yield block.astype(block.dtype.newbyteorder("<"), copy=False).tobytes()
