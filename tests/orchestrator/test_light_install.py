"""The wheel alone, in an environment of its own: small, without what trains, and all that reads results works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import orchestrator
import parts
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.report.web.figure import packed
from orchestrator.stores import Stores

if TYPE_CHECKING:
    from orchestrator.records.files.evaluations import Account
    from trainers.evaluation import Evaluation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
MOST = 500e6
"""Bytes that an install may take."""

HEAVY = {
    "alembic", "matplotlib", "mlflow", "pandas", "pillow", "plotly", "ray", "scikit-learn", "sqlalchemy", "timm",
    "torch", "torchvision",
}  # fmt: skip
NO_INDEX = "NOT TESTED: no package index answers"


class Light(NamedTuple):
    """An environment into which only the wheel was installed, and a folder to work in."""

    python: Path
    folder: Path

    def run(self, *words: str, code: int = 0) -> str:
        """What `python -m orchestrator` prints; on standard error, if it fails."""
        variables = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "COLUMNS": "200"}
        command = [self.python, "-m", "orchestrator", *words]
        done = subprocess.run(
            command, cwd=self.folder, env=variables, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, done.stderr
        return done.stderr if code else done.stdout


def pip(python: str | Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "pip", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Light:
    folder = tmp_path_factory.mktemp("light")
    if pip(sys.executable, "download", "--no-deps", "--dest", str(folder / "probe"), "hatchling").returncode:
        (pytest.fail if parts.REQUIRED else pytest.skip)(NO_INDEX)
    built = pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(folder / "dist"), ".")
    assert built.returncode == 0, built.stderr
    (wheel,) = (folder / "dist").iterdir()
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    installed = pip(python, "install", "--constraint", "requirements.lock", str(wheel))
    assert installed.returncode == 0, installed.stderr
    return Light(python, folder)


@pytest.fixture
def results(light: Light, an_account: Callable[..., Account], drawn: Callable[..., Evaluation]) -> tuple[Light, Path]:
    """The light install, and a workspace of the quickstart that was trained elsewhere, with its registry."""
    workspace = light.folder / "runs"
    study = orchestrator.results(workspace, ROOT / "experiments" / "quickstart.yaml")
    for cell in study.plan.cells:
        found = drawn(seed=cell.seed, skill=1.0 if cell.loss == "softmax" else 4.0)
        Evaluations(workspace / "evaluations").publish(cell.recipe, an_account(cell, found), found)
    with Stores.at(str(workspace)).registry() as records:
        records.plan(study.plan)
    return light, workspace


def test_it_takes_less_than_500_mb_and_has_nothing_that_trains(light: Light) -> None:
    names = {each["name"].lower() for each in json.loads(pip(light.python, "list", "--format", "json").stdout)}
    assert "loss-orchestrator" in names
    assert names & HEAVY == set()
    files = (path for path in (light.folder / "venv").rglob("*") if path.is_file() and not path.is_symlink())
    assert sum(path.stat().st_size for path in files) < MOST


def test_it_plans_compares_and_reports_what_was_trained_elsewhere(results: tuple[Light, Path]) -> None:
    light, _ = results
    planned = json.loads(light.run("plan", "experiments/quickstart.yaml", "--json"))
    assert (planned["total"], planned["done"]) == (40, 40)
    assert planned["cautions"][0].startswith("The registry is not read, as SQLAlchemy is not installed")
    assert "in all, 0 done" in light.run("plan", "experiments/full.yaml")
    compare = ("compare", "experiments/quickstart.yaml", "--format", "json")
    here = subprocess.run(
        [sys.executable, "-m", "orchestrator", *compare, "--workspace", str(light.folder / "runs")],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert without_owed(light.run(*compare)) == without_owed(here.stdout)
    for form in ("text", "markdown", "latex"):
        assert "bce" in light.run(*compare[:-1], form)
    assert light.run("report", "experiments/quickstart.yaml") == "Report: runs/reports/quickstart/index.html\n"
    page = (light.folder / "runs" / "reports" / "quickstart" / "index.html").read_text(encoding="utf-8")
    assert packed() in page
    assert "40 of 40 cells" in light.run("aggregate", "experiments/quickstart.yaml")


def without_owed(told: str) -> dict[str, Any]:
    """A comparison as JSON, without the replicas that this machine would train: the light install trains none."""
    return json.loads(told) | {"owed": 0}


def test_it_judges_scores_from_anywhere(light: Light) -> None:
    rows = [
        f"{system},{seed},{sample},{sample % 3},{(sample + ((7 * sample + 13 * seed) % 100 < wrong + seed)) % 3}"
        for system, wrong in (("old", 40), ("new", 10))
        for seed in range(5)
        for sample in range(200)
    ]
    table = "\n".join(["system,seed,sample,label,prediction", *rows])
    (light.folder / "scores.csv").write_text(table, encoding="ascii")
    said = light.run("judge", "scores.csv", "--baseline", "old", "--format", "json", "--report")
    assert [each["verdict"] for each in json.loads(said)["claims"]] == ["supported"]
    assert packed() in (light.folder / "scores.html").read_text(encoding="utf-8")


def test_it_lists_what_experiments_can_name(light: Light) -> None:
    assert "bce_unified" in light.run("list", "losses")
    assert "compare" in light.run("--help")


@pytest.mark.parametrize("words", [("launch", "experiments/quickstart.yaml"), ("doctor",), ("ui",), ("status",)])
def test_a_verb_that_trains_or_opens_a_store_prints_the_line_to_type(light: Light, words: tuple[str, ...]) -> None:
    said = light.run(*words, code=2)
    assert said.startswith(f"{words[0]} needs ")
    assert said.endswith(": pip install 'loss-orchestrator[train]'\n")
    assert said.count("\n") == 1
