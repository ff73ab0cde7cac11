"""The format of a cell's file: what is written as bytes, and what of it is believed when it is read.

A Parquet file with a row for each test sample and, in its metadata, a JSON account of the
cell and two checksums, of the account and of the rows: Parquet itself has none of its
footer, and only CRC-32 of its pages. Files of the first releases are without checksums.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property
from typing import Any, Self
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter
from pydantic_core import from_json

from orchestrator.errors import DamagedFileError, NewerFormatError
from orchestrator.outcome import Attempt, Collapsed, Diverged, Finished, Result
from orchestrator.plan import Cell, digest
from orchestrator.workspace import Location
from trainers.evaluation import Evaluation
from trainers.recipe import Recipe

SCHEMA = pa.schema(
    [
        ("sample", pa.int32()),
        ("label", pa.int32()),
        ("prediction", pa.int32()),
        ("positive", pa.float32()),
        ("rival", pa.float32()),
        ("logsumexp", pa.float32()),
        ("logsumexp_tuned", pa.float32()),
    ]
)

VERSION = 2
"""Of the JSON account. A reader refuses what it does not know; what earlier versions lack has a default."""


@dataclass(frozen=True)
class Account:
    """What a cell's file says of the cell as a whole."""

    cell_id: str
    state: Result
    recipe: dict[str, Any]
    protocol: int
    samples: int
    epochs: int
    """Epochs completed; a diverged cell stopped in the next."""
    metrics: dict[str, float | None]
    shifts: dict[str, dict[str, float]]
    """Accuracies under each shift of the test set, by its name."""
    learned_bias: list[float]
    history: list[dict[str, float]]
    parameters: int | None
    train_seconds: float | None
    images_per_second: float | None
    started: float
    seconds: float
    mlflow_run_id: str | None
    provenance: dict[str, Any]
    collapse: str | None = None
    """Why the model counts as collapsed, in words; None where it does not, or was never asked."""
    version: int = VERSION

    @cached_property
    def resolved(self) -> Recipe:
        """The recipe, ready to be run again."""
        return Recipe.model_validate(self.recipe)

    @property
    def shown(self) -> dict[str, float | None]:
        """The metrics and costs that the MLflow run of a cell with figures shows in the end."""
        costs = {name: getattr(self, name) for name in ("train_seconds", "images_per_second", "parameters")}
        return {**self.metrics, **costs}

    def outcome(self, cell: Cell) -> Finished | Collapsed | Diverged:
        """What came of the cell, under an experiment's labels."""
        attempt = Attempt(self.provenance.get("node", "?"), self.started, self.seconds)
        if self.state == "finished":
            return Finished(cell, attempt, self.shown)
        if self.state == "collapsed":
            return Collapsed(cell, attempt, self.shown, self.collapse or "")
        # A model may also diverge when it is evaluated, after its last epoch.
        return Diverged(cell, attempt, min(self.epochs + 1, cell.recipe.training.epochs))


def partition(dataset: str, backbone: str, loss: str) -> str:
    """The folder of these axis values, from which dataset readers take them back."""
    return "/".join(
        f"{axis}={quote(value, safe='')}"
        for axis, value in (("dataset", dataset), ("backbone", backbone), ("loss", loss))
    )


def name_of(recipe: Mapping[str, Any], cell_id: str) -> str:
    """The name of the file of a recipe's JSON.

    A trial's begins with `_` and does not end in `.parquet`, so that no reader of whole folders pools its rows with
    those of final cells, which are of the test split.
    """
    folder = partition(*(recipe[axis]["name"] for axis in ("dataset", "backbone", "loss")))
    return f"{folder}/{cell_id}.parquet" if recipe.get("scored_on", "test") == "test" else f"{folder}/_{cell_id}.trial"


def cell_in(name: str) -> str | None:
    """The id of the cell whose file has this name; None where it is no such name."""
    found = _NAME.fullmatch(name)
    return found["final"] or found["trial"] if found else None


