"""Results in a notebook, from the files of a launch."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orchestrator
import orchestrator.study
from orchestrator.errors import ExperimentError, RequestError
from orchestrator.experiment.model import Experiment
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


def test_the_notebooks_example_gives_what_it_shows(
    tmp_path: Path,
    an_account: Callable[..., Account],
    drawn: Callable[..., Evaluation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "experiments").symlink_to(Path("experiments").resolve())
    monkeypatch.chdir(tmp_path)
    for cell in orchestrator.results("runs", "quickstart").plan.cells:
        found = drawn(seed=cell.seed, skill=1.0 if cell.loss == "softmax" else 4.0)
        Evaluations(tmp_path / "runs" / "evaluations").publish(cell.recipe, an_account(cell, found), found)
    result = doctest.testmod(orchestrator.study, globs={})
    assert not result.failed
    assert result.attempted


def test_results_are_a_data_frame_with_one_row_a_cell(workspace: Path) -> None:
    frame = orchestrator.results(workspace, "quickstart").to_pandas()
    assert len(frame) == 20
    assert set(frame["loss"]) == {"softmax", "bce_unified"}


def test_results_compare_themselves_and_show_it(workspace: Path) -> None:
    study = orchestrator.results(workspace, "quickstart")
    assert study.compare().missing == 20
    assert "bce_unified" in study._repr_html_()


def test_figures_are_plotlys(workspace: Path) -> None:
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
    with pytest.raises(ExperimentError, match="cannot be read"):
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
