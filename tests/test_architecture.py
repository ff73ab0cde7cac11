"""The import contracts of pyproject.toml: each breaks when a copy of the packages gets an import that it forbids."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
FLOORS = [each["name"] for each in CONTRACTS if each["type"] == "layers" and each.get("exhaustive")]
TORCH = "Torch only in trainers and execution, with two exceptions"
NO_STORE = "Planning, statistics, analysis and reports reach no store and no GPU stack, not even through others"

FORBIDDEN = [
    ("The orchestrator's floors", "orchestrator/sentences.py", "import orchestrator.privacy"),
    ("Trainers stand under the orchestrator", "trainers/seeds.py", "import orchestrator.sentences"),
    (
        "The floors of thresholds",
        "orchestrator/thresholds/choice.py",
        "import orchestrator.thresholds.reading",
    ),
    ("The trainers' floors", "trainers/losses/hinge.py", "import trainers.datasets.digits"),
    ("The floors of adaptive", "orchestrator/adaptive/optuna_search.py", "import orchestrator.adaptive.seeds"),
    ("The floors of analysis", "orchestrator/analysis/limits.py", "import orchestrator.analysis.spreads"),
    ("The floors of cli", "orchestrator/cli/results.py", "import orchestrator.cli.upkeep"),
    ("The floors of decision", "orchestrator/decision/promise.py", "import orchestrator.decision.per_class"),
    ("The floors of deployment", "orchestrator/deployment/model_file.py", "import orchestrator.deployment.scored"),
    ("The floors of diagnosis", "orchestrator/diagnosis/mending.py", "import orchestrator.diagnosis.machine"),
    ("The floors of execution", "orchestrator/execution/waiting.py", "import orchestrator.execution.watchdog"),
    ("The floors of experiment", "orchestrator/experiment/looks.py", "import orchestrator.experiment.checks"),
    ("The floors of judging", "orchestrator/judging/columns.py", "import orchestrator.judging.runs"),
    ("The floors of launching", "orchestrator/launching/webhook.py", "import orchestrator.launching.run_plan"),
    ("The floors of pairing", "orchestrator/pairing/evidence.py", "import orchestrator.pairing.blocks"),
    ("The floors of pricing", "orchestrator/pricing/rates.py", "import orchestrator.pricing.devices"),
    ("The floors of process", "orchestrator/process/signals.py", "import orchestrator.process.time_limit"),
    (
        "The floors of provenance",
        "orchestrator/provenance/fingerprints.py",
        "import orchestrator.provenance.environment",
    ),
    ("The floors of records", "orchestrator/records/energy.py", "import orchestrator.records.files.pages"),
    ("The floors of records.files", "orchestrator/records/files/pages.py", "import orchestrator.records.files.storage"),
    ("The floors of records.sql", "orchestrator/records/sql/schema.py", "import orchestrator.records.sql.database"),
    (
        "The floors of records.tracking",
        "orchestrator/records/tracking/spool.py",
        "import orchestrator.records.tracking.models",
    ),
    ("The floors of report", "orchestrator/report/numbers.py", "import orchestrator.report.styles"),
    (
        "The floors of report.terminal",
        "orchestrator/report/terminal/noise.py",
        "import orchestrator.report.terminal.plan",
    ),
    ("The floors of report.web", "orchestrator/report/web/settings.py", "import orchestrator.report.web.verdicts"),
    (
        "The floors of report.wording",
        "orchestrator/report/wording/claims.py",
        "import orchestrator.report.wording.verdicts",
    ),
    (
        "The floors of reproduction",
        "orchestrator/reproduction/left_out.py",
        "import orchestrator.reproduction.anchor_log",
    ),
    ("The floors of statistics", "orchestrator/statistics/bayes.py", "import orchestrator.statistics.null"),
    ("No import circle at any depth", "trainers/metrics/uniform.py", "import trainers.metrics.operating_points"),
    ("Ray only in execution", "orchestrator/diagnosis/mending.py", "def f():\n    import ray"),
    ("MLflow only in records/tracking", "orchestrator/records/energy.py", "from mlflow.entities import Run"),
    ("SQLAlchemy and Alembic only in records/sql", "orchestrator/diagnosis/mending.py", "import sqlalchemy.orm"),
    (
        "PyArrow only in records/files and where score files and lots are read",
        "orchestrator/records/tracking/spool.py",
        "import pyarrow.parquet",
    ),
    ("Jinja only in report/web", "orchestrator/report/styles.py", "import jinja2"),
    ("Optuna only in adaptive", "orchestrator/experiment/space.py", "import optuna"),
    ("SciPy only in statistics", "orchestrator/analysis/limits.py", "from scipy import stats"),
    ("pandas only in the study and in data sets", "orchestrator/diagnosis/mending.py", "import pandas"),
    (
        "What data sets and GPUs need only in trainers and provenance",
        "orchestrator/diagnosis/mending.py",
        "def f():\n    import sklearn",
    ),
    ("ONNX only where models are written and run", "orchestrator/deployment/lot.py", "import onnxruntime"),
    ("Typer only in the command line", "orchestrator/launching/webhook.py", "import typer"),
    ("Rich only where something is printed", "orchestrator/records/energy.py", "from rich.table import Table"),
    (TORCH, "orchestrator/diagnosis/machine.py", "def f():\n    import torch"),
    (NO_STORE, "orchestrator/analysis/limits.py", "import orchestrator.records.sql.schema"),
]
"""Contract, file, and the code that breaks it."""

CHECK = """
import json, sys
from importlinter import api
from importlinter.application import use_cases

