"""Arrays that are written once per machine and memory-mapped by every process.

A file's name ends in a key of the content that its array is made from, so changed content gives
another file. It is written under a lock to a temporary name and then renamed, so several
processes may ask at once and one of them writes.

The files are in the folder named by the environment variable ORCHESTRATOR_CACHE; by default in
`.decoded` in the data folder; if that is read-only or there is no data folder, in
`orchestrator-USER/decoded` in the system's temporary folder. All three may be deleted while
nothing runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.datasets import MissingDataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray


class UnwritableError(MissingDataError):
    """No folder is writable, or the disk is too small; the message says what to do."""


def key(texts: Iterable[str]) -> str:
    """16 hex digits that depend on these texts and their order."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(os.fsencode(text) + b"\n")
    return digest.hexdigest()[:16]


def places(data_dir: Path) -> list[Path]:
    """The folders in which the files may be, best first."""
    if chosen := os.environ.get("ORCHESTRATOR_CACHE"):
        return [Path(chosen)]
    # One folder per user, because files of another user in a shared one could not be replaced.
    temporary = Path(tempfile.gettempdir(), f"orchestrator-{os.getuid()}", "decoded")
    # Do not create a data folder for this: users of the system's files would not expect one.
    return [data_dir / ".decoded", temporary] if data_dir.is_dir() else [temporary]


def find(names: Sequence[str], data_dir: Path) -> list[NDArray[Any]] | None:
    """The arrays in the files of these names, or None unless all exist and are complete.

    They are memory maps; writing to them does not change the files.
    """
    return next((known for place in places(data_dir) if (known := _all_mapped(place, names)) is not None), None)


def find_or_write(names: Sequence[str], data_dir: Path, write: Callable[[Sequence[Path]], None]) -> list[NDArray[Any]]:
    """The arrays as in `find`, written now if they do not exist.

    Args:
        names: Names of .npy files that are written together.
        data_dir: Folder that holds `.decoded`.
        write: Writes one .npy file for each name, at the given path. Its errors are passed on,
            an OSError as UnwritableError.

    Raises:
        UnwritableError: The files cannot be written.
    """
    if (known := find(names, data_dir)) is not None:
        return known
    folder = _writable(places(data_dir))
    try:
        known = _written_once(names, folder, write)
    except OSError as error:
        raise UnwritableError(f"The decoded images cannot be written to {folder}: {error}.") from error
    if known is None:
        raise UnwritableError(f"The decoded images in {folder} vanished or changed while they were written.")
    return known


def check_room(folder: Path, needed: int, images: str) -> None:
    """Check that this many bytes of images fit on the folder's disk.

    Raises:
        UnwritableError: They do not fit.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UnwritableError(
            f"No room for decoded images: {images} need {needed / 1e9:.1f} GB, and {folder} has "
            f"{free / 1e9:.1f} GB left. Choose a smaller size or train_size, or set ORCHESTRATOR_CACHE "
            "to a folder with room."
        )


def _all_mapped(folder: Path, names: Sequence[str]) -> list[NDArray[Any]] | None:
    found = [array for name in names if (array := _mapped(folder / name)) is not None]
    return found if len(found) == len(names) else None


def _mapped(path: Path) -> NDArray[Any] | None:
    """The array in a file, or None if it is missing or incomplete."""
    import numpy as np

    # Copy on write, because torch warns about read-only arrays. Linux refuses such a map if it
    # is larger than all memory; then a read-only map is used, which may have any size.
    for mode in ("c", "r"):
        with contextlib.suppress(Exception):  # NumPy's parser can raise anything on a damaged header
            array = np.lib.format.open_memmap(path, mode)
            if array.offset + array.nbytes == path.stat().st_size:
                return array
    return None


def _writable(folders: Sequence[Path]) -> Path:
    reason = ""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Try to write, because permissions do not show that a file system is mounted read-only.
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            reason = str(error)
    raise UnwritableError(
        f"No place for decoded images: cannot write to {' or '.join(map(str, folders))} ({reason}). "
        "Set ORCHESTRATOR_CACHE to a folder that can be written to."
    )


def _written_once(
    names: Sequence[str], folder: Path, write: Callable[[Sequence[Path]], None]
) -> list[NDArray[Any]] | None:
    from filelock import FileLock

    with FileLock((folder / names[0]).with_suffix(".lock")):
        # Another process may have written them while this one waited for the lock.
        if (known := _all_mapped(folder, names)) is None:
            _write([folder / name for name in names], write)
            known = _all_mapped(folder, names)
    return known


def _write(paths: Sequence[Path], write: Callable[[Sequence[Path]], None]) -> None:
    # The holder of the lock is the only writer, so other temporary files are from killed processes.
    for path in paths:
        for left in path.parent.glob(f"{path.stem}.*.part"):
            left.unlink()
    parts = [path.with_suffix(f".{uuid.uuid4().hex}.part") for path in paths]
    try:
        write(parts)
        for part, path in zip(parts, paths, strict=True):
            with part.open("rb+") as file:
                os.fsync(file.fileno())  # after a power cut, a final name must not have partial content
            part.replace(path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
