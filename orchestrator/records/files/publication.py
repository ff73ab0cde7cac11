"""An experiment's records as a folder to publish, and such a folder taken into another workspace.

The folder is a Data Package (datapackage.org, version 2.0) and a Croissant dataset. What it holds of
a cell is its file, byte for byte, so that whoever takes it over has the cell done.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from pyarrow import csv

from orchestrator import provenance
from orchestrator.errors import DamagedFileError, LostRowsError, OrchestratorError, RequestError
from orchestrator.experiment.model import AXES, Experiment
from orchestrator.experiment.plan import Plan
from orchestrator.outcome import RESULTS
from orchestrator.records.files import cell_file, origin, results, splits
from orchestrator.records.files.croissant import croissant
from orchestrator.records.files.evaluations import Evaluations, Whole, set_aside
from orchestrator.records.files.results import Results
from orchestrator.records.files.soundness import check
from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Workspace
from trainers.metrics import MEASURES

SUMS = "SHA256SUMS"
"""As `sha256sum --check` reads it: a line for each other file."""


@dataclass(frozen=True)
class Exported:
    """How many cells are in the folder, how many of the plan are not, and what is wrong with files set aside."""

    cells: int
    missing: int
    damaged: tuple[str, ...]


def export(
    plan: Plan, place: Workspace, folder: Path, trials: Plan | None = None, earlier: Collection[str] = ()
) -> Exported:
    """Write all that is known of an experiment into an empty folder; with its trials, where it was tuned.

    Args:
        plan: The experiment and its cells.
        place: The workspace.
        folder: Where to write.
        trials: Those of its tuning stage.
        earlier: Ids of cells of earlier data or protocols, which go into a folder of their own and no table.

    Raises:
        RequestError: The folder is not empty, or no cell is done.
    """
    if folder.exists() and any(folder.iterdir()):
        raise RequestError(f"{folder} is not empty: name a new folder, so that nothing in it is mixed up or lost.")
    target = Storage(folder)
    damaged = _copy_cells((plan, trials), Evaluations(place.evaluations), folder)
    found = results.aggregate(plan, Evaluations(folder / "evaluations"), anew=True)
    damaged += _copy_earlier(earlier, Evaluations(place.evaluations), folder / "earlier")
    if not found.table.num_rows and earlier:  # the folder of them is whole by itself
        return Exported(0, len(found.missing), damaged)
    if not found.table.num_rows:
        raise RequestError("\n".join([*damaged, f"No cell of '{plan.experiment.name}' is done: launch it first."]))
    results.write(found, folder / "results.parquet")
    sink = pa.BufferOutputStream()
    csv.write_csv(found.table, sink)
    target.write("results.csv", sink.getvalue().to_pybytes())
    _copy_report(plan.experiment.name, place, target)
    if (lock := provenance.ROOT / "requirements.lock").exists():
        target.write(lock.name, lock.read_bytes())
    target.write("experiment.yaml", yaml.safe_dump(_document(plan.experiment), sort_keys=False).encode())
    made = {"export": provenance.code(), "cells": _provenance(plan, found, Evaluations(folder / "evaluations"))}
    target.write("provenance.json", _json(made))
    target.write("README.md", _card(plan, found).encode())
    target.write("datapackage.json", _json(_package(plan.experiment, target)))
    validation = bool(_rows_below("validation", target))
    described = croissant(plan.experiment, _sha256(target, "results.parquet") or "", validation=validation)
    target.write("croissant.json", _json(described))
    _sum(target)
    return Exported(found.table.num_rows, len(found.missing), damaged)


def _copy_cells(plans: Iterable[Plan | None], source: Evaluations, folder: Path) -> tuple[str, ...]:
    names = (source.name(cell) for plan in plans if plan for cell in source.with_replicas(plan).cells)
    return _copy(sorted(names), source, Evaluations(folder / "evaluations"))


def _copy(names: Iterable[str], source: Evaluations, target: Evaluations) -> tuple[str, ...]:
    damaged: list[str] = []
    for name in names:
        try:
            check(whole := source.checked(name))
            target.take(name, whole)
        except FileNotFoundError:
            continue
        except LostRowsError as error:
            damaged.append(f"{error} The cell is left out.")
        except DamagedFileError as error:
            damaged.append(f"{error} It was set aside as {set_aside(source.folder / name).name}.")
    return tuple(damaged)


def _copy_earlier(cells: Collection[str], source: Evaluations, folder: Path) -> tuple[str, ...]:
    """Cells that are pooled with none of the others, as a folder that can be imported by itself."""
    if not cells:
        return ()
    names = [name for name in source.names() if cell_file.cell_in(name) in cells]
    damaged = _copy(names, source, Evaluations(folder / "evaluations"))
    _sum(Storage(folder))
    return damaged


def _sum(target: Storage) -> None:
    """Write the checksums of all other files."""
    target.write(SUMS, "".join(f"{_sha256(target, name)}  {name}\n" for name in _names(target)).encode())


def _copy_report(experiment: str, place: Workspace, target: Storage) -> None:
    source = Storage(place.report(experiment).parent)
    for file in source.list():
        if not file.is_half_written and (content := source.read(file.name)) is not None:
            target.write(f"report/{file.name}", content)


def _document(experiment: Experiment) -> dict[str, Any]:
    """The experiment as its file would say it with every default written out."""
    document = experiment.model_dump(mode="json", exclude_none=True)
    for axis in AXES.values():
        document[axis] = [{**choice["plugin"], "as": choice["label"]} for choice in document[axis]]
    return document


def _provenance(plan: Plan, found: Results, evaluations: Evaluations) -> dict[str, Any]:
    done = plan.pending({cell.id for cell in found.missing})
    return {cell.id: evaluations.content(cell)["provenance"] for cell in done.cells}


def _names(target: Storage) -> list[str]:
    return sorted(file.name for file in target.list())


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def _sha256(storage: Storage, name: str) -> str | None:
    content = storage.read(name)
    return None if content is None else hashlib.sha256(content).hexdigest()


def _package(experiment: Experiment, target: Storage) -> dict[str, Any]:
    """The description that programs read."""
    rows = {folder: _rows_below(folder, target) for folder in ("evaluations", "validation")}
    table = {"type": "table", "schema": _table_schema(results.SCHEMA)}
    samples = _table_schema(cell_file.SCHEMA)
    parquet = {"format": "parquet", "mediatype": "application/vnd.apache.parquet"}
    return {
        "$schema": "https://datapackage.org/profiles/2.0/datapackage.json",
        "name": experiment.name.lower(),
        "title": experiment.name,
        "description": experiment.question,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "resources": [
            {"name": "results", **_file(target, "results.parquet"), **parquet, **table},
            {"name": "results-csv", **_file(target, "results.csv"), "format": "csv", "mediatype": "text/csv", **table},
            *(
                {"name": name, "path": rows[folder], **parquet, "type": "table", "schema": samples}
                for name, folder in (("samples", "evaluations"), ("validation-samples", "validation"))
                if rows[folder]
            ),
        ],
    }


def _rows_below(folder: str, target: Storage) -> list[str]:
    return [name for name in _names(target) if name.startswith(f"{folder}/") and name.endswith(".parquet")]


def _file(target: Storage, name: str) -> dict[str, Any]:
    # No "bytes": frictionless counts those of no Parquet file, and then finds that none are too few.
    return {"path": name, "hash": f"sha256:{_sha256(target, name)}"}


def _table_schema(schema: pa.Schema) -> dict[str, Any]:
    return {
        "fields": [
            {"name": field.name, "type": _kind(field.type)}
            | ({"description": MEASURES[field.name]} if field.name in MEASURES else {})
            for field in schema
        ]
    }


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return "any"  # frictionless takes no array that pandas has read for an array
    if pa.types.is_integer(kind):
        return "integer"
    return "number" if pa.types.is_floating(kind) else "string"


def _card(plan: Plan, found: Results) -> str:
    """The description that people read."""
    experiment = plan.experiment
    rows = found.rows()
    states = Counter(row["state"] for row in rows)
    commits = sorted({str(row["git_commit"]) for row in rows})
    axes = {axis: ", ".join(choice.label for choice in getattr(experiment, axis)) for axis in AXES.values()}
    return f"""# {experiment.name}

