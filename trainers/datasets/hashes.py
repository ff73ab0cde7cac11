"""SHA-256 of files, computed again only where a file may have changed.

Beside each hash stands the file's stamp: size, time of change, time of change of its inode (ctime), inode and device.
As long as all of them are the same, so is the hash. They never stand in for it.

The hashes of a folder lie in `hashes-KEY.json`, where `mapped` puts its arrays; it may be deleted at any time.
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
"""Seconds after which another change of a file has another time: clocks of file systems tick 100 times a second."""

Stamp = tuple[int, int, int, int, int]


def stamp(path: str) -> Stamp:
    """What differs whenever a file may differ: size, both times of change in nanoseconds, inode, device.

    Raises:
        MissingDataError: The file is not there.
    """
    try:
        found = os.stat(path)  # noqa: PTH116  # a million Paths take seconds to make
    except OSError as error:
        raise MissingDataError(f"The file {path} is listed but not there ({error.strerror}).") from error
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev


def sha256(path: str) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # as above
        return hashlib.file_digest(file, "sha256").hexdigest()


def hashes(folder: Path, names: Sequence[str], data_dir: Path) -> dict[str, str]:
    """SHA-256 of each of a folder's files, by its name.

    Args:
        folder: The folder.
        names: Names relative to it.
        data_dir: Beside whose files known hashes are kept.

    Raises:
        MissingDataError: A file is not there, cannot be read, or changes while it is read.
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
    """Have every file hashed again."""
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
    """Wait until a file changed at this time (nanoseconds) would have another stamp if it changed again."""
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
    """Write the hashes down where that is possible; elsewhere they are computed again."""
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
