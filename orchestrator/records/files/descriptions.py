"""What an exported folder says of itself, for people and for programs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from orchestrator.experiment.choices import AXES
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Plan
from orchestrator.outcome import RESULTS
from orchestrator.records.files import cell_file, cell_rows
from orchestrator.records.files.checksums import SUMS, file_names, sha256
from orchestrator.records.files.class_names import Names
from orchestrator.records.files.results import Results
from orchestrator.records.files.storage import Storage
from trainers.metrics import MEASURES

_ROWS = {
    "samples": "evaluations",
    "validation-samples": "validation",
    "certification-samples": "certification",
}
"""Where the rows of resources are."""


def data_package(experiment: Experiment, target: Storage) -> dict[str, Any]:
    """The description that programs read."""
    table = {"type": "table", "schema": _table_schema(cell_rows.SCHEMA)}
    samples = _table_schema(cell_file.SCHEMA)
    parquet = {"format": "parquet", "mediatype": "application/vnd.apache.parquet"}
    text = {"format": "csv", "mediatype": "text/csv"}
    resources = [{"name": "results", **_file(target, "results.parquet"), **parquet, **table}]
    if "classes.csv" in file_names(target):
        resources.append({"name": "classes", **_file(target, "classes.csv"), **text})
    resources.append({"name": "results-csv", **_file(target, "results.csv"), **text, **table})
    for name, folder in _ROWS.items():
        if rows := rows_below(folder, target):
            resources.append({"name": name, "path": rows, **parquet, "type": "table", "schema": samples})
    return {
        "$schema": "https://datapackage.org/profiles/2.0/datapackage.json",
        "name": experiment.name.lower(),
        "title": experiment.name,
        "description": experiment.question,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "resources": resources,
    }


def rows_below(folder: str, target: Storage) -> list[str]:
    """The names of the Parquet files in a part of the folder."""
    return [name for name in file_names(target) if name.startswith(f"{folder}/") and name.endswith(".parquet")]


def _file(target: Storage, name: str) -> dict[str, Any]:
    # No "bytes": frictionless counts those of no Parquet file, and then finds that none are too few.
    return {"path": name, "hash": f"sha256:{sha256(target, name)}"}


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


def classes_table(names: Names) -> str:
    """The names of the classes by data set and label, as CSV."""
    sink = io.StringIO()
    table = csv.writer(sink, lineterminator="\n")
    table.writerow(["dataset", "label", "class"])
    table.writerows([dataset, label, name] for dataset, classes in names.items() for label, name in enumerate(classes))
    return sink.getvalue()


_APART = "| `certification/…/ID.parquet` | the same of test images that were kept apart for a promise |\n"
_CLASSES = "| `classes.csv` | the names of the classes by data set and label |\n"
_LEFT = """\
| `logs/ID.txt` | what the command of a model printed |
| `models/dataset=…/backbone=…/loss=…/ID.onnx` | the model itself, where the command left it |
"""


def data_card(plan: Plan, found: Results, names: Names) -> str:
    """The description that people read."""
    experiment = plan.experiment
    rows = found.rows()
    states = Counter(row["state"] for row in rows)
    # An imported cell brings its own, which is shown only where it is one.
    commits = sorted({re.sub(r"[^\w.+-]", "?", str(row["git_commit"])) for row in rows})
    axes = {axis: ", ".join(choice.label for choice in getattr(experiment, axis)) for axis in AXES.values()}
    classes = [f"- Classes of {dataset}: {', '.join(named)}.\n" for dataset, named in names.items()]
    is_certified = experiment.operation is not None and experiment.operation.certify
    return f"""# {experiment.name}

{experiment.question or "An experiment that states no question."}

- Losses: {axes["losses"]}. Baseline: {experiment.baseline}.
- Backbones: {axes["backbones"]}. Datasets: {axes["datasets"]}. Seeds: {len(experiment.seeds)}.
{"".join(classes)}\
- Models trained: {", ".join(f"{states[state]} {state}" for state in RESULTS)}, {len(found.missing)} missing.
- Commits of the code: {", ".join(commits)}.
- Licence: none is stated here; state one before you publish this.

## What is here

| file | holds |
|---|---|
| `results.parquet`, `results.csv` | one row a model: what it is, its measures, its costs |
| `evaluations/dataset=…/backbone=…/loss=…/ID.parquet` | one row a test sample of a model: {_columns()} |
| `validation/dataset=…/backbone=…/loss=…/ID.parquet` | the same of its validation split |
{_APART if is_certified else ""}\
{_CLASSES if names else ""}\
{_LEFT if experiment.trainer else ""}\
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


def resolved(experiment: Experiment) -> dict[str, Any]:
    """The experiment as its file would say it with every default written out."""
    document = experiment.model_dump(mode="json", exclude_none=True)
    for axis in AXES.values():
        document[axis] = [{**choice["plugin"], "as": choice["label"]} for choice in document[axis]]
    return document


def as_json(content: Any) -> bytes:
    """JSON as it is written."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
