"""The results that the pages rest on: one table per experiment in `tables/`, made by `make.py` and committed.

A table has the columns of a results table and a row per cell, replica and trial (`kind`), with what the experiment
stated when it began (`stated`, JSON), the processor and the seconds that it took. That is all that a comparison
needs, so a page can be written again wherever the repository is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.adaptive import trials
from orchestrator.analysis.comparison import Comparison, compare
from orchestrator.experiment import looks
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Plan
from orchestrator.experiment.reading import load
from orchestrator.experiment.stated import dated, stated
from orchestrator.outcome import has_figures
from orchestrator.records.files import results
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.report.document import decision
from orchestrator.reproduction.anchor_log import Ledger
from orchestrator.reproduction.code_changes import codes
from orchestrator.reproduction.pooling import pooled
from orchestrator.stores import Stores
from orchestrator.study import Study
from orchestrator.workspace import Workspace

ROOT = Path(__file__).parents[2]
TABLES = Path(__file__).parent / "tables"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Kept:
    """The committed results of one launch."""

    name: str
    """Of the experiment file in `experiments/`."""
    table: Sequence[Row]
    decision: Mapping[str, Any] | None = None
    """What `decide` said, as its JSON, where the file says how a model would be used."""

    @classmethod
    def read(cls, name: str, *, table: str | None = None, seeds: int | None = None) -> Kept:
        """The results of an experiment, from the table of its name or of another; of seeds below `seeds`, if given."""
        rows = pq.read_table(TABLES / f"{table or name}.parquet").to_pylist()
        decided = TABLES / f"{name}.decision.json"
        decision = json.loads(decided.read_text("utf-8")) if decided.exists() else None
        return cls(name, [row for row in rows if seeds is None or row["seed"] < seeds], decision)

    @cached_property
    def file(self) -> Experiment:
        """The experiment as its file has it."""
        return load(ROOT / "experiments" / f"{self.name}.yaml")

    @cached_property
    def asked(self) -> Experiment:
        """The experiment with the seeds that were trained."""
        trained = sorted({row["seed"] for row in self.of("cell")})
        return self.file.model_copy(update={"seeds": tuple(trained)}) if trained else self.file

    def of(self, kind: str) -> list[Row]:
        """The rows of `cell`, `replica` or `trial`."""
        return [row for row in self.table if row["kind"] == kind]

    @property
    def instruction_set(self) -> str:
        """Of the processors that trained it."""
        return ", ".join(sorted({str(row["instruction_set"]) for row in self.table}))

    @property
    def machine(self) -> str:
        """What trained it."""
        processors = ", ".join(sorted({str(row["processor"]) for row in self.table}))
        versions = ", ".join(sorted({str(row["torch_version"]) for row in self.table}))
        return f"{processors} with {self.instruction_set}, torch {versions}"

    @property
    def hours(self) -> float:
        """Core hours, trials included."""
        return sum(row["seconds"] for row in self.table) / 3600

    @property
    def commits(self) -> str:
        """The commits that trained it."""
        return ", ".join(sorted({str(row["git_commit"])[:10] for row in self.table}))

    @cached_property
    def _stage(self) -> trials.Trials | None:
        tuning = self.asked.tuning
        if tuning is None:
            return None
        found = {
            row["cell_id"]: trials.scored(tuning, row) if has_figures(row["state"]) else trials.WORST
            for row in self.of("trial")
        }
        return trials.Trials(self.asked, lambda cells: {cell.id: found[cell.id] for cell in cells if cell.id in found})

    @cached_property
    def settled(self) -> Experiment:
        """The experiment that was trained, with the recipes that tuning chose."""
        return trials.settle(self.asked, self._stage.tuned) if self._stage else self.asked

    @cached_property
    def comparison(self) -> Comparison:
        """What the results say by today's rules."""
        stage = self._stage
        everything = [*self.of("cell"), *self.of("replica")]
        records = [(_key(row), json.loads(row["stated"])) for row in self.of("cell")]
        experiment = self.settled
        looked = looks.Looked(looks.planned(self.file, self.asked))
        for row in everything:
            began = looks.began(self.file.name, row["started"], json.loads(row["stated"]), is_foreign=False)
            looked.cells[_key(row)].append(began)
        return compare(
            experiment,
            self.of("cell"),
            replicas=self.of("replica"),
            stated=dated(experiment, stated(self.file), records),
            tuned=stage.tuned if stage else (),
            trial_rows=self.of("trial"),
            looked=looked,
            whole=self.file,
        )


def _key(row: Row) -> tuple[str, str, str]:
    return row["dataset"], row["backbone"], row["loss"]


def keep(name: str, workspace: Workspace, data: Path, *, table: str | None = None, seeds: int | None = None) -> None:
    """Write the table of a finished launch.

    Args:
        name: Of the experiment file.
        workspace: That of the launch.
        data: The folder that holds the data sets.
        table: The table's name, if it is another.
        seeds: How many the launch was asked for, if others than the file has.
    """
    asked = load(ROOT / "experiments" / f"{name}.yaml")
    asked = asked.model_copy(update={"seeds": tuple(range(seeds))}) if seeds else asked
    study = Study.of(asked, Stores(workspace), data)
    rows = [row for plan in study.plans() for row in _rows(plan, asked, workspace)]
    TABLES.mkdir(exist_ok=True)
    if asked.operation:
        decided = json.dumps(decision(study.decision), indent=1, allow_nan=False)
        (TABLES / f"{name}.decision.json").write_text(f"{decided}\n", encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), TABLES / f"{table or name}.parquet", compression="zstd")


def refuse_others(name: str, rows: Sequence[Row], *, one_environment: bool) -> None:
    """Refuse what a page would not say: cells that were trained elsewhere, or under several environments or codes."""
    if any(row["origin"] != "here" for row in rows):
        raise SystemExit(f"Some cells of '{name}' were imported: a page is of cells that were trained here.")
    if not one_environment:
        raise SystemExit(f"Cells of '{name}' are of several environments or codes: launch it into an empty folder.")


def _rows(plan: Plan, asked: Experiment, workspace: Workspace) -> Iterator[Row]:
    evaluations = Evaluations(workspace.evaluations)
    found = results.aggregate(plan, evaluations)
    if found.missing:
        raise SystemExit(f"{len(found.missing)} cells of '{plan.experiment.name}' are missing: launch it first.")
    ledger = Ledger(workspace.drift(plan.experiment.name))
    pool = pooled(plan.experiment, found.rows(), ledger, codes(plan.experiment), found.replica_rows())
    refuse_others(plan.experiment.name, found.all_rows(), one_environment=pool is None)
    kinds = {"cell" if plan.experiment.name == asked.name else "trial": found.rows(), "replica": found.replica_rows()}
    accounts = {cell.id: evaluations.account(cell) for cell in (*plan.cells, *evaluations.replicas(plan.cells))}
    for kind, rows in kinds.items():
        for row in rows:
            account = accounts[row["cell_id"]]
            yield {
                **{name: value for name, value in row.items() if name not in {"mlflow_run_id", "origin"}},
                "kind": kind,
                "stated": json.dumps(found.stated.get(row["cell_id"])),
                "processor": str(account.provenance["processor"]),
                "seconds": account.seconds,
            }
