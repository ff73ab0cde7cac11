"""Where bytes lie: below a folder of this machine, or below a prefix of an object store. The only door to `pyarrow.fs`.

Bytes are written whole or not at all, and whoever reads sees the old ones or the new ones.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from orchestrator.errors import WorkspaceError
from orchestrator.process.time_limit import within
from orchestrator.workspace import Location, Remote
from orchestrator.workspace.store_errors import store_error

Item = TypeVar("Item")
Result = TypeVar("Result")

LIMIT = 60.0
"""Seconds that a request to an object store may take; pyarrow waits for ever for one that sends a byte a second."""

SLOWEST = 2**20
"""Bytes per second, for what is large."""

_HALF_WRITTEN = re.compile(r"(^|/)\.[^/]+\.([0-9a-f]{8}|[0-9]+)$")


@dataclass(frozen=True)
class Stored:
    """A file: its name below the storage's root with `/` between the parts, bytes, and seconds since 1970."""

    name: str
    size: int
    modified: float
    stamp: str = ""
    """What differs whenever its bytes may: size and time of change; on this machine also the time of change of its
    inode (ctime), inode and device. pyarrow does not tell an object's ETag."""

    @property
    def is_half_written(self) -> bool:
        """Whether a writer was stopped before it gave the file its name, unless it is still writing."""
        return bool(_HALF_WRITTEN.search(self.name))