{experiment.question or "An experiment that states no question."}

- Losses: {axes["losses"]}. Baseline: {experiment.baseline}.
- Backbones: {axes["backbones"]}. Datasets: {axes["datasets"]}. Seeds: {len(experiment.seeds)}.
- Models trained: {", ".join(f"{states[state]} {state}" for state in RESULTS)}, {len(found.missing)} missing.
- Commits of the code: {", ".join(commits)}.
- Licence: none is stated here; state one before you publish this.

## What is here

| file | holds |
|---|---|
| `results.parquet`, `results.csv` | one row a model: what it is, its measures, its costs |
| `evaluations/dataset=…/backbone=…/loss=…/ID.parquet` | one row a test sample of a model: {_columns()} |
| `validation/dataset=…/backbone=…/loss=…/ID.parquet` | the same of its validation split |
| `experiment.yaml` | the experiment, every default written out |
| `provenance.json`, `requirements.lock` | machines, versions, commits and seeds; the packages |
| `report/` | the report, where there was one |
| `earlier/` | models of earlier data or protocols, if any: in no table; `import FOLDER/earlier` takes them |
| `datapackage.json`, `croissant.json`, `{SUMS}` | descriptions and checksums for programs |

Each file of a model holds, under the metadata key `cell`, its recipe, learning curves and provenance as JSON.
Images are not here.

## Measures

{chr(10).join(f"- `{name}`: {meaning}." for name, meaning in MEASURES.items())}

## To use it

