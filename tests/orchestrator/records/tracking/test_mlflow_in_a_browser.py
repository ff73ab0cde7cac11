"""Two real cells in MLflow's own UI, compared in a browser as a user would."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import expect

import program
from orchestrator.experiment.files import filed
from orchestrator.experiment.plan import plan
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.results import aggregate
from orchestrator.records.tracking.mlflow_ui import serve
from orchestrator.workspace import Workspace

ASKED = """\
name: tiny
losses: [softmax, bce_unified]
backbones: [resnet8]
datasets: [digits]
seeds: 1
recipe: {epochs: 1, batch_size: 128}
baseline: softmax
"""


class Launched(NamedTuple):
    """A server that has two runs, and their uniform accuracy by the names of their runs."""

    url: str
    uniform: dict[str, float]


@pytest.fixture(scope="module")
def launched(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Launched:
    folder = tmp_path_factory.mktemp("ui")
    file = folder / "tiny.yaml"
    workspace = folder / "runs"
    file.write_text(ASKED, encoding="utf-8")
    options = ["--executor", "inline", "--workspace", str(workspace), "--tracking", mlflow_server]
    done = program.run("launch", file, *options, folder=folder)
    assert done.returncode == 0, done.stderr
    place = Workspace.at(str(workspace))
    rows = aggregate(plan(filed(file)), Evaluations(place.evaluations)).rows()
    return Launched(mlflow_server, {f"{row['loss']}/resnet8/digits/s0": row["uniform_accuracy"] for row in rows})


def row(tab: Any, name: str) -> Any:
    return tab.get_by_role("row").filter(has_text=name)


def show_column(tab: Any, metric: str) -> None:
    tab.get_by_role("button", name="Columns").click()
    tab.get_by_placeholder("Search columns").fill(metric)
    tab.locator("span", has_text=re.compile(f"^{metric}$")).first.click()
    tab.keyboard.press("Escape")


def test_runs_are_compared_by_name_and_by_uniform_accuracy(launched: Launched, chromium: Any, tmp_path: Path) -> None:
    with serve(launched.url, None, tmp_path / "ui.log") as url:
        tab = chromium.new_page(viewport={"width": 1800, "height": 1000})
        faults = list[str]()
        strangers = list[str]()
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on(
            "request", lambda request: request.url.startswith((url, "data:", "blob:")) or strangers.append(request.url)
        )
        found = tab.request.get(f"{url}/ajax-api/2.0/mlflow/experiments/get-by-name?experiment_name=tiny")
        tab.goto(f"{url}/#/experiments/{found.json()['experiment']['experiment_id']}/runs")
        for name in launched.uniform:
            row(tab, name).first.wait_for()
        show_column(tab, "uniform_accuracy")
        for name, value in launched.uniform.items():
            identity = row(tab, name).first.get_attribute("row-id")
            expect(tab.locator(f"[row-id='{identity}']", has_text=str(value))).to_be_visible()
        tab.screenshot(path=tmp_path / "mlflow-runs.png")
        for name in launched.uniform:
            row(tab, name).get_by_role("checkbox").first.check()
        tab.get_by_role("button", name="Compare", exact=True).click()
        tab.get_by_text("Comparing 2 Runs").wait_for()
        for name in launched.uniform:
            tab.get_by_text(name, exact=True).first.wait_for()
        tab.screenshot(path=tmp_path / "mlflow-compared.png")
        tab.close()
    assert faults == []
    assert strangers == []
    assert (tmp_path / "mlflow-runs.png").stat().st_size > 10_000
