"""What is to be told of runs, kept in files until MLflow has it.

Each attempt at a cell has a file of its own: a line of JSON for each entry, written before
the entry is sent, removed when the store has taken all of them. So whatever ends a process
or a store, what was told is either in the store or in its file. A lock held by the writer,
which the system frees when the writer dies, says which files are nobody's.

Nothing here knows MLflow, the store's address or its password.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Discriminator, TypeAdapter, ValidationError

Terminal = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class Opened:
    """An attempt at a cell has begun. Times are milliseconds since 1970, as MLflow's are."""

    time: int
    cell_id: str
    name: str
    tags: Mapping[str, str]
    kind: Literal["opened"] = "opened"


@dataclass(frozen=True)
class Described:
    """What the cell is; told once, however many attempts it takes."""

    params: Mapping[str, str]
    texts: Mapping[str, str]
    kind: Literal["described"] = "described"


@dataclass(frozen=True)
class Figures:
    """Points of curves: those of an epoch, or the final ones. Values are finite."""

    time: int
    step: int
    metrics: Mapping[str, float]
    final: bool = False
    kind: Literal["figures"] = "figures"


@dataclass(frozen=True)
class Attached:
    """Texts to keep with the run, by file name."""

    texts: Mapping[str, str]
    kind: Literal["attached"] = "attached"


@dataclass(frozen=True)
class Modelled:
    """An MLflow model to keep with the run, in a folder of this machine."""

    folder: str
    kind: Literal["modelled"] = "modelled"


@dataclass(frozen=True)
class RunEnded:
    """How the attempt ended."""

    time: int
    status: Terminal
    tags: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["ended"] = "ended"


Entry = Opened | Described | Figures | Attached | Modelled | RunEnded

_ENTRY: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Discriminator("kind")])


def outbox(spool: Path, store: str, experiment: str) -> Path:
    """The folder for what is to be told to one experiment of one store.

    Args:
        spool: The folder of all.
        store: Its address without credentials: a new password does not make it another store.
        experiment: Its name.
    """
    return spool / hashlib.sha256(store.encode()).hexdigest()[:16] / quote(experiment, safe="")


class Journal:
    """The file of one attempt, locked for as long as its writer lives.

    Raises:
        OSError: It cannot be written, or not be appended to.
    """

    def __init__(self, folder: Path, opened: Opened) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Names sort by time, so that attempts at one cell are told in their order.
        name = f"{opened.time:015d}-{opened.cell_id[:16]}-{secrets.token_hex(4)}.jsonl"
        hidden = folder / f".{name}"
        self._path = folder / name
        self._file = os.open(hidden, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            hidden.rename(self._path)  # only now may others see it, and find it locked
        except BaseException:
            os.close(self._file)
            hidden.unlink(missing_ok=True)
            raise

    def append(self, entry: Entry) -> None:
        """Add a line."""
        os.write(self._file, _ENTRY.dump_json(entry) + b"\n")

    def close(self, *, delivered: bool) -> None:
        """Let go of the file; where all of it was delivered, remove it."""
        with suppress(OSError):  # a file that stays is told again, which changes nothing
            if delivered:
                remove(self._path)
        os.close(self._file)

    @property
    def model(self) -> Path:
        """Where a model may wait that belongs to this attempt."""
        return _model(self._path)


@dataclass(frozen=True)
class Left:
    """The entries of an attempt whose writer is gone; `damage` says why there are no more."""

    entries: list[Entry]
    damage: str | None


def waiting(folder: Path) -> list[Path]:
    """The files in a folder whose writers are gone, oldest first."""
    return [path for path in sorted(folder.glob("[!.]*.jsonl")) if _is_left(path)]


@contextmanager
def taken(path: Path) -> Generator[Left | None]:
    """A file's entries, while nobody else can have them; None if its writer lives or another took it.

    Raises:
        OSError: The file cannot be read.
    """
    with _locked(path) as is_ours:
        yield _read(path) if is_ours else None


def _is_left(path: Path) -> bool:
    with _locked(path) as is_ours:
        return is_ours


@contextmanager
def _locked(path: Path) -> Generator[bool]:
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = os.fstat(file).st_nlink > 0  # whoever had it before us may have delivered and removed it
    except BlockingIOError:
        is_ours = False
    try:
        yield is_ours
    finally:
        os.close(file)


def _read(path: Path) -> Left:
    *lines, torn = path.read_bytes().split(b"\n")  # a line without its end was cut off with its writer
    entries: list[Entry] = []
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(_ENTRY.validate_json(line))
        except ValidationError as error:
            return Left(entries, f"line {number} is no entry ({error.errors()[0]['msg']})")
    if not entries or not isinstance(entries[0], Opened):
        return Left([], f"it does not begin with the opening of a run{' (it is cut off)' if torn else ''}")
    return Left(entries, None)


def remove(path: Path) -> None:
    """Remove a file that is told in full, and the model beside it."""
    shutil.rmtree(_model(path), ignore_errors=True)
    path.unlink()


def summary(folder: Path) -> str:
    """The digest of what MLflow has been told of the whole experiment; empty where nobody knows."""
    try:
        return _summary(folder).read_text()
    except OSError:
        return ""


def note_summary(folder: Path, digest: str) -> None:
    """Note the digest of what MLflow has been told of the whole experiment; forget it before that begins."""
    with suppress(OSError):  # then the next launch tells it again, which changes nothing
        if digest:
            folder.mkdir(parents=True, exist_ok=True)
            _summary(folder).write_text(digest)
        else:
            _summary(folder).unlink(missing_ok=True)


def _summary(folder: Path) -> Path:
    return folder / "summary.sha256"


def _model(path: Path) -> Path:
    return path.with_suffix(".model")


def set_aside(path: Path) -> Path:
    """Keep a damaged file where nobody takes it for a file to deliver; return where."""
    return path.rename(path.with_suffix(".damaged"))
