"""Cells of other data or an earlier protocol are named; those of another request are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.errors import DamagedFileError
from orchestrator.experiment import Experiment
from orchestrator.plan import PROTOCOL, Plan, digest, plan
from orchestrator.records.contents import History, look
from orchestrator.records.earlier import Change, absent, changes, earlier, filled
from orchestrator.records.evaluations import Evaluations
from trainers.datasets import MissingDataError
from trainers.datasets.content import Content
from trainers.datasets.image_folder import ImageFolder

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = Content("1" * 64, {"train/ok/a": "1", "train/ok/b": "2", "test/ok/c": "3", "train": "x", "test": "y"})
THEN = Content("0" * 64, {"train/ok/a": "1", "test/ok/c": "4", "test/ok/d": "5", "train": "z", "test": "y"})
PARTS = ImageFolder(path="parts", size=8)


def asked(**fields: Any) -> Experiment:
    document = {"name": "asked", "losses": ["softmax"], "backbones": ["resnet8"], "seeds": 2, "baseline": "softmax"}
    return Experiment.model_validate(
        {**document, "datasets": [{"name": "image_folder", "path": "parts", "size": 8, "as": "parts"}], **fields}
    )


@pytest.fixture
def place(tmp_path: Path, an_account: Callable[..., Any]) -> Callable[..., tuple[Evaluations, History]]:
    """A workspace in which the cells of some plans diverged, under the protocols given."""

    def make(*done: tuple[Plan, int]) -> tuple[Evaluations, History]:
        evaluations, history = Evaluations(tmp_path / "evaluations"), History(tmp_path / "data")
        for each, protocol in done:
            for cell in each.cells:
                recipe = cell.recipe.model_dump(mode="json")
                about = {"cell_id": digest(recipe, protocol), "protocol": protocol}
                evaluations.publish(cell.recipe, an_account(cell, state="diverged", samples=0, **about), None)
            for held in each.contents.values():
                history.add(PARTS, held)
        return evaluations, history

    return make


def test_cells_of_an_earlier_state_are_named_with_what_changed(place: Callable[..., Any]) -> None:
    now, then = (plan(asked(), {"parts": held}) for held in (NOW, THEN))
    (found,) = earlier(now, *place((then, PROTOCOL), (now, PROTOCOL)))
    assert set(found.cells) == {cell.id for cell in then.cells}
    assert filled(found.sentence()) == (
        "parts: 2 cells are of an earlier state of this folder: "
        "1 image added to train/ok, 1 removed from test/ok, 1 changed in test/ok."
    )


def test_one_cell_is_one_cell(place: Callable[..., Any]) -> None:
    now, then = (plan(asked(seeds=1), {"parts": held}) for held in (NOW, replace(THEN, manifest=None)))
    (found,) = earlier(now, *place((then, PROTOCOL)))
    expected = "parts: 1 cell is of an earlier state of this folder; what changed is not recorded."
    assert filled(found.sentence()) == expected


@pytest.mark.parametrize("protocol", [1, 1001])
def test_cells_of_earlier_protocols_are_named(protocol: int, place: Callable[..., Any]) -> None:
    now = plan(asked(), {"parts": NOW})
    without = plan(asked())  # recipes from before what the data hold stood in them
    (found,) = earlier(now, *place((without, protocol)))
    assert filled(found.sentence()).startswith(f"parts: 2 cells are of an earlier protocol ({protocol}): readable")


@pytest.mark.parametrize(
    "other", [{"recipe": {"epochs": 7}}, {"seeds": [7, 8]}, {"losses": ["bce"], "baseline": "bce"}]
)
def test_cells_of_another_request_are_not(other: dict[str, Any], place: Callable[..., Any]) -> None:
    now = plan(asked(), {"parts": NOW})
    assert earlier(now, *place((plan(asked(**other), {"parts": THEN}), PROTOCOL))) == []


def test_changed_labels_alone_are_said() -> None:
    assert changes({"train/a": "1", "train": "2"}, {"train/a": "1", "train": "3"}) == (
        Change("changed", "labels of train", None),
    )


def test_of_files_of_many_images_each_is_named() -> None:
    then, now = {"train.parquet": "1", "test/0.parquet": "2"}, {"train.parquet": "3", "test/1.parquet": "2"}
    assert changes(then, now) == (
        Change("added", "test/1.parquet", None),
        Change("removed", "test/0.parquet", None),
        Change("changed", "train.parquet", None),
    )


class TestHistory:
    def test_the_last_state_counts_and_all_are_kept(self, tmp_path: Path) -> None:
        history = History(tmp_path)
        for held in (THEN, NOW, NOW, THEN):
            history.add(PARTS, held)
        assert [state.digest for state in history.states(PARTS)] == [THEN.digest, NOW.digest, THEN.digest]
        last = history.last(PARTS)
        assert last is not None
        assert (last.digest, last.manifest) == (THEN.digest, THEN.manifest)
        assert last.recorded is not None

    def test_what_is_done_to_the_images_names_no_other_data(self, tmp_path: Path) -> None:
        history = History(tmp_path)
        history.add(PARTS, NOW)
        assert history.last(PARTS.model_copy(update={"hold_out": (1,)})) == history.last(PARTS)
        assert history.last(ImageFolder(path="parts", size=9)) is None

    def test_cells_that_come_from_elsewhere_tell_their_digest(
        self, tmp_path: Path, an_account: Callable[..., Any]
    ) -> None:
        history = History(tmp_path)
        cells = [plan(asked(), {"parts": held}).cells[0] for held in (THEN, NOW)]
        history.learn(an_account(cell, started=float(number)) for number, cell in enumerate(cells))
        assert history.last(PARTS) == Content(NOW.digest, None, 1.0)
        history.learn(an_account(cell, started=9.0) for cell in cells)
        assert len(history.states(PARTS)) == 1

    def test_a_damaged_record_is_told(self, tmp_path: Path) -> None:
        history = History(tmp_path)
        history.add(PARTS, NOW)
        (file,) = tmp_path.rglob("*.json.gz")
        file.write_bytes(file.read_bytes()[:50])
        with pytest.raises(DamagedFileError, match="is no record of a data set's content"):
            history.last(PARTS)


class TestDataThatAreNotHere:
    def test_the_last_state_stands_in_with_its_date(self, tmp_path: Path) -> None:
        history = History(tmp_path / "data")
        history.add(PARTS, replace(NOW, recorded=0.0))
        found = look(asked(), history, tmp_path)
        (sentence,) = map(filled, absent(plan(asked(), found)))
        assert "those of the state recorded on 1970-01-01 00:00 UTC" in sentence

    def test_who_may_ask_believes_no_record(self, tmp_path: Path) -> None:
        history = History(tmp_path / "data")
        history.add(PARTS, NOW)
        heard: list[Any] = []

        def ask(dataset: Any, missing: MissingDataError | None) -> Content:
            heard.append((dataset, type(missing)))
            return THEN

        assert look(asked(), history, tmp_path, ask) == {"parts": THEN}
        assert heard == [(PARTS, MissingDataError)]
