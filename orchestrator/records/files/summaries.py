"""What `aggregate` keeps of each cell's file, so that whoever needs it later need not open that file again.

`summaries/…` below the workspace has one Parquet file per cell, under the name of the cell's own file. It is written
when the cell's rows were read and found sound, and never changed: it is written anew when the cell's file is another.
Its metadata are the footer of the cell's file, and the digest of its split. Its rows are those columns from which the
curves over thresholds and the noise of the test set follow, exactly: `sample`, `label`, `positive` and `rival`.

A summary takes at most 16 bytes per test sample, the size of the account, and 8 kB. One that is missing or damaged, or
that is of another protocol, version or state of the cell's file, is not believed: the cell's file is read instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.errors import DamagedFileError, OrchestratorError
from orchestrator.experiment.plan import PROTOCOL, Cell
from orchestrator.records.files.cell_file import Account, opened_in_memory
from orchestrator.records.files.evaluations import Evaluations, Whole, footer_bytes
from orchestrator.records.files.footer import Footer, parsed
from orchestrator.records.files.storage import Storage, in_parallel

VERSION = 1
"""Of a summary. One of another version is written anew."""

_SCHEMA = pa.schema(
    [("sample", pa.int32()), ("label", pa.int32()), ("positive", pa.float32()), ("rival", pa.float32())]
)

_FAULTS = (OrchestratorError, pa.ArrowException, OSError, KeyError, TypeError, ValueError)
"""What is raised by a summary that cannot be read, whatever is wrong with it."""


class SummaryRows(NamedTuple):
    """What is kept of each test sample; arrays of shape (n,), as in `Evaluation`."""

    sample: NDArray[np.int32]
    label: NDArray[np.int32]
    positive: NDArray[np.float32]
    rival: NDArray[np.float32]


@dataclass(frozen=True)
class Summaries:
    """The summaries of cells' files, as these lay there when their folders were listed."""

    evaluations: Evaluations
    stamps: Mapping[str, str]
    """Of the cells' files, by their names."""

    @classmethod
    def of(cls, evaluations: Evaluations, names: Iterable[str]) -> Self:
        """The summaries of these files, and of others in the same folders."""
        return cls(evaluations, evaluations.stamps(names))

    @classmethod
    def of_cells(cls, evaluations: Evaluations, cells: Iterable[Cell]) -> Self:
        """The summaries of these cells and their replicas."""
        return cls.of(evaluations, map(evaluations.name, cells))

    @property
    def storage(self) -> Storage:
        """Where they lie."""
        return Storage(self.evaluations.folder.parent / "summaries")

    def find(self, name: str) -> tuple[Footer, str] | None:
        """The footer of a cell's file and the digest of its split; None where no summary can be believed.

        Args:
            name: Of the cell's file.
        """
        try:
            return self._footer(name, footer_bytes(self.storage, name))
        except _FAULTS:
            return None

    def footer(self, name: str) -> Footer:
        """The footer of a cell's file; raises as `Evaluations.footer` where there is no summary."""
        if found := self.find(name):
            return found[0]
        return parsed(footer_bytes(self.evaluations.storage, name), self.evaluations.folder / name)

    def account(self, cell: Cell) -> Account:
        """The account of a cell that is done; raises as `Evaluations.account`."""
        return self.footer(self.evaluations.name(cell)).of(cell).account()

    def content(self, cell: Cell) -> dict[str, Any]:
        """The account as JSON has it; raises as `Evaluations.account`."""
        return self.footer(self.evaluations.name(cell)).of(cell).content

    def contents(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The accounts of these files as JSON has them; files that are damaged or gone are skipped."""
        found = in_parallel(self._content, names, self.storage.readers)
        return (content for content in found if content is not None)

    def footers(self, names: Iterable[str]) -> Iterator[Footer]:
        """The footers of these files, one after the other; files that are damaged or gone are skipped."""
        for name in names:
            with suppress(DamagedFileError, FileNotFoundError):
                yield self.footer(name).named(name)

    def _content(self, name: str) -> dict[str, Any] | None:
        try:
            return self.footer(name).named(name).content
        except (DamagedFileError, FileNotFoundError):
            return None

    def rows(self, cell: Cell) -> SummaryRows:
        """What is kept of a cell's test samples; raises as `Evaluations.evaluation` where there is no summary."""
        name = self.evaluations.name(cell)
        with suppress(*_FAULTS):
            content = self.storage.read(name) or b""
            if self._footer(name, content):
                return _rows(content)
        found = self.evaluations.evaluation(cell, scores=False)
        return SummaryRows(found.sample, found.label, found.positive, found.rival)

    def write(self, name: str, whole: Whole, split: str) -> None:
        """Keep the summary of a file whose rows were read and found sound; nothing where nothing can be written.

        Args:
            name: Of the cell's file. One without checksums, or that was not there at first, is not summarised.
            whole: All that it holds.
            split: The digest of its samples and labels.
        """
        footer = whole.footer
        if footer.rows is None or name not in self.stamps:
            return
        table = whole.rows.select(_SCHEMA.names).cast(_SCHEMA).replace_schema_metadata(None)
        text = json.dumps({**self._expected(name), "split": split})
        metadata = {
            "cell": footer.text,
            "cell_sha256": hashlib.sha256(footer.text).hexdigest(),
            "rows_sha256": footer.rows,
            "origin": footer.signed or "",
            "summary": text,
            "summary_sha256": _digest(text, footer),
        }
        with suppress(OSError):
            self.storage.write(name, _encoded(table, metadata))

    def _footer(self, name: str, end: bytes) -> tuple[Footer, str] | None:
        """What the last bytes of a summary hold; None where it is of another state of the cell's file."""
        footer = parsed(end, self.evaluations.folder / name)
        metadata = _metadata(end)
        text = metadata[b"summary"].decode()
        about = json.loads(text)
        is_right = metadata[b"summary_sha256"].decode() == _digest(text, footer)
        is_current = name in self.stamps and about.items() >= self._expected(name).items()
        return (footer, str(about["split"])) if is_right and is_current else None

    def _expected(self, name: str) -> dict[str, Any]:
        """What a summary of the cell's file as it lies there now says."""
        return {"version": VERSION, "protocol": PROTOCOL, "stamp": self.stamps[name]}


def _digest(text: str, footer: Footer) -> str:
    """The checksum of what a summary says, apart from account and rows, which have their own."""
    return hashlib.sha256(f"{text} {footer.seal} {footer.signed or ''}".encode()).hexdigest()


def _metadata(end: bytes) -> Mapping[bytes, bytes]:
    return pq.read_metadata(pa.BufferReader(end)).metadata or {}


def _rows(content: bytes) -> SummaryRows:
    """The rows of a summary; Arrow checks each page by its checksum."""
    table = opened_in_memory(content).read(use_threads=False)
    return SummaryRows(*(table[name].to_numpy() for name in SummaryRows._fields))


def _encoded(table: pa.Table, metadata: Mapping[str, str | bytes]) -> bytes:
    sink = pa.BufferOutputStream()
    encodings = {"sample": "DELTA_BINARY_PACKED", "positive": "BYTE_STREAM_SPLIT", "rival": "BYTE_STREAM_SPLIT"}
    options: Any = {
        "compression": "zstd",
        "use_dictionary": ["label"],
        "column_encoding": encodings,
        "store_schema": False,
        "write_page_checksum": True,
    }
    with pq.ParquetWriter(sink, _SCHEMA, **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(metadata)
    return sink.getvalue().to_pybytes()
