"""Arrays written once a machine, and mapped, not read, into memory by every process.

A file's name ends in a key of the content that its array is made of: anything changed is another
file. It is written beside under a lock and published whole, so any number of processes
may ask at once and one of them writes.

It lies in the folder that the environment variable ORCHESTRATOR_CACHE names; without
one, in `.decoded` in the data folder; if that is read-only or there is no data folder,
in `orchestrator-USER/decoded` in the system's temporary folder. All three may be deleted
whenever nothing runs.
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
    """Arrays can be written nowhere, or there is no room for them; the message says what to do."""


def key(texts: Iterable[str]) -> str:
    """16 hex digits over these texts and their order."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(os.fsencode(text) + b"\n")
    return digest.hexdigest()[:16]


def places(data_dir: Path) -> list[Path]:
    """The folders where the files may lie, best first."""
    if chosen := os.environ.get("ORCHESTRATOR_CACHE"):
        return [Path(chosen)]
    # A folder of one's own, because what another user left in a shared one could not be replaced.
    temporary = Path(tempfile.gettempdir(), f"orchestrator-{Path.home().name}", "decoded")
    # No data folder is made for this: nobody who uses the system's files would look for one.
    return [data_dir / ".decoded", temporary] if data_dir.is_dir() else [temporary]


def find(names: Sequence[str], data_dir: Path) -> list[NDArray[Any]] | None:
    """The arrays in the files of these names, or nothing if not all are there and whole.

    Memory maps; writing to them changes no file.
    """
    return next((known for place in places(data_dir) if (known := _all_mapped(place, names)) is not None), None)


def find_or_write(names: Sequence[str], data_dir: Path, write: Callable[[Sequence[Path]], None]) -> list[NDArray[Any]]:
    """The arrays as `find` gives them, written now if never before.

    Args:
        names: Names of .npy files that are written together.
        data_dir: Folder that holds `.decoded`.
        write: Writes one .npy file for each name, at the path it is given for it. What it
            raises goes through, an OSError as UnwritableError.

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
    """Make sure that so many bytes of these images fit into the folder.

    Raises:
        UnwritableError: They do not.
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
    """The array in a file, or nothing if there is no whole one."""
    import numpy as np

    # Copy on write, because torch warns about arrays it could not write to. Linux refuses
    # such a map where it is larger than all memory; a read-only one may have any size.
    for mode in ("c", "r"):
        with contextlib.suppress(Exception):  # a damaged head makes NumPy's parser raise whatever it likes
            array = np.lib.format.open_memmap(path, mode)
            if array.offset + array.nbytes == path.stat().st_size:
                return array
    return None


def _writable(folders: Sequence[Path]) -> Path:
    reason = ""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Tried, because the permissions say nothing about a file system that is mounted read-only.
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
        # Another process may have written them while this one waited.
        if (known := _all_mapped(folder, names)) is None:
            _write([folder / name for name in names], write)
            known = _all_mapped(folder, names)
    return known


def _write(paths: Sequence[Path], write: Callable[[Sequence[Path]], None]) -> None:
    # Whoever holds the lock is the only writer, so what lies beside is a killed one's.
    for path in paths:
        for left in path.parent.glob(f"{path.stem}.*.part"):
            left.unlink()
    parts = [path.with_suffix(f".{uuid.uuid4().hex}.part") for path in paths]
    try:
        write(parts)
        for part, path in zip(parts, paths, strict=True):
            with part.open("rb+") as file:
                os.fsync(file.fileno())  # the name must not outlive a power cut that its bytes do not
            part.replace(path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
