"""The checksums of an exported folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.errors import RequestError
from orchestrator.records.files.storage import Storage

SUMS = "SHA256SUMS"
"""As `sha256sum --check` reads it: a line for each other file."""


def write_sums(target: Storage) -> None:
    """Write the checksums of all other files."""
    target.write(SUMS, "".join(f"{sha256(target, name)}  {name}\n" for name in file_names(target)).encode())


def file_names(target: Storage) -> list[str]:
    """The names of all files of a folder, in order."""
    return sorted(file.name for file in target.list())


def sha256(storage: Storage, name: str) -> str | None:
    """The checksum of a file; None where there is none."""
    content = storage.read(name)
    return None if content is None else hashlib.sha256(content).hexdigest()


def read_sums(folder: Path) -> Mapping[str, str]:
    """The checksums by the names of the files."""
    content = Storage(folder).read(SUMS)
    try:
        pairs = [line.split("  ", 1) for line in (content or b"").decode().splitlines()]
        if pairs:
            return {name: digest for digest, name in pairs}
    except ValueError:
        pass
    raise RequestError(f"{folder} is no exported experiment: it has no readable {SUMS}.")


def altered(folder: Path, sums: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each file that is not as it was exported."""
    there = {file.name for file in Storage(folder).list()}
    for name, digest in sums.items():
        if name not in there:
            yield f"{folder / name} is missing."
        elif sha256(Storage(folder), name) != digest:
            yield f"{folder / name} was altered after it was exported; nothing is taken from it."
