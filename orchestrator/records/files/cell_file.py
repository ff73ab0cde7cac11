"""The format of a cell's file: what is written as bytes, and what of it is believed when it is read.

A Parquet file with a row for each test sample and, in its metadata, a JSON account of the
cell and two checksums, of the account and of the rows: Parquet itself has none of its
footer, and only CRC-32 of its pages. Files of the first releases are without checksums.

The rows of the validation split lie in a second file, of which the account holds the SHA-256.
It says nothing of when or where it was made, so that a second attempt writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, TypeAdapter
from pydantic_core import from_json

from orchestrator.errors import DamagedFileError, LostRowsError, NewerFormatError
from orchestrator.experiment.plan import AT, Cell, digest, original
from orchestrator.outcome import Attempt, Collapsed, Diverged, Finished, Result
from orchestrator.provenance.environment import Entries, Environment
from orchestrator.records.files import pages
from orchestrator.records.files.origin import signature
from orchestrator.workspace import Location
from trainers.evaluation import ALL, TOP, Evaluation
from trainers.recipe import Recipe

_FIRST = pa.schema(
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

_RANKED = pa.schema(
    [
        ("runner_up", pa.int32()),
        ("runner_up_score", pa.float32()),
        ("log_odds", pa.float64()),
        ("scores", pa.list_(pa.field("element", pa.float32()))),
        ("classes", pa.list_(pa.field("element", pa.int32()))),
    ]
)
"""Null in the files of evaluations without them; `classes` also where all scores are kept."""

SCHEMA = pa.schema([*_FIRST, *_RANKED])
"""The lists of a file are all of one length; as Parquet has no such type, files of any lengths are one dataset."""

VERSION = 3
"""Of the JSON account. A reader refuses what it does not know; what earlier versions lack has a default.

Version 2 brought collapsed cells; version 3 the columns of `_RANKED` and the validation rows.
"""

_REPEATED = ["label", "prediction", "runner_up", "classes.list.element"]
"""Columns that a dictionary makes smaller; of scores, which are all different, it makes more."""

_SCHEMAS = {1: _FIRST, 2: _FIRST, VERSION: SCHEMA}


Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""As tables have it."""


@dataclass(frozen=True)
class Account:
    """What a cell's file says of the cell as a whole."""

    cell_id: str
    state: Result
    recipe: dict[str, Any]
    protocol: Int64
    samples: Int64
    epochs: Int64
    """Epochs completed; a diverged cell stopped in the next."""
    metrics: dict[str, float | None]
    shifts: dict[str, dict[str, float]]
    """Accuracies under each shift of the test set, by its name."""
    learned_bias: list[float]
    history: list[dict[str, float]]
    parameters: Int64 | None
    train_seconds: float | None
    images_per_second: float | None
    started: float
    seconds: float
    mlflow_run_id: str | None
    provenance: dict[str, Any]
    collapse: str | None = None
    """Why the model counts as collapsed, in words; None where it does not, or was never asked."""
    version: int = VERSION
    classes: int | None = None
    """How many there are to choose from."""
    scores: Literal["all", "top"] | None = None
    """Whether each row keeps the scores of all classes or the highest ones."""
    temperature: float | None = None
    """By which softmax is calibrated on the validation split."""
    bias: list[float] | None = None
    """What a threshold on the rows' scores is compared with, learnt or fixed: none, one, or one per class."""
    sigmoid: bool | None = None
    """Whether the loss makes the sigmoid of score less bias a probability."""
    validation_sha256: str | None = None
    """Of the file of the validation split's rows; None where there is none."""

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


def partition(dataset: str, backbone: str = "", loss: str = "") -> str:
    """The folder of these axis values, from which dataset readers take them back; of a data set alone, its own."""
    return "/".join(
        f"{axis}={quote(value, safe='')}"
        for axis, value in (("dataset", dataset), ("backbone", backbone), ("loss", loss))
        if value
    )


def name_of(recipe: Mapping[str, Any], cell_id: str) -> str:
    """The name of the file of a recipe's JSON.

    A trial's begins with `_` and does not end in `.parquet`, so that no reader of whole folders pools its rows with
    those of final cells, which are of the test split.
    """
    folder = partition(*(recipe[axis]["name"] for axis in ("dataset", "backbone", "loss")))
    return f"{folder}/{cell_id}.parquet" if recipe.get("scored_on", "test") == "test" else f"{folder}/_{cell_id}.trial"


def cell_in(name: str) -> str | None:
    """The id of the cell, or of the replica, whose file has this name; None where it is no such name."""
    found = _NAME.fullmatch(name)
    return found["final"] or found["trial"] if found else None


_NAME = re.compile(
    r"dataset=[^/]+/backbone=[^/]+/loss=[^/]+/((?P<final>[^/._][^/]*)\.parquet|_(?P<trial>[^/._][^/]*)\.trial)"
)


def encoded(account: Account, evaluation: Evaluation | None, key: bytes | None = None) -> bytes:
    """A cell's file: the same bytes for the same cell, wherever they are written, but for the signature.

    Args:
        account: What to say of the cell.
        evaluation: Its test rows; None of a cell that diverged.
        key: The workspace's secret, if the cell was trained in one.
    """
    text = json.dumps(asdict(account), allow_nan=False).encode()
    checksum = hashlib.sha256(text).hexdigest()
    signed = {} if key is None else {"origin": signature(key, _seal(text, rows_digest(_table(evaluation))))}
    return _parquet(evaluation, {"cell": text, "cell_sha256": checksum, **signed})


