"""Results in a notebook, from the files of a launch."""

from __future__ import annotations

import ast
import doctest
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich import console, jupyter

import orchestrator
import orchestrator.notebook
from orchestrator.errors import DamagedFileError, ExperimentError, NewerFormatError, RequestError
from orchestrator.experiment import files
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import plan
from orchestrator.experiment.reading import load
from orchestrator.records.files.asked import keep
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.stores import Stores
from orchestrator.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.records.files.evaluations import Account
    from trainers.evaluation import Evaluation


@pytest.fixture
def workspace(tmp_path: Path, an_account: Callable[..., Account], evaluation: Evaluation) -> Path:
    """The quickstart's cells of two losses, written down rather than trained."""
    for cell in orchestrator.results(tmp_path, "quickstart").plan.cells:
        if cell.loss in ("softmax", "bce_unified"):
            Evaluations(tmp_path / "evaluations").publish(cell.recipe, an_account(cell), evaluation)
    return tmp_path


@pytest.fixture
def quickstart(
    tmp_path: Path,
    an_account: Callable[..., Account],
    drawn: Callable[..., Evaluation],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder whose workspace `runs` has the cells of the quickstart, written down, not trained; we are there."""
    (tmp_path / "experiments").symlink_to(Path("experiments").resolve())
    monkeypatch.chdir(tmp_path)
    for cell in orchestrator.results("runs", "quickstart").plan.cells:
        found = drawn(seed=cell.seed, skill=1.0 if cell.loss == "softmax" else 4.0)
        Evaluations(tmp_path / "runs" / "evaluations").publish(cell.recipe, an_account(cell, found), found)
    return tmp_path


@pytest.mark.usefixtures("quickstart")
def test_the_notebooks_example_gives_what_it_shows() -> None:
    result = doctest.testmod(orchestrator.notebook, globs={})
    assert not result.failed
    assert result.attempted


def test_the_tutorial_notebook_runs_from_a_workspace_alone_and_shows_something_in_every_cell(quickstart: Path) -> None:
    tutorial = json.loads((Path(__file__).parents[2] / "docs" / "tutorial.ipynb").read_text(encoding="utf-8"))
    keep(load(Path("experiments") / "quickstart.yaml"), quickstart / "runs" / "experiments" / "quickstart.json")
    (quickstart / "experiments").unlink()
    names = dict[str, Any]()
    shown = list[Any]()
    for cell in tutorial["cells"]:
        if cell["cell_type"] == "code":
            *statements, last = ast.parse("".join(cell["source"])).body
            assert isinstance(last, ast.Expr)
            exec(compile(ast.Module(statements, []), "tutorial.ipynb", "exec"), names)  # noqa: S102 - our own cells
            shown.append(eval(compile(ast.Expression(last.value), "tutorial.ipynb", "eval"), names))  # noqa: S307
    assert all(len(repr(each)) < 2_000 for each in shown)
    assert sum(hasattr(each, "_repr_html_") for each in shown) == 4
    assert ("uniform", "resnet8", "supported", 5) in shown[2]
    assert (quickstart / "thresholds.html").stat().st_size < 1_000_000


EXECUTE = """
import nbclient, nbformat
notebook = nbformat.read("tutorial.ipynb", 4)
nbclient.NotebookClient(notebook, kernel_name="python3").execute()
nbformat.write(notebook, "done.ipynb")
"""


@pytest.mark.slow
def test_the_tutorial_notebook_runs_in_a_kernel_and_each_cell_has_a_short_plain_text(quickstart: Path) -> None:
    root = Path(__file__).parents[2]
    keep(load(Path("experiments") / "quickstart.yaml"), quickstart / "runs" / "experiments" / "quickstart.json")
    (quickstart / "experiments").unlink()
    shutil.copy(root / "docs" / "tutorial.ipynb", quickstart)
    private = {name: str(quickstart / "jupyter") for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR")}
    around = {**os.environ, **private, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", EXECUTE], cwd=quickstart, env=around, check=True)
    done = json.loads((quickstart / "done.ipynb").read_text(encoding="utf-8"))
    shown = [cell["outputs"] for cell in done["cells"] if cell["cell_type"] == "code"]
    found = [[each["data"] for each in outputs if each["output_type"] == "execute_result"] for outputs in shown]
    assert [len(outputs) for outputs in shown] == [len(results) for results in found] == [1] * len(shown)
    assert all(len("".join(data["text/plain"])) < 2_000 for (data,) in found)
    assert sum("text/html" in data for (data,) in found) == 4
    assert "<Figure: " in "".join(found[3][0]["text/plain"])


def test_what_a_notebook_shows_has_a_short_plain_text(workspace: Path) -> None:
    study = orchestrator.results(workspace, "quickstart")
    assert repr(study.compare()) == "<Comparison of 'quickstart': 8 lines; 6 undecided>"
    assert all(len(repr(each)) < 100 for each in study.curves)
    assert len(repr(study.plot_differences())) < 100


def test_results_are_a_data_frame_with_one_row_a_cell(workspace: Path) -> None:
    frame = orchestrator.results(workspace, "quickstart").to_pandas()
    assert len(frame) == 20
    assert set(frame["loss"]) == {"softmax", "bce_unified"}


def test_results_compare_themselves_and_show_it(workspace: Path) -> None:
    study = orchestrator.results(workspace, "quickstart")
    assert study.compare().missing == 20
    assert "bce_unified" in study._repr_html_()


def test_they_need_neither_the_file_nor_its_folder(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = load(Path("experiments") / "quickstart.yaml")
    keep(asked, workspace / "experiments" / "quickstart.json")
    elsewhere = workspace / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(files, "filed", lambda file: pytest.fail(f"{file} was looked for"))
    study = orchestrator.results(workspace, "quickstart")
    assert study.experiment == asked
    assert len(study.to_pandas()) == 20
    assert repr(study) == f"<Study of 'quickstart' in {workspace}: 20 of 40 cells>"


def test_what_earlier_versions_launched_is_known_from_the_registry(tmp_path: Path) -> None:
    stores = Stores.at(str(tmp_path))
    asked = load(Path("experiments") / "quickstart.yaml").model_copy(update={"name": "older"})
    with stores.registry() as records:
        records.plan(plan(asked))
    assert orchestrator.results(tmp_path, "older").experiment.name == "older"


@pytest.mark.parametrize(
    ("damaged", "error", "said"),
    [
        *((text, DamagedFileError, "cannot be read .*the next launch writes it") for text in ("", "{}", "[]")),
        ('{"version": 2, "folder": null, "experiment": {}}', NewerFormatError, "has version 2; .*reads 1: upgrade it"),
    ],
)
def test_a_record_of_the_experiment_that_cannot_be_read_is_named(
    damaged: str, error: type[Exception], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "experiments" / "mine.json"
    path.parent.mkdir()
    path.write_text(damaged)
    with pytest.raises(error, match=rf"experiments/mine\.json {said}"):
        orchestrator.results(tmp_path, "mine")


def test_jupyter_is_shown_the_comparison_once(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_is_jupyter", lambda: True)
    monkeypatch.setattr(jupyter, "display", lambda *_: pytest.fail("it was shown apart from what the notebook shows"))
    assert "bce_unified" in orchestrator.results(workspace, "quickstart")._repr_html_()


def test_figures_have_traces(workspace: Path) -> None:
    study = orchestrator.results(workspace, "quickstart")
    assert study.plot_differences().data
    assert study.plot_thresholds("digits", "resnet8").data


def test_an_unknown_setting_is_told_with_those_there_are(workspace: Path) -> None:
    with pytest.raises(RequestError, match=r"No result of resnet50 on digits\. There are: resnet20 on digits, resnet8"):
        orchestrator.results(workspace, "quickstart").plot_thresholds("digits", "resnet50")


def test_ranks_of_incomplete_grids_are_refused(workspace: Path) -> None:
    with pytest.raises(RequestError, match="Ranks need"):
        orchestrator.results(workspace, "quickstart").plot_ranks()


def test_an_unknown_experiment_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        ExperimentError, match=r"No experiment 'no-such-experiment' was launched in .*\n.*cannot be read"
    ):
        orchestrator.results(tmp_path, "no-such-experiment")


def test_the_package_has_no_other_secret_names() -> None:
    with pytest.raises(AttributeError):
        orchestrator.nothing  # noqa: B018


def test_options_change_what_is_asked_and_leave_nothing_out_of_the_whole(tmp_path: Path) -> None:
    file = Path("experiments") / "quickstart.yaml"
    stores = Stores.at(str(tmp_path))
    filed = ["softmax", "bce", "bce_unified", "bce_diverse"]
    narrowed = Study.of_file(file, stores, loss=["softmax"], only=True, seeds="2")
    assert (labels(narrowed.experiment), len(narrowed.experiment.seeds)) == (["softmax"], 2)
    assert (labels(narrowed.whole), len(narrowed.whole.seeds)) == (filed, 5)
    added = Study.of_file(file, stores, loss=["focal"], seeds="2")
    assert labels(added.experiment) == labels(added.whole) == [*filed, "focal"]
    assert (labels(added.filed), len(added.filed.seeds)) == (filed, 5)


def labels(experiment: Experiment) -> list[str]:
    return [choice.label for choice in experiment.losses]
