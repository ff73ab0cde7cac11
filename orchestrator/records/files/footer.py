"""What of a cell's file is believed when it is read: its footer, and the rows that fit it."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter
from pydantic_core import from_json

from orchestrator.errors import DamagedFileError, LostRowsError, NewerFormatError
from orchestrator.experiment.plan import AT, Cell, digest, original
from orchestrator.provenance.environment import Entries, Environment
from orchestrator.records.files import pages
from orchestrator.records.files.cell_file import (
    RANKED,
    SCHEMAS,
    VERSION,
    Account,
    Beside,
    group_digest,
    groups_in,
    name_of,
    opened_in_memory,
    rows_digest,
    seal_of,
)
from orchestrator.workspace import Location
from trainers.evaluation import ALL, TOP


@dataclass(frozen=True)
class Footer:
    """What a file says of itself; its checksum, where it has one, is right."""

    path: Location
    text: bytes
    """The account as JSON."""
    content: dict[str, Any]
    """The same, unpacked."""
    rows: str | None
    """The checksum of the rows; files of the first releases have none."""
    signed: str | None = None
    """The signature of the workspace that the cell was trained in."""

    @property
    def seal(self) -> str | None:
        """What tells this file from any other, by account and rows; None of files without checksums."""
        return None if self.rows is None else seal_of(self.text, self.rows)

    def account(self) -> Account:
        """The account, checked by its types."""
        return _validated(self.text, self.path)

    def of(self, cell: Cell) -> Self:
        """Itself, if it is this cell's."""
        if self.content["cell_id"] != cell.id:
            raise DamagedFileError(f"{self.path} is the file of another cell ({self.content['cell_id']}).")
        return self._placed(cell.id)

    def named(self, name: str) -> Self:
        """Itself, if the file has its own cell's name: a checksum of the recipe and, of a replica, the environment."""
        try:
            recipe = self.content["recipe"]
            cell_id = self.content["cell_id"]
            if name == name_of(recipe, cell_id) and original(cell_id) == digest(recipe, self.content["protocol"]):
                return self._placed(cell_id)
        except (AttributeError, KeyError, TypeError, ValueError):
            pass
        raise DamagedFileError(f"{self.path} does not hold the recipe and account of the cell it is named after.")

    def _placed(self, cell_id: str) -> Self:
        """Itself, if a replica is of the environment that it is named after."""
        place = cell_id.partition(AT)[2]
        if place and place != (found := Environment.of(self.content["provenance"]).id):
            raise DamagedFileError(f"{self.path} is named after environment {place}, but was trained in {found}.")
        return self

    def table(self, file: bytes) -> pa.Table:
        """The rows of the whole file, if they are those that the footer speaks of."""
        table = _read(file, self.path)
        if table.num_rows != self.content["samples"] or not self._fits(table):
            raise DamagedFileError(f"{self.path} does not hold the rows its account speaks of.")
        if self.rows not in (None, rows_digest(table)):
            raise DamagedFileError(f"{self.path} has rows of another checksum than it names.")
        if self.content["group_sha256"] != group_digest(groups_in(table)):
            raise DamagedFileError(f"{self.path} has groups of another checksum than its account names.")
        return table

    def beside(self, split: Beside, file: bytes | None, path: Location) -> pa.Table | None:
        """The rows of another split, if the file is the one that the account speaks of; None if it has none.

        Args:
            split: Which.
            file: The whole file; None where there is none.
            path: Where it lies, for messages.

        Raises:
            LostRowsError: It is missing, or another file.
        """
        told = self.content[f"{split}_sha256"]
        if told is None:
            return None
        if file is None:
            raise LostRowsError(f"{path} is missing: the {split} rows that {self.path} speaks of.")
        if hashlib.sha256(file).hexdigest() != told:
            raise LostRowsError(f"{path} is not the file of {split} rows that {self.path} speaks of.")
        table = _read(file, path)
        if not self._fits(table):
            raise LostRowsError(f"{path} does not hold rows of the kind that {self.path} speaks of.")
        return table

    def _fits(self, table: pa.Table) -> bool:
        """Whether the columns are those of the account's version, and full."""
        if not table.schema.equals(SCHEMAS[self.content["version"]]):
            return False
        kept = self.content["scores"]
        classes = self.content["classes"]
        absent = {None: RANKED.names, "all": ["classes"], "top": []}[kept]
        lengths = {"scores": classes if kept == "all" else TOP, "classes": TOP}
        return all(
            column.null_count == len(column) if name in absent else _full(column, lengths.get(name))
            for name, column in zip(table.column_names, table.columns, strict=True)
        )


