"""Temporary folders of this program: private, removed at the end, and known by their owner where that was killed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from orchestrator.errors import RequestError

PREFIX = "orc-"
"""With which the names of these folders begin; short, because paths of sockets have at most 107 bytes."""

OWNER = "owner.json"
"""The file that names the process to which a folder belongs."""

LONGEST = 107 - len("/orc-01234567/r/session_2026-01-01_00-00-00_123456_1234567/sockets/plasma_store")
"""Bytes of the longest place in which Ray's sockets fit."""

_PATIENCE = 5.0
"""Seconds in which processes that end may still write to a folder that is being removed."""


@contextmanager
def folder(longest: int | None = None) -> Generator[Path]:
    """A private folder, as long as the context lasts.

    Args:
        longest: Bytes that the path of the place may have, for Ray's sockets.

    Raises:
        RequestError: No temporary folder can be written to, or none is short enough.
    """
    made = _made(longest)
    (made / OWNER).write_text(json.dumps(_owner(os.getpid())), encoding="utf-8")
    try:
        yield made
    finally:
        _remove(made)


def left() -> list[Path]:
    """Folders of processes of this machine that are gone."""
    return [found for found in _found() if _is_left(found)]


def size(made: Path) -> int:
    """The bytes of the files in a folder."""
    files = (Path(folder) / name for folder, _, names in os.walk(made) for name in names)
    return sum(file.lstat().st_size for file in files)


def remove(folders: list[Path]) -> None:
    """Remove such folders."""
    for each in folders:
        _remove(each)


def _made(longest: int | None) -> Path:
    reasons: list[str] = []
    for place in _places():
        if longest is not None and len(os.fsencode(place)) > longest:
            reasons.append(f"{place} is too long for the paths of sockets")
            continue
        try:
            return Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        except OSError as error:
            reasons.append(f"{place}: {error.strerror}")
    raise RequestError(
        f"There is no temporary folder to use ({'; '.join(reasons)}): "
        f"set {'TMPDIR' if longest is None else 'RAY_TMPDIR'} to a {'' if longest is None else 'short '}"
        "path of a folder that can be written to."
    )


def _places() -> list[Path]:
    named = [os.environ[name] for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)]
    return list(dict.fromkeys(Path(os.path.abspath(place)) for place in (*named, "/tmp", "/var/tmp")))  # noqa: PTH100, S108


def _found() -> Iterator[Path]:
    for place in _places():
        with suppress(OSError):
            yield from sorted(found for found in place.glob(f"{PREFIX}*") if not found.is_symlink() and found.is_dir())


def _is_left(found: Path) -> bool:
    try:
        owner = json.loads((found / OWNER).read_text(encoding="utf-8"))
        is_ours = found.stat().st_uid == os.getuid()
        return is_ours and owner["host"] == _host() and owner != _owner(owner["pid"])
    except (OSError, ValueError, KeyError, TypeError):  # being made, or nobody knows whose
        return False


def _owner(process: int) -> dict[str, Any]:
    """A process of this machine, told from a later one with its number by when it began."""
    began = None
    with suppress(OSError):
        began = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return {"host": _host(), "pid": process, "began": began}


def _host() -> str:
    """The machine; containers have processes, and mostly names, of their own."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it is no path
    return f"{socket.gethostname()} {space}"


def _remove(made: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while made.exists():
        shutil.rmtree(made, ignore_errors=True)
        if time.monotonic() > deadline:
            return
        time.sleep(0.05 if made.exists() else 0)
