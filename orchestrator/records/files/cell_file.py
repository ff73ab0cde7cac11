"""The format of a cell's file: what is written as bytes, and how rows are taken from it.

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
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Annotated, Any, Literal
from urllib.parse import quote
from zlib import compress, decompressobj
from zlib import error as zlib_error

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from orchestrator.errors import DamagedFileError
from orchestrator.experiment.plan import Cell
from orchestrator.outcome import Attempt, Collapsed, Diverged, Finished, Result
from orchestrator.records.files.origin import signature
from trainers.evaluation import Evaluation
from trainers.recipe import Recipe

FIRST = pa.schema(
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


RANKED = pa.schema(
    [
        ("runner_up", pa.int32()),
        ("runner_up_score", pa.float32()),
        ("log_odds", pa.float64()),
        ("scores", pa.list_(pa.field("element", pa.float32()))),
        ("classes", pa.list_(pa.field("element", pa.int32()))),
    ]
)
"""Null in the files of evaluations without them; `classes` also where all scores are kept."""


SCHEMA = pa.schema([*FIRST, *RANKED])
"""The lists of a file are all of one length; as Parquet has no such type, files of any lengths are one dataset."""


RARE = ("certification_sha256", "group_sha256")
"""Entries of accounts of version 4."""

VERSION = 4
"""Of the JSON account. A reader refuses what it does not know; what earlier versions lack has a default.

Version 2 brought collapsed cells; version 3 the columns of `RANKED` and the validation rows. Version 4 is that of
cells of which some test images are kept apart, or belong together; all others have version 3, and the same bytes as
before.
"""

PLAIN = 3


_REPEATED = ["label", "prediction", "runner_up", "classes.list.element"]
"""Columns that a dictionary makes smaller; of scores, which are all different, it makes more."""


SCHEMAS = {1: FIRST, 2: FIRST, PLAIN: SCHEMA, VERSION: SCHEMA}


Beside = Literal["validation", "certification"]
"""The splits whose rows lie in files of their own, beside the cell's."""


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
    version: int = PLAIN
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
    certification_sha256: str | None = None
    """Of the file of the test images that are kept apart; None where there is none, and then left out of the file."""
    group_sha256: str | None = None
    """Of the groups of the test samples; None where they have none, and then left out of the file."""

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


DAMAGED = ".damaged"
"""With which the names of files end that were set aside."""

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
    told = asdict(account)
    told = {name: value for name, value in told.items() if name not in RARE or value is not None}
    text = json.dumps(told, allow_nan=False).encode()
    checksum = hashlib.sha256(text).hexdigest()
    signed = {} if key is None else {"origin": signature(key, seal_of(text, rows_digest(_table(evaluation))))}
    return _parquet(evaluation, {"cell": text, "cell_sha256": checksum, **signed})


def seal_of(text: bytes, rows: str) -> str:
    """What tells one cell's file from any other, by its account and the checksum of its rows."""
    return hashlib.sha256(text + rows.encode()).hexdigest()


def _table(evaluation: Evaluation | None) -> pa.Table:
    return pa.table(columns(evaluation), schema=SCHEMA)


def encoded_rows(cell_id: str, split: Beside, evaluation: Evaluation) -> bytes:
    """The file of the rows of another split, as bytes."""
    return _parquet(evaluation, {split: json.dumps({"cell_id": cell_id, "version": PLAIN})})


def group_digest(groups: np.ndarray | None) -> str | None:
    """SHA-256 of the groups of rows (n,), as the account of a cell has it; None where they have none."""
    return None if groups is None else hashlib.sha256(groups.astype("<i4").tobytes()).hexdigest()


def _parquet(evaluation: Evaluation | None, metadata: Mapping[str, str | bytes]) -> bytes:
    table = _table(evaluation)
    sink = pa.BufferOutputStream()
    # Arrow's own copy of the schema would hold the account once more, and says nothing that Parquet's does not.
    options: Any = {"use_dictionary": _REPEATED, "store_schema": False, "write_page_checksum": True}
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd", **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({**metadata, "rows_sha256": rows_digest(table), **_groups(evaluation)})
    return sink.getvalue().to_pybytes()


def _groups(evaluation: Evaluation | None) -> dict[str, str]:
    """The groups of the rows as metadata of their file, since its columns are the same for all data."""
    if evaluation is None or evaluation.group is None:
        return {}
    return {GROUPS: b64encode(compress(evaluation.group.astype("<i4").tobytes())).decode()}


GROUPS = "groups"
"""The metadata key of the groups of a file's rows: 32-bit integers, compressed by zlib, in base 64."""


def groups_in(table: pa.Table) -> np.ndarray | None:
    """The groups of a file's rows (n,), from its metadata; None where they have none.

    Raises:
        DamagedFileError: They cannot be read, or are of other rows.
    """
    content = (table.schema.metadata or {}).get(GROUPS.encode())
    if content is None:
        return None
    size = 4 * table.num_rows
    try:
        # A foreign file may hold far more than it has rows, and so never takes more memory than these do.
        groups = np.frombuffer(decompressobj().decompress(b64decode(content), size + 4), "<i4")
    except (zlib_error, ValueError) as error:
        raise DamagedFileError(f"The groups of a cell's rows cannot be read ({error}).") from None
    if groups.nbytes != size:
        raise DamagedFileError(f"A cell's file has groups of other rows than its {table.num_rows}.")
    return groups


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
    found = {name: _values(table[name]) for name in names if table.num_rows or name in FIRST.names}
    return Evaluation(**found, group=groups_in(table))  # pyright: ignore[reportArgumentType]  # it has the first ones


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


def row_bytes(file: bytes) -> tuple[float, int]:
    """The bytes of a cell's file per row, beside its account, and how many rows it has."""
    about = opened_in_memory(file).metadata
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    size = sum(group.column(column).total_compressed_size for group in groups for column in range(group.num_columns))
    return size / max(1, about.num_rows), about.num_rows


def opened_in_memory(file: bytes) -> pq.ParquetFile:
    """A Parquet file of which all bytes are here; read it with `use_threads=False`.

    Arrow's threads give Python's bytes back when they like. One that did so while the interpreter ended would end the
    program by a signal.
    """
    return pq.ParquetFile(pa.BufferReader(file), page_checksum_verification=True, pre_buffer=False)