def _full(column: pa.ChunkedArray, length: int | None) -> bool:
    """Whether there is a value in each row or, in a column of lists, this many."""
    if column.null_count or not pa.types.is_list(column.type):
        return not column.null_count
    lists = column.combine_chunks()
    return not lists.flatten().null_count and bool((lists.value_lengths().to_numpy() == length).all())


def _read(file: bytes, path: Location) -> pa.Table:
    with _damage(path, "cannot be read as Parquet"):
        opened = opened_in_memory(file)
        _check_size(opened.metadata, len(file), path)
        _check_pages(file, opened.metadata.num_rows, path)
        return opened.read(use_threads=False)


def _check_size(metadata: pq.FileMetaData, size: int, path: Location) -> None:
    """Before anything is decoded: what a small file claims to hold may not fit into memory."""
    rows = metadata.num_rows
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    # Samples are all different, which takes a byte for each at least, however the file is encoded.
    if rows > size or rows != sum(group.num_rows for group in groups):
        raise DamagedFileError(f"{path} claims to hold {rows:,} rows in {size:,} bytes.")
    # What a group says of its columns is not asked: on a damaged file pyarrow ends the whole process then.


def _check_pages(file: bytes, rows: int, path: Location) -> None:
    """The same of each page: a run of equal values takes a few bytes, however long it claims to be."""
    values = rows * ALL
    for column in pages.claimed(file):
        if column.values > values or column.unpacked > values * _WIDEST + _PAGE:
            raise DamagedFileError(
                f"{path} claims to hold {column.values:,} values and {column.unpacked:,} bytes in one page of its "
                f"{rows:,} rows."
            )


_WIDEST = 16


_PAGE = 2**20
"""Bytes that a value takes at most, with its levels, and that a page may have beside its values."""


def parsed(end: bytes, path: Location) -> Footer:
    """The footer in the last bytes of a file."""
    with _damage(path, "cannot be read as Parquet"):
        metadata = pq.read_metadata(pa.BufferReader(end)).metadata or {}
    with _damage(path, "is no cell's file: its account is missing or unreadable"):
        text = metadata[b"cell"]
        rows = None
        if sealed := b"cell_sha256" in metadata:
            rows = metadata[b"rows_sha256"].decode()
            if metadata[b"cell_sha256"].decode() != hashlib.sha256(text).hexdigest():
                raise ValueError("its checksum is wrong")
        content = from_json(text)
        if content["version"] > VERSION:
            raise NewerFormatError(
                f"{path} has version {content['version']} of the cell format; this program reads {VERSION}: upgrade it."
            )
        _check_entries(content)
        Entries.model_validate(content["provenance"], strict=True)
        content = dict.fromkeys(_ENTRIES - content.keys()) | content  # all of them have the default None
    if not sealed:
        _validated(text, path)
    return Footer(path, text, content, rows, metadata.get(b"origin", b"").decode("ascii", "replace"))


def _check_entries(content: dict[str, Any]) -> None:
    # Ignoring what this version does not know would lose it when the file is rewritten.
    if strangers := content.keys() - _ENTRIES:
        raise ValueError(f"it has unknown entries: {', '.join(sorted(strangers))}")
    if missing := _NEEDED - content.keys():
        raise ValueError(f"it lacks entries: {', '.join(sorted(missing))}")
    if not 0 <= content["started"] < LATEST:
        raise ValueError(f"it cannot have begun at {content['started']}")


def _validated(text: bytes, path: Location) -> Account:
    with _damage(path, "is no cell's file: its account is missing or unreadable"):
        return _ACCOUNT.validate_json(text, strict=True)


LATEST = 253_370_764_800
"""Seconds from 1970 to the year 9999: later is no time of day."""


_ACCOUNT = TypeAdapter(Account)


_ENTRIES = {field.name for field in fields(Account)}


_NEEDED = {field.name for field in fields(Account) if field.default is MISSING} | {"version"}


@contextmanager
def _damage(path: Location, complaint: str) -> Generator[None]:
    """Bytes are at hand here, so whatever fails to make sense of them is their fault."""
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, MemoryError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DamagedFileError(f"{path} {complaint} ({reason}).") from None