options = use_cases.read_user_options("pyproject.toml")
use_cases._register_built_in_contract_types()

def broken():
    report = use_cases.create_report(options, cache_dir=None)
    return [contract.name for contract, check in report.get_contracts_and_checks() if not check.kept]

found = [broken()]
for file, code in json.loads(sys.argv[1]):
    before = open(file).read()
    with open(file, "a") as grown:
        grown.write("\\n" + code + "\\n")
    found.append(broken())
    open(file, "w").write(before)
for floor in json.loads(sys.argv[2]):
    open(floor + "/stray.py", "w").close()
found.append(broken())
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    for package in ("orchestrator", "trainers"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.slow
def test_each_contract_breaks_alone_when_an_import_that_it_forbids_is_there(copy: Path) -> None:
    rooms = [room.replace(".", "/") for each in CONTRACTS if each.get("exhaustive") for room in each["containers"]]
    arguments = [json.dumps([case[1:] for case in FORBIDDEN]), json.dumps(rooms)]
    run = subprocess.run(
        [sys.executable, "-c", CHECK, *arguments], cwd=copy, capture_output=True, text=True, timeout=250, check=False
    )
    assert run.returncode == 0, run.stderr
    untouched, *each, strays = json.loads(run.stdout.splitlines()[-1])
    assert untouched == []
    assert [[contract] for contract, *_ in FORBIDDEN] == each
    assert strays == FLOORS


def test_no_contract_is_without_a_case() -> None:
    assert [contract for contract, *_ in FORBIDDEN] == [each["name"] for each in CONTRACTS]


def test_the_root_of_the_program_is_seen_at_a_glance() -> None:
    assert len(list((ROOT / "orchestrator").glob("*.py"))) <= 10


def test_a_class_name_means_one_thing_with_three_exceptions() -> None:
    found = defaultdict[str, list[str]](list)
    for package in ("orchestrator", "trainers"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_bytes())):
                if isinstance(node, ast.ClassDef):
                    found[node.name].append(file.relative_to(ROOT).as_posix())
    assert {name: files for name, files in found.items() if len(files) > 1} == {
        # Plug-ins build on one of the two; another name would change the code by which old results are known.
        "Frozen": ["trainers/datasets/frozen.py", "trainers/plugin.py"],
        "Interval": ["orchestrator/statistics/intervals.py", "trainers/metrics/over_identities.py"],
        "Splits": ["trainers/data.py", "trainers/datasets/decoded.py"],
    }


LOAD = """
import json, sys, importlib
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted(set(sys.argv[2:]) & set(sys.modules))))
"""


def loaded(folder: Path) -> list[str]:
    """The heavy packages that are there once everything is imported that the last contract speaks of."""
    contract = next(each for each in CONTRACTS if each["name"] == NO_STORE)
    sources = contract["source_modules"]
    names = [
        ".".join(file.relative_to(folder).with_suffix("").parts)
        for path in (folder / source.replace(".", "/") for source in sources)
        for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")])
    ]
    assert len(names) > len(sources)
    run = subprocess.run(
        [sys.executable, "-c", LOAD, json.dumps(names), *contract["forbidden_modules"]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(run.stdout)


def test_planning_and_judging_load_no_store_and_no_gpu_stack(copy: Path) -> None:
    assert loaded(copy) == []


def test_an_import_that_waits_in_no_function_is_seen_however_deep_it_is(copy: Path) -> None:
    deep = copy / "trainers" / "metrics" / "traits.py"
    before = deep.read_text(encoding="utf-8")
    deep.write_text(before.replace("from typing", "import sqlalchemy\nfrom typing", 1), encoding="utf-8")
    try:
        assert loaded(copy) == ["sqlalchemy"]
    finally:
        deep.write_text(before, encoding="utf-8")