def _seal(text: bytes, rows: str) -> str:
    return hashlib.sha256(text + rows.encode()).hexdigest()


def _table(evaluation: Evaluation | None) -> pa.Table:
    return pa.table(columns(evaluation), schema=SCHEMA)


def encoded_validation(cell_id: str, evaluation: Evaluation) -> bytes:
    """The file of the validation split's rows, as bytes."""
    return _parquet(evaluation, {"validation": json.dumps({"cell_id": cell_id, "version": VERSION})})


def _parquet(evaluation: Evaluation | None, metadata: Mapping[str, str | bytes]) -> bytes:
    table = _table(evaluation)
    sink = pa.BufferOutputStream()
    # Arrow's own copy of the schema would hold the account once more, and says nothing that Parquet's does not.
    options: Any = {"use_dictionary": _REPEATED, "store_schema": False, "write_page_checksum": True}
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd", **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({**metadata, "rows_sha256": rows_digest(table)})
    return sink.getvalue().to_pybytes()


def kept(evaluation: Evaluation | None) -> Literal["all", "top"] | None:
    """Which scores of each sample its rows keep."""
    if evaluation is None or evaluation.scores is None:
        return None
    return "all" if evaluation.classes is None else "top"


def columns(evaluation: Evaluation | None) -> dict[str, pa.Array]:
    """The columns of a file; none that an evaluation lacks is left out."""
    if evaluation is None:
        return {field.name: pa.array([], field.type) for field in SCHEMA}
    rows = len(evaluation.sample)
    return {field.name: _column(getattr(evaluation, field.name), field.type, rows) for field in SCHEMA}


def _column(values: np.ndarray | None, kind: pa.DataType, rows: int) -> pa.Array:
    if values is None:
        return pa.nulls(rows, kind)
    if values.ndim == 1:
        return pa.array(values, kind)
    width = values.shape[1]
    ends = np.arange(0, rows * width + 1, width, dtype=np.int32)
    return pa.ListArray.from_arrays(ends, values.reshape(-1), type=kind)


def evaluation_of(table: pa.Table, *, scores: bool = True) -> Evaluation:
    """The rows of a checked table; with `scores=False` without `scores` and `classes`, which take the most memory."""
    lists = ("scores", "classes") if scores else ()
    names = [
        name for name in table.column_names if name in lists or not pa.types.is_list(table.schema.field(name).type)
    ]
    found = {name: _values(table[name]) for name in names if table.num_rows or name in _FIRST.names}
    return Evaluation(**found)  # pyright: ignore[reportArgumentType]  # a checked table has the first ones


def _values(column: pa.ChunkedArray) -> np.ndarray | None:
    if len(column) and column.null_count == len(column):
        return None
    if not pa.types.is_list(column.type):
        return column.to_numpy()
    return column.combine_chunks().flatten().to_numpy().reshape(len(column), -1)


def rows_digest(table: pa.Table) -> str:
    """SHA-256 of the values, column after column, as little-endian numbers; columns that are null add nothing."""
    whole = hashlib.sha256()
    for column in table.columns:
        values = column.combine_chunks().flatten() if pa.types.is_list(column.type) else column
        numbers = values.drop_null().to_numpy()
        whole.update(numbers.astype(numbers.dtype.newbyteorder("<"), copy=False))
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
    signed: str | None = None
    """The signature of the workspace that the cell was trained in."""

    @property
    def seal(self) -> str | None:
        """What tells this file from any other, by account and rows; None of files without checksums."""
        return None if self.rows is None else _seal(self.text, self.rows)

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
        return table

    def validation(self, file: bytes | None, path: Location) -> pa.Table | None:
        """The rows of the validation split, if the file is the one that the account speaks of; None if it has none.

        Args:
            file: The whole file; None where there is none.
            path: Where it lies, for messages.

        Raises:
            LostRowsError: It is missing, or another file.
        """
        told = self.content["validation_sha256"]
        if told is None:
            return None
        if file is None:
            raise LostRowsError(f"{path} is missing: the validation rows that {self.path} speaks of.")
        if hashlib.sha256(file).hexdigest() != told:
            raise LostRowsError(f"{path} is not the file of validation rows that {self.path} speaks of.")
        table = _read(file, path)
        if not self._fits(table):
            raise LostRowsError(f"{path} does not hold rows of the kind that {self.path} speaks of.")
        return table

    def _fits(self, table: pa.Table) -> bool:
        """Whether the columns are those of the account's version, and full."""
        if not table.schema.equals(_SCHEMAS[self.content["version"]]):
            return False
        kept = self.content["scores"]
        classes = self.content["classes"]
        absent = {None: _RANKED.names, "all": ["classes"], "top": []}[kept]
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


def opened_in_memory(file: bytes) -> pq.ParquetFile:
    """A Parquet file of which all bytes are here; read it with `use_threads=False`.

    Arrow's threads give Python's bytes back when they like. One that did so while the interpreter ended would end the
    program by a signal.
    """
    return pq.ParquetFile(pa.BufferReader(file), page_checksum_verification=True, pre_buffer=False)


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
