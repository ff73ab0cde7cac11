"""The truth: one immutable Parquet file a cell. The only door to pyarrow, with `results`.

A file holds a row for each test sample and, in its schema metadata, a JSON account of
the cell. It is enough, alone, to rebuild everything else. A diverged cell leaves a file
without rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from orchestrator.errors import DamagedFileError, NewerFormatError, WorkspaceError
from orchestrator.plan import Cell, digest
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

VERSION = 1
"""Of the JSON account. A reader refuses what it does not know."""


@dataclass(frozen=True)
class Account:
    """What a cell's file says of the cell as a whole."""

    cell_id: str
    state: Literal["finished", "diverged"]
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
    version: int = VERSION

    @cached_property
    def resolved(self) -> Recipe:
        """The recipe, ready to be run again."""
        return Recipe.model_validate(self.recipe)

    @property
    def shown(self) -> dict[str, float | None]:
        """The metrics and costs that a finished cell's MLflow run shows in the end."""
        costs = {name: getattr(self, name) for name in ("train_seconds", "images_per_second", "parameters")}
        return {**self.metrics, **costs}


@dataclass(frozen=True)
class Evaluations:
    """The per-cell files below one folder."""

    folder: Path

    def path(self, recipe: Recipe, cell_id: str) -> Path:
        """Where a cell's file belongs, partitioned so that dataset readers see the factors."""
        parts = {"dataset": recipe.dataset.key, "backbone": recipe.backbone.key, "loss": recipe.loss.key}
        partition = "/".join(f"{axis}={quote(key, safe='')}" for axis, key in parts.items())
        return self.folder / partition / f"{cell_id}.parquet"

    def ids(self) -> set[str]:
        """The ids of all cells that are done, from the names of the files alone."""
        return {path.stem for path in self.folder.glob("dataset=*/backbone=*/loss=*/*.parquet")}

    def publish(self, recipe: Recipe, account: Account, evaluation: Evaluation | None) -> Path:
        """Write a cell's file, whole or not at all; a second writer replaces it with its equal."""
        path = self.path(recipe, account.cell_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = _columns(evaluation)
        content = {b"cell": json.dumps(asdict(account), allow_nan=False).encode()}
        table = pa.table(columns, schema=SCHEMA.with_metadata(content))
        # Hidden, so that no dataset reader takes a half-written file for a cell.
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with beside.open("wb") as file:
                pq.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        return path

    def account(self, cell: Cell) -> Account:
        """The account of a cell that is done, from its file's footer.

        Raises:
            FileNotFoundError: The cell is not done.
            DamagedFileError: The file is not one of ours, or another cell's.

        """
        path = self.path(cell.recipe, cell.id)
        account = read_account(path)
        if account.cell_id != cell.id:
            raise DamagedFileError(f"{path} is the file of another cell ({account.cell_id}).")
        return account

    def evaluation(self, cell: Cell) -> Evaluation:
        """The per-sample rows of a cell that is done; raises as `account` does."""
        path = self.path(cell.recipe, cell.id)
        table = _opened(path, pq.read_table)
        if table.num_rows != self.account(cell).samples or not table.schema.equals(SCHEMA):
            raise DamagedFileError(f"{path} does not hold the rows its account speaks of.")
        return Evaluation(**{field.name: table[field.name].to_numpy() for field in fields(Evaluation)})

    def accounts(self) -> Iterator[tuple[Path, Account | DamagedFileError]]:
        """Every file and its account, or why it cannot be read."""
        for path in sorted(self.folder.glob("dataset=*/backbone=*/loss=*/*.parquet")):
            try:
                yield path, _true_to_its_name(path, read_account(path))
            except DamagedFileError as error:
                yield path, error


def read_account(path: Path) -> Account:
    """The account in one file's footer.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFileError: It is not a cell's file.
        NewerFormatError: A newer version of this program wrote it.
        WorkspaceError: It cannot be opened at present.

    """
    metadata = _opened(path, pq.read_schema).metadata or {}
    try:
        content = json.loads(metadata[b"cell"])
        if content["version"] > VERSION:
            raise NewerFormatError(
                f"{path} has version {content['version']} of the cell format; this program reads {VERSION}: upgrade it."
            )
        _check_entries(content)
        return _ACCOUNT.validate_json(metadata[b"cell"], strict=True)
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DamagedFileError(f"{path} is no cell's file: its account is missing or unreadable ({reason}).") from None


_ACCOUNT = TypeAdapter(Account)


def _true_to_its_name(path: Path, account: Account) -> Account:
    # A footer has no checksum; but the file's name is one of the recipe.
    if not path.stem == account.cell_id == digest(account.recipe, account.protocol):
        raise DamagedFileError(f"{path} does not hold the recipe and account of the cell it is named after.")
    return account


def _check_entries(content: dict[str, Any]) -> None:
    # Ignoring what this version does not know would lose it when the file is rewritten.
    if strangers := content.keys() - {field.name for field in fields(Account)}:
        raise ValueError(f"it has unknown entries: {', '.join(sorted(strangers))}")


def _opened(path: Path, read: Any) -> Any:
    try:
        return read(path)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        # Damage has no error number; what has one (no permission, too many open files) may pass.
        if getattr(error, "errno", None) is not None:
            raise WorkspaceError(f"{path} cannot be read now ({error}).") from None
        raise DamagedFileError(f"{path} cannot be read as Parquet ({error}).") from None


def _columns(evaluation: Evaluation | None) -> dict[str, np.ndarray]:
    if evaluation is None:
        return {field.name: np.empty(0, field.type.to_pandas_dtype()) for field in SCHEMA}
    return asdict(evaluation)
