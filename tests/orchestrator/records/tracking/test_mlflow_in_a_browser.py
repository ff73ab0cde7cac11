"""Two real cells in MLflow's own UI, seen and compared in a browser as a user would."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import psutil
import pytest
from mlflow import MlflowClient
from playwright.sync_api import expect

import program
from orchestrator.errors import RequestError
from orchestrator.experiment.files import filed
from orchestrator.experiment.plan import plan
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.results import aggregate
from orchestrator.records.tracking import saved_view
from orchestrator.records.tracking.mlflow_ui import link
from orchestrator.workspace import Workspace

ASKED = """\
name: tiny
question: Which loss is better here?
losses: [softmax, bce_unified]
backbones: [resnet8]
datasets: [digits]
seeds: 1
recipe: {epochs: 1, batch_size: 128}
baseline: softmax
claims:
  - {id: better, metric: uniform_accuracy, challenger: bce_unified, baseline: softmax, direction: higher, margin: 0.01}
"""


PATIENCE = 120_000
"""Milliseconds for what takes one or two seconds where nothing else runs: drawing charts is hard work."""

expect.set_options(timeout=PATIENCE)


class Launched(NamedTuple):
    """A server that has two runs, and their uniform accuracy by the names of their runs."""

    url: str
    file: Path
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
    return Launched(mlflow_server, file, {f"{row['loss']}/resnet8/digits/s0": row["uniform_accuracy"] for row in rows})


@pytest.fixture
def tab(launched: Launched, chromium: Any) -> Iterator[Any]:
    """A page on which nothing fails, and which asks nobody but the server."""
    page = chromium.new_page(viewport={"width": 1800, "height": 1000})
    page.set_default_timeout(PATIENCE)
    page.add_init_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
    faults = list[str]()
    strangers = list[str]()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request",
        lambda request: request.url.startswith((launched.url, "data:", "blob:")) or strangers.append(request.url),
    )
    yield page
    page.close()
    assert faults == []
    assert strangers == []


def row(tab: Any, name: str) -> Any:
    return tab.get_by_role("row").filter(has_text=name)


def halves(tab: Any, name: str) -> Any:
    """All of a row, which MLflow draws in two halves."""
    identity = row(tab, name).first.get_attribute("row-id")
    return tab.locator(f'[row-id="{identity}"]')


def see_charts(tab: Any) -> None:
    tab.locator("label").filter(has=tab.locator("input[value=CHART]")).click()


def views(launched: Launched) -> dict[str, dict[str, Any]]:
    """The views that are saved in MLflow, with their envelopes, by name."""
    found = MlflowClient(tracking_uri=launched.url).get_experiment_by_name("tiny")
    assert found is not None
    saved = [value for tag, value in found.tags.items() if tag.startswith("mlflow.sharedViewState.")]
    return {json.loads(value)["name"]: {**json.loads(value), "state": saved_view.state_of(value)} for value in saved}


def test_the_printed_link_shows_losses_with_their_charts_and_runs_to_compare(
    launched: Launched, tab: Any, tmp_path: Path
) -> None:
    told = program.run("ui", launched.file, "--tracking", launched.url, folder=tmp_path)
    assert told.returncode == 0, told.stderr
    said, address = told.stdout.splitlines()
    assert launched.url in said
    tab.goto(address)
    for name, value in launched.uniform.items():
        loss = name.partition("/")[0]
        expect(halves(tab, f"Group: {loss}").filter(has_text=f"{value:.6f}"[:-1])).to_be_visible()
    for stranger in ("comparison", "Unassigned"):
        expect(row(tab, stranger)).to_have_count(0)
    tab.get_by_text("Which loss is better here?").wait_for()
    tab.get_by_role("link", name="report", exact=True).first.wait_for()
    see_charts(tab)
    sections = tab.get_by_test_id("experiment-view-compare-runs-section-header")
    for number, section in enumerate(("Accuracy by loss", "Learning curves")):
        expect(sections.nth(number)).to_contain_text(section)
        expect(sections.nth(number)).to_contain_text("(3)")
    expect(tab.locator(".js-plotly-plot").first.locator(".bars .point")).to_have_count(2)
    tab.screenshot(path=tmp_path / "mlflow-charts.png")
    tab.get_by_role("button", name="Group by").locator("[role=button]").click()  # the cross
    for name in launched.uniform:
        row(tab, name).get_by_role("checkbox").first.check()
    tab.get_by_role("button", name="Compare", exact=True).click()
    tab.get_by_text("Comparing 2 Runs").wait_for()
    for name in launched.uniform:
        tab.get_by_text(name, exact=True).first.wait_for()
    tab.screenshot(path=tmp_path / "mlflow-compared.png")


def test_where_the_view_may_not_be_read_the_link_is_to_the_runs(
    launched: Launched, tab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_view, "VERIFIED", "3.99")
    plain = link(launched.url, launched.url, "tiny")
    assert saved_view.KEY not in plain
    tab.goto(plain)
    for name in (*launched.uniform, "comparison"):
        row(tab, name).first.wait_for()
    expect(tab.get_by_text("Group: softmax")).to_have_count(0)


def test_an_experiment_that_was_never_launched_has_no_link(launched: Launched) -> None:
    with pytest.raises(RequestError, match="MLflow knows no experiment 'unknown': launch it first"):
        link(launched.url, launched.url, "unknown")


@pytest.mark.slow
def test_mlflow_itself_saves_the_view_as_a_launch_does(launched: Launched, tab: Any) -> None:
    """If this fails after an update, see what `Save view` of the new version writes, and change `saved_view`."""
    tab.goto(link(launched.url, launched.url, "tiny"))
    row(tab, "Group: softmax").first.wait_for()
    tab.get_by_role("button", name="Override saved view").click()  # makes it that of this browser
    tab.get_by_test_id("saved-views-trigger").click()
    tab.get_by_test_id("saved-views-save-current").click()
    tab.get_by_test_id("save-view-name-input").fill("by hand")
    tab.get_by_test_id("save-view-save-button").click()
    tab.get_by_test_id("share-link-input").wait_for()
    ours = views(launched)[saved_view.NAME]
    theirs = views(launched)["by hand"]
    assert theirs.keys() == ours.keys()
    changing = ("columnOrder", "columnWidths")  # by the width of the window
    assert {**theirs["state"], **dict.fromkeys(changing)} == {**ours["state"], **dict.fromkeys(changing)}


@pytest.mark.slow
def test_the_link_comes_after_a_line_at_once_and_when_the_server_answers(tmp_path: Path) -> None:
    process = program.start("ui", "--workspace", tmp_path / "runs", folder=tmp_path)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Opening MLflow's UI on ")
        spent = psutil.Process(process.pid).cpu_times()
        assert spent.user + spent.system < 1.0
        address = process.stdout.readline().strip()
        with urlopen(address) as page:
            assert b"MLflow" in page.read()
        assert process.stdout.readline() == "Ctrl-C ends it.\n"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0