@dataclass(frozen=True)
class Storage:
    """Files below one place, by name; a plain value, so that it crosses to worker processes.

    Every method raises `OSError` when the storage refuses or does not answer (of an object store, a `StoreError`), and
    `WorkspaceError` when pyarrow cannot make sense of the URI, or a name leads out of the place.
    """

    root: Location

    @property
    def readers(self) -> int:
        """How many reads are worth having under way at once: an object store answers late, but many at a time."""
        return 32 if isinstance(self.root, Remote) else os.cpu_count() or 1

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None where there is none."""
        return self._read(name, None)

    def tail(self, name: str, size: int) -> bytes | None:
        """The last bytes of a file, or all of a shorter one; None where there is none."""
        return self._read(name, size)

    def _read(self, name: str, last: int | None) -> bytes | None:
        try:
            if isinstance(self.root, Remote):
                return _read_remote(self.root, name, last)
            with inside(self.root, name).open("rb") as file:
                if last is not None:
                    file.seek(max(0, file.seek(0, os.SEEK_END) - last))
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, content: bytes) -> None:
        """Put a file there, whole or not at all, in the place of one of the same name."""
        if isinstance(self.root, Remote):

            def upload(store: fs.FileSystem, prefix: str) -> None:
                # Closing would publish what was written until then, so a stream that fails is left to itself.
                stream = store.open_output_stream(f"{prefix}/{name}")
                stream.write(content)
                stream.close()

            _asked(self.root, upload, len(content))
        else:
            _replace(inside(self.root, name, itself=True), content)

    def create(self, name: str, content: bytes) -> None:
        """Put a file there, whole or not at all, unless there is one of the name; object stores replace that one."""
        if isinstance(self.root, Remote):
            self.write(name, content)
        else:
            _create(inside(self.root, name, itself=True), content)

    def move(self, name: str, to: str) -> None:
        """Give a file another name, in the place of one that has it."""
        if isinstance(self.root, Remote):
            _asked(self.root, lambda store, prefix: store.move(f"{prefix}/{name}", f"{prefix}/{to}"))
        else:
            inside(self.root, name, itself=True).replace(inside(self.root, to, itself=True))

    def delete(self, name: str) -> None:
        """Remove a file, and on this machine the folders that are empty then; none there is fine."""
        try:
            if isinstance(self.root, Remote):
                _asked(self.root, lambda store, prefix: store.delete_file(f"{prefix}/{name}"))
            else:
                inside(self.root, name, itself=True).unlink()
                _prune((self.root / name).parent, self.root)
        except FileNotFoundError:
            pass

    def list(self, below: str = "") -> Iterator[Stored]:
        """All files below a folder, in the order of their names within each; hidden ones, too.

        Links to folders are not followed, and links to files only where these lie below the root.
        """
        if isinstance(self.root, Remote):
            yield from _asked(self.root, partial(_listed, below=below))
        else:
            yield from _walk(self.root, below)

    @property
    def filesystem(self) -> tuple[fs.FileSystem, str]:
        """What pyarrow reads datasets with, and where they lie in it."""
        return _opened(self.root) if isinstance(self.root, Remote) else (fs.LocalFileSystem(), str(self.root))

    def probe(self) -> None:
        """Make sure that files can be written here.

        Raises:
            WorkspaceError: They cannot.
        """
        name = f".probe.{secrets.token_hex(4)}"
        try:
            self.write(name, b"")
            self.delete(name)
        except OSError as error:
            raise WorkspaceError(
                f"The workspace {self.root} cannot be written ({error.strerror or error}). "
                "Choose another with --workspace or ORCHESTRATOR_WORKSPACE."
            ) from error


def _asked(place: Remote, work: Callable[[fs.FileSystem, str], Result], size: int = 0) -> Result:
    """What a request to an object store returns, in time.

    Args:
        place: Where the store is.
        work: The request, given the store, and the bucket and prefix in it.
        size: Bytes that it moves.

    Raises:
        FileNotFoundError: There is no such file.
        StoreError: It refuses, does not answer, or not in time.
    """
    try:
        return within(LIMIT + size / SLOWEST, lambda: work(*_opened(place)))
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise store_error(error, place) from error


def _read_remote(place: Remote, name: str, last: int | None) -> bytes:
    """The last bytes of an object, or all of it."""
    file = _asked(place, lambda store, prefix: store.open_input_file(f"{prefix}/{name}"))
    size = file.size()
    length = size if last is None else min(size, last)

    def download(*_: object) -> bytes:
        with file:
            return file.read_at(length, size - length)

    return _asked(place, download, length)


def _listed(store: fs.FileSystem, prefix: str, *, below: str) -> list[Stored]:
    selector = fs.FileSelector(f"{prefix}/{below}".rstrip("/"), allow_not_found=True, recursive=True)
    found = [info for info in store.get_file_info(selector) if info.type == fs.FileType.File]
    return [
        Stored(info.path.removeprefix(f"{prefix}/"), info.size, info.mtime.timestamp(), f"{info.size} {info.mtime_ns}")
        for info in sorted(found, key=lambda info: info.path)
    ]


def in_parallel(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """What becomes of each item, in their order; only so far ahead that neither memory nor time is wasted."""
    stretch = 64 * workers
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(items), stretch):
            yield from pool.map(work, items[start : start + stretch])


def _opened(place: Remote) -> tuple[fs.FileSystem, str]:
    """The object store, and the bucket and prefix in it."""
    parts = urlsplit(place.uri)
    try:
        store, bucket = _client(parts._replace(path="").geturl())
    except (pa.ArrowException, OSError) as error:
        raise WorkspaceError(f"The workspace {place} cannot be opened: {error}") from None
    return store, f"{bucket}{unquote(parts.path)}"


@cache
def _client(uri: str) -> tuple[fs.FileSystem, str]:
    """The client of a bucket, and the bucket's name.

    All places in a bucket share it: pyarrow makes no other client as long as a request is under way, and one that was
    given up may be so for hours.
    """
    if uri.startswith("s3:"):  # a file that fits into one request is one request, so no half of it is ever left
        uri += ("&" if "?" in uri else "?") + "allow_delayed_open=true"
    return fs.FileSystem.from_uri(uri)


def _replace(path: Path, content: bytes) -> None:
    _publish(path, content, lambda beside: beside.replace(path))


def _create(path: Path, content: bytes) -> None:
    def link(beside: Path) -> None:
        try:
            path.hardlink_to(beside)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not path.exists():
                beside.replace(path)

    _publish(path, content, link)


def _publish(path: Path, content: bytes, name: Callable[[Path], object]) -> None:
    """Write a file beside the path, then give it its name.

    Another process may remove the folder meanwhile: it cleared a cell that is done, or deleted the last file there.
    Then the folder is made again.
    """
    for tries_left in (2, 1, 0):
        try:
            with _written_beside(path, content) as beside:
                name(beside)
        except FileNotFoundError:
            if not tries_left:
                raise
        else:
            return


@contextmanager
def _written_beside(path: Path, content: bytes) -> Generator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, so that no dataset reader takes a half-written file for a cell.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield beside
    finally:
        beside.unlink(missing_ok=True)


def _prune(folder: Path, root: Path) -> None:
    while folder != root:
        try:
            folder.rmdir()
        except OSError:  # it is not empty
            return
        folder = folder.parent


def inside(root: Path, name: str, *, itself: bool = False) -> Path:
    """The path of a file below a folder; the one function that every access to a file of a workspace passes.

    Args:
        root: The folder.
        name: The file's name below it.
        itself: Whether a link is meant, where the file is one, and not the file that it leads to.

    Raises:
        WorkspaceError: The name leads out of the folder, by `..` or by a link.
    """
    path = root / name
    if not _is_inside(path.parent if itself else path, root) or (itself and path.name in {"", ".."}):
        raise WorkspaceError(f"{path} leads out of {root}, by '..' or by a link: remove the link.")
    return path


def _is_inside(path: Path, root: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _walk(root: Path, below: str) -> Iterator[Stored]:
    folder = root / below
    try:
        if below and not _is_inside(folder, root):
            return
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        name = f"{below}/{entry.name}" if below else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(root, name)
            continue
        if entry.is_symlink() and not (Path(entry.path).is_file() and _is_inside(Path(entry.path), root)):
            continue
        with suppress(FileNotFoundError):  # another process has renamed or removed it
            state = entry.stat()
            yield Stored(name, state.st_size, state.st_mtime, _stamp(state))


def _stamp(state: os.stat_result) -> str:
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino} {state.st_dev}"
