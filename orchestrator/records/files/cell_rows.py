"""Reads cells' files into rows of the results table, each file once, and keeps their summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from orchestrator.errors import DamagedFileError, LostRowsError
from orchestrator.experiment.plan import Cell
from orchestrator.provenance.environment import CODES, Environment, sources
from orchestrator.records.files import splits
from orchestrator.records.files.evaluations import Evaluations, Whole, set_aside
from orchestrator.records.files.footer import Footer
from orchestrator.records.files.origin import Origins
from orchestrator.records.files.soundness import check
from orchestrator.records.files.storage import in_parallel
from orchestrator.records.files.summaries import Summaries
from trainers.metrics import MEASURES

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("experiment", "cell_id", "loss", "backbone", "dataset")),
        ("seed", pa.int64()),
        ("state", pa.string()),
        ("environment", pa.string()),
        ("decide_by", pa.string()),
        ("samples", pa.int64()),
        *((name, pa.float64()) for name in MEASURES),
        ("train_seconds", pa.float64()),
        ("images_per_second", pa.float64()),
        ("epochs", pa.int64()),
        ("parameters", pa.int64()),
        ("mlflow_run_id", pa.string()),
        ("git_commit", pa.string()),
        ("protocol", pa.int64()),
        ("started", pa.float64()),
        ("origin", pa.string()),
        ("git_dirty", pa.bool_()),
        *((name, pa.string()) for name in ("torch_version", "device", "instruction_set", "onednn_isa")),
        ("threads", pa.int64()),
        ("devices", pa.int64()),
        *((f"{name}_sha256", pa.string()) for name in CODES),
        *((f"{name}_source", pa.string()) for name in CODES),
    ]
)


_RECORDED = (
    "git_commit",
    "git_dirty",
    "torch_version",
    "device",
    "instruction_set",
    "onednn_isa",
    "threads",
    "devices",
)
"""Of a cell's provenance: what tells one environment from another."""


_STRETCH = 128
"""Cells whose accounts are in memory at once, for each reader."""


class Stretch(NamedTuple):
    """A stretch of the table."""

    rows: pa.RecordBatch
    missing: list[Cell]
    damaged: list[str]
    stated: dict[str, Mapping[str, Any]]
    lost: list[str]
    tested: list[splits.Tested]
    """The cells with rows."""


@dataclass(frozen=True)
class Reader:
    """Reads the cells of an experiment, and keeps their summaries."""

    experiment: str
    evaluations: Evaluations
    summaries: Summaries | None
    origins: Origins

    def parts(self, cells: Sequence[Cell]) -> list[Stretch]:
        """The table in parts, in the order of the cells."""
        stretches = [cells[start : start + _STRETCH] for start in range(0, len(cells), _STRETCH)]
        return list(in_parallel(self._part, stretches, self.evaluations.storage.readers))

    def _part(self, cells: Sequence[Cell]) -> Stretch:
        origin = list[str]()
        tested = list[splits.Tested]()
        done = list[Cell]()
        found = list[dict[str, Any]]()
        missing = list[Cell]()
        damaged = list[str]()
        lost = list[str]()
        for cell in cells:
            if not cell.data_known:  # a file of this name says not which data it is of
                missing.append(cell)
                continue
            try:
                footer, split, reason = self._read(cell)
            except FileNotFoundError:
                missing.append(cell)
            except DamagedFileError as error:
                missing.append(cell)
                damaged.append(set_cell_aside(cell, self.evaluations, error))
            else:
                lost += [reason] if reason else []
                found.append(footer.content)
                done.append(cell)
                origin.append(whence := self.origins.origin(footer.seal, footer.signed))
                if samples := footer.content["samples"]:
                    tested.append(splits.Tested(cell.id, footer.content["recipe"], whence, samples, split))
        columns = {**_columns(self.experiment, done, found), "origin": origin}
        records = (account["provenance"].get("stated") for account in found)
        stated = {cell.id: record for cell, record in zip(done, records, strict=True) if record}
        batch = pa.record_batch([columns[name] for name in SCHEMA.names], SCHEMA)
        return Stretch(batch, missing, damaged, stated, lost, tested)

    def _read(self, cell: Cell) -> tuple[Footer, str, str | None]:
        """The footer of a cell's file, the digest of its split, and why its validation rows cannot be read, if so.

        Raises:
            DamagedFileError: The cell's own file cannot be trusted.
        """
        name = self.evaluations.name(cell)
        if self.summaries and (known := self.summaries.find(name)):
            footer, split = known
            return footer.of(cell), split, None
        whole, reason = _checked(self.evaluations, name)
        footer = whole.footer.of(cell)
        split = splits.of_rows(whole.rows)
        if self.summaries and not reason:
            self.summaries.write(name, whole, split)
        return footer, split, reason


def _checked(evaluations: Evaluations, name: str) -> tuple[Whole, str | None]:
    """A cell's files, found sound; and why its validation rows cannot be read, if so.

    Raises:
        DamagedFileError: The cell's own file cannot be trusted.
    """
    try:
        check(whole := evaluations.checked(name))
    except LostRowsError as error:
        check(whole := evaluations.checked(name, validation=False))
        return whole, str(error)
    return whole, None


def set_cell_aside(cell: Cell, evaluations: Evaluations, error: DamagedFileError) -> str:
    """Set a file that cannot be trusted aside; a sentence that says so."""
    aside = set_aside(evaluations.path(cell.recipe, cell.id))
    return f"{error} It was set aside as {aside.name[:17]}….damaged; launch again to retrain this cell."


def _columns(experiment: str, cells: Sequence[Cell], accounts: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    metrics = [account["metrics"] for account in accounts]
    return {
        "experiment": [experiment] * len(cells),
        "cell_id": [cell.id for cell in cells],
        "decide_by": [account["recipe"]["loss"].get("decide_by", "raw") for account in accounts],
        **{name: [getattr(cell, name) for cell in cells] for name in ("loss", "backbone", "dataset", "seed")},
        **{name: [values.get(name) for values in metrics] for name in MEASURES},
        **{name: [account[name] for account in accounts] for name in _COPIED},
        **_origin([account["provenance"] for account in accounts]),
    }


def _origin(provenances: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    prints = [provenance.get("fingerprints") or {} for provenance in provenances]
    told = [sources(provenance) for provenance in provenances]
    return {
        "environment": [Environment.of(provenance).id for provenance in provenances],
        **{name: [provenance.get(name) for provenance in provenances] for name in _RECORDED},
        **{f"{name}_sha256": [each.get(name) for each in prints] for name in CODES},
        **{f"{name}_source": [each.get(name) for each in told] for name in CODES},
    }


_COPIED = (
    "state",
    "samples",
    "train_seconds",
    "images_per_second",
    "epochs",
    "parameters",
    "mlflow_run_id",
    "protocol",
    "started",
)