_NAME = re.compile(
    r"dataset=[^/]+/backbone=[^/]+/loss=[^/]+/((?P<final>[^/._][^/]*)\.parquet|_(?P<trial>[^/._][^/]*)\.trial)"
)


def encoded(account: Account, evaluation: Evaluation | None) -> bytes:
    """A cell's file: the same bytes for the same cell, wherever they are written."""
    table = pa.table(_columns(evaluation), schema=SCHEMA)
    text = json.dumps(asdict(account), allow_nan=False).encode()
    sink = pa.BufferOutputStream()
    # Arrow's own copy of the schema would hold the account once more, and says nothing that Parquet's does not.
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd", store_schema=False, write_page_checksum=True) as writer:
        writer.write_table(table)
        checksums = {"cell_sha256": hashlib.sha256(text).hexdigest(), "rows_sha256": rows_digest(table)}
        writer.add_key_value_metadata({"cell": text, **checksums})
    return sink.getvalue().to_pybytes()


def _columns(evaluation: Evaluation | None) -> dict[str, np.ndarray]:
    if evaluation is None:
        return {field.name: np.empty(0, field.type.to_pandas_dtype()) for field in SCHEMA}
    return asdict(evaluation)


def rows_digest(table: pa.Table) -> str:
    """SHA-256 of the values, column after column, as little-endian numbers."""
    whole = hashlib.sha256()
    for column in table.columns:
        values = column.to_numpy()
        whole.update(values.astype(values.dtype.newbyteorder("<"), copy=False))
    return whole.hexdigest()


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

    def account(self) -> Account:
        """The account, checked by its types."""
        return _validated(self.text, self.path)

    def of(self, cell: Cell) -> Self:
        """Itself, if it is this cell's."""
        if self.content["cell_id"] != cell.id:
            raise DamagedFileError(f"{self.path} is the file of another cell ({self.content['cell_id']}).")
        return self

    def named(self, name: str) -> Self:
        """Itself, if the file has its own cell's name, which is a checksum of the recipe."""
        try:
            recipe, cell_id = self.content["recipe"], self.content["cell_id"]
            if name == name_of(recipe, cell_id) and cell_id == digest(recipe, self.content["protocol"]):
                return self
        except (KeyError, TypeError, ValueError):
            pass
        raise DamagedFileError(f"{self.path} does not hold the recipe and account of the cell it is named after.")

    def table(self, file: bytes) -> pa.Table:
        """The rows of the whole file, if they are those that the footer speaks of."""
        with _damage(self.path, "cannot be read as Parquet"):
            table = pq.ParquetFile(pa.BufferReader(file), page_checksum_verification=True).read()
            holes = any(column.null_count for column in table.columns)
            if table.num_rows != self.content["samples"] or not table.schema.equals(SCHEMA) or holes:
                raise DamagedFileError(f"{self.path} does not hold the rows its account speaks of.")
            if self.rows not in (None, rows_digest(table)):
                raise DamagedFileError(f"{self.path} has rows of another checksum than it names.")
            return table


def parsed(end: bytes, path: Location) -> Footer:
    """The footer in the last bytes of a file."""
    with _damage(path, "cannot be read as Parquet"):
        metadata = pq.read_metadata(pa.BufferReader(end)).metadata or {}
    with _damage(path, "is no cell's file: its account is missing or unreadable"):
        text, rows = metadata[b"cell"], None
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
    if not sealed:
        _validated(text, path)
    return Footer(path, text, content, rows)


def _check_entries(content: dict[str, Any]) -> None:
    # Ignoring what this version does not know would lose it when the file is rewritten.
    if strangers := content.keys() - _ENTRIES:
        raise ValueError(f"it has unknown entries: {', '.join(sorted(strangers))}")
    if missing := _NEEDED - content.keys():
        raise ValueError(f"it lacks entries: {', '.join(sorted(missing))}")


def _validated(text: bytes, path: Location) -> Account:
    with _damage(path, "is no cell's file: its account is missing or unreadable"):
        return _ACCOUNT.validate_json(text, strict=True)


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
