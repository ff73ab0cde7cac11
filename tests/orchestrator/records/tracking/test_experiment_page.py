"""What MLflow shows of an experiment as a whole, and whose word counts where people have changed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

import services
from orchestrator.errors import UnreachableError
from orchestrator.records.tracking import experiment_page, saved_view
from orchestrator.records.tracking.experiment_page import ExperimentPage
from orchestrator.records.tracking.names import LONGEST, fitted, key
from orchestrator.records.tracking.runs import Tracking

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow.entities import Run

# MLflow's own use of SQLAlchemy; an error there would leave its tables unusable for the whole process.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

NOTE = "mlflow.note.content"


class Store:
    """A store in a file with one experiment, as people and launches change it."""

    def __init__(self, folder: Path) -> None:
        self.tracking = Tracking(
            f"sqlite:///{services.put_store(folder)}", "grid", str(folder / "mlartifacts"), folder / "spool"
        )
        self.tracking.prepare()
        self.page = ExperimentPage(self.tracking.uri, "grid")
        self.client = MlflowClient(tracking_uri=self.tracking.uri)

    @property
    def id(self) -> str:
        found = self.client.get_experiment_by_name("grid")
        assert found is not None
        return found.experiment_id

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.client.get_experiment(self.id).tags)

    @property
    def runs(self) -> list[Run]:
        """All, with those that are deleted."""
        return list(self.client.search_runs([self.id], run_view_type=ViewType.ALL))

    def edit(self, tag: str, value: str) -> None:
        self.client.set_experiment_tag(self.id, tag, value)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_a_comparison_whose_launch_was_killed_is_ended_by_the_next(store: Store) -> None:
    store.page.write_comparison("# A", {}, {})
    left = store.client.create_run(store.id, tags={"summary": "comparison"}).info.run_id
    store.page.write_comparison("# B", {}, {})
    assert store.client.get_run(left).info.status == "KILLED"
    kept = [run for run in store.runs if run.info.lifecycle_stage == "active"]
    assert [run.data.tags[NOTE] for run in kept] == ["# B"]
    assert store.page.end_unfinished() == 0


def test_a_comparison_left_unfinished_can_be_ended_without_another(store: Store) -> None:
    left = store.client.create_run(store.id, tags={"summary": "comparison"}).info.run_id
    cell = store.client.create_run(store.id, tags={"cell_id": "abc"}).info.run_id
    assert store.page.end_unfinished() == 1
    assert [store.client.get_run(run).info.status for run in (left, cell)] == ["KILLED", "RUNNING"]


def test_a_comparison_that_cannot_be_written_does_not_seem_to_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(experiment_page, "attach", full)
    with pytest.raises(UnreachableError, match="No space left"):
        store.page.write_comparison("# A", {}, {"a.md": "# A"})
    assert [run.info.status for run in store.runs] == ["FAILED"]


def test_a_comparison_longer_than_a_description_is_cut_between_lines(store: Store) -> None:
    store.page.write_comparison("\n".join(["one line"] * 2_000), {}, {})
    (run,) = store.runs
    note = run.data.tags[NOTE]
    assert len(note) <= 8_000
    assert note.endswith("one line\n\n…")


def test_a_description_follows_the_results_until_somebody_edits_it(store: Store) -> None:
    for text in ("no verdict yet", "supported"):
        store.page.describe(text)
        assert store.tags[NOTE] == text
    store.edit(NOTE, "supported, as we hoped")
    store.page.describe("refuted")
    assert store.tags[NOTE] == "supported, as we hoped"
    store.edit(NOTE, "")
    store.page.describe("refuted")
    assert store.tags[NOTE] == "refuted"


def test_a_view_follows_the_losses_and_those_of_people_stay(store: Store) -> None:
    store.edit("mlflow.sharedViewState.1", "a view of somebody's own")
    store.page.save_view(["softmax"])
    first = store.tags[saved_view.TAG]
    store.page.save_view(["softmax"])
    assert store.tags[saved_view.TAG] == first
    store.page.save_view(["softmax", "bce"])
    second = store.tags[saved_view.TAG]
    assert saved_view.state_of(second)["groupsExpanded"] == {"param.loss.softmax": False, "param.loss.bce": False}
    store.edit(saved_view.TAG, "something else")
    store.page.save_view(["softmax", "bce"])
    assert saved_view.state_of(store.tags[saved_view.TAG]) == saved_view.state_of(second)
    assert store.tags["mlflow.sharedViewState.1"] == "a view of somebody's own"


def test_what_a_store_was_told_is_forgotten_with_its_experiment(store: Store) -> None:
    store.tracking.note_summary("abc")
    store.tracking.prepare()
    assert store.tracking.summary == "abc"
    store.client.rename_experiment(store.id, "of another")
    store.tracking.prepare()
    assert store.tracking.summary == ""


def test_names_are_shortened_in_the_middle_of_their_parts() -> None:
    long = "/".join(["l" * 99 + "1", "b" * 99 + "2", "d" * 99 + "3", "s12@0123456789abcdef"])
    short = fitted(long)
    assert len(short) <= LONGEST
    parts = short.split("/")
    assert [part[-1] for part in parts[:3]] == ["1", "2", "3"]
    assert parts[3] == "s12@0123456789abcdef"
    assert fitted("x" * LONGEST) == "x" * LONGEST


def test_keys_are_such_as_mlflow_takes_and_stay_apart() -> None:
    from mlflow.utils.validation import _validate_tag_name

    labels = ["β-CE", "a+b", "a*b", "..", ".", "x" * 100, "x" * 99 + "y", "cosine (s = 30)", "a:b"]
    keys = [key("claim" * 20, label, "y" * 100) for label in labels]
    assert len(set(keys)) == len(labels)
    for each in keys:
        _validate_tag_name(each)
