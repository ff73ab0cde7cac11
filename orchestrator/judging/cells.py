"""Reads the cells' own files, as a workspace and an export have them, as score files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.judging.source import ScoresError, Source
from orchestrator.provenance.environment import Environment

NEEDED = ("sample", "label", "positive", "rival")


def exported(folder: Path) -> Iterator[Source]:
    """The cells of a folder with `evaluations`, and their validation rows where there are any.

    Raises:
        ScoresError: There is no cell.
    """
    counted = _counted(folder)
    every = sorted((folder / "evaluations").rglob("*.parquet"))
    found = [path for path in every if not counted or path.stem in counted]
    if not found:
        raise ScoresError([f"{folder}: there is no cell in its folder 'evaluations'."])
    for path in found:
        table = pq.ParquetFile(path).read()
        text = (table.schema.metadata or {}).get(b"cell", b"").decode()
        source = of_file(path, table, text)
        yield source
        held_out = folder / "validation" / path.relative_to(folder / "evaluations")
        if held_out.exists():
            rows = _columns(pq.ParquetFile(held_out).read())
            yield Source(str(held_out), rows, told={**source.told, "split": "validation"}, account=source.account)


def _counted(folder: Path) -> set[str]:
    """The cells in the results tables of an export, beside which trials lie; empty where there is no table."""
    tables = [folder / name for name in ("results.parquet", "results.replicas.parquet")]
    columns = [pq.ParquetFile(path).read(["cell_id"])["cell_id"] for path in tables if path.exists()]
    return {cell for column in columns for cell in column.to_pylist()}


def of_file(path: Path, table: pa.Table, text: str) -> Source:
    """One cell's file.

    Raises:
        ScoresError: Its account cannot be read.
    """
    try:
        account = json.loads(text)
        seed = account["recipe"]["seed"]
        labels = {axis: account["recipe"][axis]["name"] for axis in ("loss", "backbone", "dataset")}
        known = {"state": account["state"], "started": account["started"], "cell_id": path.stem}
        known["environment"] = Environment.of(account["provenance"]).id
    except (ValueError, KeyError, TypeError):
        raise ScoresError([f"{path}: the account of its cell cannot be read."]) from None
    labels |= dict(_partition(path))
    told = {"system": labels.pop("loss"), **labels, "seed": seed}
    return Source(str(path), _columns(table), told=told, account=known)


def _columns(table: pa.Table) -> dict[str, Any]:
    return {name: table[name].to_numpy() for name in NEEDED}


def _partition(path: Path) -> Iterator[tuple[str, str]]:
    """The labels that the experiment gave, from the folders' names."""
    for part in path.parts:
        axis, is_one, label = part.partition("=")
        if is_one and axis in {"loss", "backbone", "dataset"}:
            yield axis, unquote(label)