`pandas.read_parquet("results.parquet")` reads the table, and `pandas.read_parquet("evaluations")` all samples.
`sha256sum --check {SUMS}` checks the files. `orchestrator import FOLDER` takes the models into a workspace, where
they count as done.
"""


def _columns() -> str:
    return ", ".join(f"`{name}`" for name in cell_file.SCHEMA.names)


@dataclass(frozen=True)
class Imported:
    """What became of the cells of a folder; each of the problems is a sentence."""

    taken: tuple[str, ...]
    """Ids of cells that are done here now."""
    present: tuple[str, ...]
    """Ids of cells that were done here with the same file."""
    problems: tuple[str, ...]


def import_(folder: Path, evaluations: Evaluations) -> Imported:
    """Put the cells of an exported folder beside one's own; nothing that is there is overwritten.

    What cannot be taken is named, and the others are taken. What was taken is noted, whatever stops this.

    Raises:
        RequestError: The folder is not an exported one.
    """
    sums = _sums(folder)
    problems = [*_altered(folder, sums)]
    taken = list[str]()
    present = list[str]()
    seals = dict[str, str]()
    source = Evaluations(folder / "evaluations")
    own = _OwnSplits(evaluations)
    try:
        for name, cell in source.cells():
            listed = sums.get(f"evaluations/{name}")
            if listed is None:
                problems.append(f"{source.folder / name} is not in {SUMS} and is left out.")
            elif listed == _sha256(source.storage, name):
                try:
                    seal = _take(name, source, evaluations, own)
                except OrchestratorError as error:
                    problems.append(str(error))
                except Exception as error:  # noqa: BLE001 - whatever a stranger's file does, the others are taken
                    problems.append(f"{source.folder / name} cannot be taken ({type(error).__name__}: {error}).")
                else:
                    (present if seal is None else taken).append(cell)
                    seals |= {} if seal is None else {cell: seal}
    finally:
        if seals:
            origin.note_import(evaluations.folder.parent, str(folder.resolve()), _made_by(folder), seals)
    return Imported(tuple(taken), tuple(present), tuple(problems))


def _sums(folder: Path) -> Mapping[str, str]:
    """The checksums by the names of the files."""
    content = Storage(folder).read(SUMS)
    try:
        pairs = [line.split("  ", 1) for line in (content or b"").decode().splitlines()]
        if pairs:
            return {name: digest for digest, name in pairs}
    except ValueError:
        pass
    raise RequestError(f"{folder} is no exported experiment: it has no readable {SUMS}.")


def _altered(folder: Path, sums: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each file that is not as it was exported."""
    there = {file.name for file in Storage(folder).list()}
    for name, digest in sums.items():
        if name not in there:
            yield f"{folder / name} is missing."
        elif _sha256(Storage(folder), name) != digest:
            yield f"{folder / name} was altered after it was exported; nothing is taken from it."


def _made_by(folder: Path) -> dict[str, Any]:
    """What an exported folder tells of the code that made it."""
    try:
        return dict(json.loads((folder / "provenance.json").read_bytes())["export"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


class _OwnSplits:
    """The test splits of the cells that were trained, or rerun with the same numbers, in a workspace."""

    def __init__(self, evaluations: Evaluations) -> None:
        self._evaluations = evaluations
        self._origins = origin.Origins.of(evaluations.folder.parent)
        self._known: dict[str, tuple[int, str] | None] = {}

    def check(self, theirs: Whole) -> None:
        """Compare the samples and labels of a cell's rows with those of one's own cells of the same data.

        Raises:
            DamagedFileError: They are others.
        """
        key = splits.shared(theirs.footer.content["recipe"])
        if key is None or not theirs.rows.num_rows:
            return
        if key not in self._known:
            self._known[key] = self._find(key, theirs.footer.content["recipe"]["dataset"]["name"])
        own = self._known[key]
        split = splits.of_rows(theirs.rows)
        if own and own[1] != split:
            raise DamagedFileError(
                f"{theirs.footer.path} has other samples or labels in its {theirs.rows.num_rows} test rows than the "
                f"cells of the same data that were trained or rerun here, which have {own[0]}."
            )

    def _find(self, key: str, dataset: str) -> tuple[int, str] | None:
        here = f"{cell_file.partition(dataset)}/"
        for name, footer in self._evaluations.footers(
            name for name in self._evaluations.names() if name.startswith(here)
        ):
            is_own = self._origins.origin(footer.seal, footer.signed) != "unverified"
            if is_own and footer.content["samples"] and splits.shared(footer.content["recipe"]) == key:
                with suppress(DamagedFileError, FileNotFoundError):
                    rows = self._evaluations.checked(name, validation=False).rows
                    return rows.num_rows, splits.of_rows(rows)
        return None


def _take(name: str, source: Evaluations, target: Evaluations, own: _OwnSplits) -> str | None:
    """Copy a cell's file, and tell its seal; None where the same is there.

    Raises:
        DamagedFileError: The file, or the one that is there, is damaged, or they differ; or it has other test samples.
    """
    check(theirs := source.checked(name))
    own.check(theirs)
    try:
        ours = target.checked(name)
    except FileNotFoundError:
        target.take(name, theirs)
        return theirs.footer.seal or ""
    if ours.file != theirs.file:
        scores = "the same scores" if ours.rows.equals(theirs.rows) else "other scores"
        raise DamagedFileError(
            f"{target.folder / name} is there already, from another training with {scores}, and stays as it is."
        )
    return None
