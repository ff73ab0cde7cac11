"""The results table of an experiment: one row a cell, built from the cells' files alone."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import DamagedFileError
from orchestrator.plan import Cell, Plan
from orchestrator.records.evaluations import Account, Evaluations
from trainers.metrics import MEASURES

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("experiment", "cell_id", "loss", "backbone", "dataset")),
        ("seed", pa.int64()),
        ("state", pa.string()),
        ("samples", pa.int64()),
        *((name, pa.float64()) for name in MEASURES),
        ("train_seconds", pa.float64()),
        ("images_per_second", pa.float64()),
        ("epochs", pa.int64()),
        ("parameters", pa.int64()),
        ("mlflow_run_id", pa.string()),
        ("git_commit", pa.string()),
        ("protocol", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Results:
    """The table, the cells without a file, and what is wrong with files set aside."""

    table: pa.Table
    missing: tuple[Cell, ...]
    damaged: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a cell, in the order of the plan."""
        return self.table.to_pylist()


def aggregate(plan: Plan, evaluations: Evaluations) -> Results:
    """Build the results table of a plan.

    A file that cannot be trusted is renamed to `….damaged`, so that its cell counts as
    missing and the next launch trains it again.
    """
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda cell: _account(cell, evaluations), plan.cells))
    rows, missing, damaged = [], [], []
    for cell, account in zip(plan.cells, found, strict=True):
        if isinstance(account, Account):
            rows.append(_row(plan.experiment.name, cell, account))
        else:
            missing.append(cell)
            damaged += [account] if account else []
    return Results(pa.Table.from_pylist(rows, schema=SCHEMA), tuple(missing), tuple(damaged))


def _account(cell: Cell, evaluations: Evaluations) -> Account | str | None:
    try:
        return evaluations.account(cell)
    except FileNotFoundError:
        return None
    except DamagedFileError as error:
        path = evaluations.path(cell.recipe, cell.id)
        path.replace(path.with_suffix(".damaged"))
        return f"{error} It was set aside as {path.stem[:16]}….damaged; launch again to retrain this cell."


def _row(experiment: str, cell: Cell, account: Account) -> dict[str, Any]:
    return {
        "experiment": experiment,
        "cell_id": cell.id,
        "loss": cell.loss,
        "backbone": cell.backbone,
        "dataset": cell.dataset,
        "seed": cell.seed,
        "state": account.state,
        "samples": account.samples,
        **{name: account.metrics.get(name) for name in MEASURES},
        "train_seconds": account.train_seconds,
        "images_per_second": account.images_per_second,
        "epochs": account.epochs,
        "parameters": account.parameters,
        "mlflow_run_id": account.mlflow_run_id,
        "git_commit": account.provenance.get("git_commit"),
        "protocol": account.protocol,
    }


def write(results: Results, path: Path) -> None:
    """Write the table, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(results.table, beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
