"""SHA-256 of files, recomputed only if a file may have changed.

Each hash is stored with the file's stamp: size, modification time, inode change time (ctime), inode and device. While
the stamp is the same, the stored hash is used. Stamps are never compared in place of hashes.

The hashes of a folder are in `hashes-KEY.json`, where `mapped` puts its arrays; it may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.datasets import MissingDataError
from trainers.datasets.mapped import key, places

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SETTLED = 0.05
"""Seconds after which another change of a file gets another time: clocks of file systems tick 100 times per second."""

Stamp = tuple[int, int, int, int, int]


def stamp(path: str) -> Stamp:
    """A stamp that changes whenever a file may have changed: size, mtime and ctime in nanoseconds, inode, device.

    Raises:
        MissingDataError: The file is missing.
    """
    try:
        found = os.stat(path)  # noqa: PTH116  # creating a million Paths takes seconds
    except OSError as error:
        raise MissingDataError(f"The file {path} is listed but not there ({error.strerror}).") from error
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev


def sha256(path: str) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # as above
        return hashlib.file_digest(file, "sha256").hexdigest()


def hashes(folder: Path, names: Sequence[str], data_dir: Path) -> dict[str, str]:
    """SHA-256 of files in a folder, by name.

    Args:
        folder: The folder.
        names: Names relative to it.
        data_dir: The data folder, which decides where known hashes are stored.

    Raises:
        MissingDataError: A file is missing, cannot be read, or changes while it is read.
    """
    known = _known(folder, data_dir)
    stamps = {name: stamp(os.path.join(folder, name)) for name in names}  # noqa: PTH118  # as above
    stale = [name for name, now in stamps.items() if name not in known or known[name][0] != now]
    if stale:
        _settle(max(max(stamps[name][1:3]) for name in stale))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            fresh = zip(stale, pool.map(partial(_hashed, folder), stale), strict=True)
            known |= {name: (stamps[name], found) for name, found in fresh}
        for name in stale:
            if stamp(os.path.join(folder, name)) != stamps[name]:  # noqa: PTH118  # as above
                raise MissingDataError(
                    f"The file {folder / name} changed while it was read. Start again when nothing writes to it."
                )
        _keep(folder, data_dir, known)
    return {name: known[name][1] for name in names}


def forget(data_dir: Path) -> None:
    """Forget stored hashes, so that these files are hashed again."""
    for place in places(data_dir):
        for file in place.glob("hashes-*.json"):
            file.unlink(missing_ok=True)


def _hashed(folder: Path, name: str) -> str:
    path = os.path.join(folder, name)  # noqa: PTH118  # as above
    try:
        return sha256(path)
    except OSError as error:
        raise MissingDataError(f"The file {path} cannot be read ({error.strerror}).") from error


def _settle(changed: int) -> None:
    """Wait until a further change of a file last changed at this time (nanoseconds) would change its stamp."""
    age = time.time() - changed / 1e9
    if age < SETTLED:
        time.sleep(min(SETTLED, SETTLED - age))


def _file(folder: Path) -> str:
    return f"hashes-{key([str(folder.resolve())])}.json"


def _known(folder: Path, data_dir: Path) -> dict[str, tuple[Stamp, str]]:
    for place in places(data_dir):
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            found = json.loads((place / _file(folder)).read_text("ascii"))
            return {name: (tuple(stamp), digest) for name, (stamp, digest) in found.items()}
    return {}


def _keep(folder: Path, data_dir: Path, known: Mapping[str, tuple[Stamp, str]]) -> None:
    """Store the hashes if a folder is writable; otherwise they are recomputed next time."""
    for place in places(data_dir):
        part = place / f".hashes.{uuid.uuid4().hex}"
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            try:
                part.write_text(json.dumps(known), "ascii")
                part.replace(place / _file(folder))
            finally:
                part.unlink(missing_ok=True)
            return
