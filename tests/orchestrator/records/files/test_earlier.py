"""Cells of other data or an earlier protocol are named; those of another request are not."""

from __future__ import annotations

import gzip
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.diagnosis import request
from orchestrator.diagnosis.agreement import by_data
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import PROTOCOL, Plan, digest, plan
from orchestrator.records.files import contents
from orchestrator.records.files.cell_file import encoded
from orchestrator.records.files.contents import History, look
from orchestrator.records.files.earlier import Change, Data, absent, changes, earlier
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.sentences import filled
from orchestrator.stores import Stores
from orchestrator.study import Study
from orchestrator.workspace import Workspace
from trainers.datasets import MissingDataError, UnusableDataError
from trainers.datasets.content import ArraysError, Content
from trainers.datasets.digits import Digits
from trainers.datasets.idx import MNIST
from trainers.datasets.image_folder import ImageFolder

if TYPE_CHECKING:
    from collections.abc import Callable


def raises(error: Exception) -> Callable[..., Any]:
    def call(*_: Any) -> Any:
        raise error

    return call


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
        evaluations = Evaluations(tmp_path / "evaluations")
        history = History(tmp_path / "data")
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
    then = {"train.parquet": "1", "test/0.parquet": "2"}
    now = {"train.parquet": "3", "test/1.parquet": "2"}
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
        assert history.last(PARTS) == Content(NOW.digest, None, 1.0, by_cells=True)
        history.learn(an_account(cell, started=9.0) for cell in cells)
        assert len(history.states(PARTS)) == 1

    @pytest.mark.parametrize("started", [1e300, float("inf"), float("nan"), -5.0, 4e9])
    def test_cells_outrank_no_launch_whenever_they_say_they_began(
        self, started: float, tmp_path: Path, an_account: Callable[..., Any]
    ) -> None:
        history = History(tmp_path)
        history.see(PARTS, NOW)
        history.learn([an_account(plan(asked(), {"parts": THEN}).cells[0], started=started)])
        assert {state.digest for state in history.states(PARTS)} == {NOW.digest, THEN.digest}
        last = history.last(PARTS)
        assert last is not None
        assert (last.digest, last.by_cells) == (NOW.digest, False)

    def test_what_cells_told_and_a_launch_finds_is_the_launchs(
        self, tmp_path: Path, an_account: Callable[..., Any]
    ) -> None:
        history = History(tmp_path)
        history.learn([an_account(plan(asked(), {"parts": NOW}).cells[0], started=5.0)])
        history.see(PARTS, NOW)
        last = history.last(PARTS)
        assert last is not None
        assert (last.by_cells, last.manifest) == (False, NOW.manifest)

    def test_published_files_put_back_count_again(self, tmp_path: Path) -> None:
        history = History(tmp_path / "records")
        mnist = MNIST()
        fields = {"datasets": ["mnist"]}
        history.see(mnist, None)
        assert history.states(mnist) == []
        history.see(mnist, NOW)
        assert look(asked(**fields), history, tmp_path)["mnist"].digest == NOW.digest
        history.see(mnist, None)
        assert look(asked(**fields), history, tmp_path) == {}

    def test_what_foreign_cells_tell_of_a_published_data_set_does_not_count(
        self, tmp_path: Path, an_account: Callable[..., Any]
    ) -> None:
        fields = {"datasets": ["mnist"]}
        history = History(tmp_path / "records")
        history.learn([an_account(plan(asked(**fields), {"mnist": NOW}).cells[0])])
        assert len(history.states(MNIST())) == 1
        assert look(asked(**fields), history, tmp_path) == {}

    @pytest.mark.parametrize("is_own", [True, False])
    def test_the_newest_cell_trained_here_tells_which_files_a_published_data_set_had(
        self, is_own: bool, tmp_path: Path, an_account: Callable[..., Any]
    ) -> None:
        fields = {"datasets": ["mnist"]}
        place = Workspace.at(str(tmp_path / "runs"))
        files = Evaluations(place.evaluations)
        for number, held in enumerate(({}, {"mnist": NOW})):
            cell = plan(asked(**fields), held).cells[number]
            account = an_account(cell, state="diverged", samples=0, started=float(number))
            path = Path(str(files.publish(cell.recipe, account, None)))
            if not is_own:
                path.write_bytes(encoded(account, None, b"another secret"))
            os.utime(path, (number, number))
        found = Study.of(asked(**fields), Stores(place), tmp_path / "data").contents
        assert {label: held.digest for label, held in found.items()} == ({"mnist": NOW.digest} if is_own else {})
        os.utime(path, (0, 0))
        cell = plan(asked(**fields)).cells[0]
        os.utime(str(files.path(cell.recipe, cell.id)), (5, 5))
        assert Study.of(asked(**fields), Stores(place), tmp_path / "data").contents == {}, (
            "the newest had the published files"
        )

    @pytest.mark.parametrize(
        "damage",
        [
            lambda text: text[:50],
            lambda text: b"",
            lambda text: text[:-12] + bytes(12),
            lambda text: gzip.compress(b"[]"),
            lambda text: gzip.compress(gzip.decompress(text).replace(b"1" * 64, b"x")),
            lambda text: gzip.compress(gzip.decompress(text).replace(b'"recorded": 1', b'"recorded": 1e300, "_": 1')),
        ],
    )
    def test_a_damaged_record_counts_as_absent_and_is_named(
        self, damage: Callable[[bytes], bytes], tmp_path: Path, place: Callable[..., Any]
    ) -> None:
        history = History(tmp_path / "data")
        history.add(PARTS, THEN)
        history.add(PARTS, NOW)
        *_, file = sorted(tmp_path.rglob("*.json.gz"))
        file.write_bytes(damage(file.read_bytes()))
        assert [state.digest for state in history.states(PARTS)] == [THEN.digest]
        (finding,) = by_data(plan(asked(), {"parts": THEN}), Evaluations(tmp_path / "evaluations"), history)
        name = f"{file.parent.name}/{file.name}"
        told = f"parts: {name}, a record of what its data held, is damaged and counts as absent: remove it."
        assert (finding.state, finding.found) == ("problem", told)


class TestDataThatAreNotHere:
    def test_the_last_state_stands_in_with_its_date(self, tmp_path: Path) -> None:
        history = History(tmp_path / "data")
        history.add(PARTS, replace(NOW, recorded=0.0))
        found = look(asked(), history, tmp_path)
        (sentence,) = map(filled, absent(plan(asked(), found)))
        assert "those of the state recorded on 1970-01-01 00:00 UTC" in sentence

    def test_several_data_sets_are_told_of_in_one_sentence(self) -> None:
        names = ("nuts", "bolts", "caps")
        folders = [{"name": "image_folder", "path": name, "size": 8, "as": name} for name in names]
        told = absent(plan(asked(datasets=folders), dict.fromkeys(names, Content(None))))
        first = "nuts, bolts, caps: data that cannot be read here and were never recorded"
        assert [filled(each).partition(";")[0] for each in told] == [first]
        each = Data(absent=tuple(told)).to_json()["absent"]
        assert [sentence.partition(":")[0] for sentence in each] == list(names)

    def test_a_data_set_that_has_to_be_loaded_is_not_said_to_be_away(self, tmp_path: Path) -> None:
        history = History(tmp_path / "data")
        wanted = asked(datasets=["digits"], backbones=["resnet8"])
        loads = partial(look, wanted, history, tmp_path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(contents, "content", raises(ArraysError("it has none")))
            patch.setattr(Digits, "official", None)
            (sentence,) = map(filled, absent(plan(wanted, loads())))
            assert sentence == (
                "digits: only a launch can tell what its data hold, and none has yet: its cells are not known."
            )
            history.add(wanted.datasets[0].plugin, replace(NOW, recorded=0.0))  # pyright: ignore[reportArgumentType]
            found = plan(wanted, loads())
            (sentence,) = map(filled, absent(found))
            (finding,) = request.data(found, tmp_path)
        assert sentence == (
            "digits: only a launch can tell what its data hold now; "
            "its cells are those of the state recorded on 1970-01-01 00:00 UTC."
        )
        assert finding.found == (
            "not checked: only a launch can read their present content; "
            "cells are planned for the state recorded on 1970-01-01 00:00 UTC"
        )

    def test_cells_tell_only_of_data_that_are_not_here_and_that_no_launch_recorded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        history = History(tmp_path / "data")
        seen = partial(look, asked(), history, tmp_path, newest=lambda _: replace(THEN, by_cells=True))
        assert seen()["parts"].digest == THEN.digest
        history.see(PARTS, NOW)
        assert seen()["parts"].digest == NOW.digest
        monkeypatch.setattr(contents, "content", raises(UnusableDataError("no image can be read")))
        assert seen()["parts"].digest is None

    def test_who_may_ask_believes_no_record(self, tmp_path: Path) -> None:
        history = History(tmp_path / "data")
        history.add(PARTS, NOW)
        heard: list[Any] = []

        def ask(dataset: Any, missing: MissingDataError | None) -> Content:
            heard.append((dataset, type(missing)))
            return THEN

        assert look(asked(), history, tmp_path, ask) == {"parts": THEN}
        assert heard == [(PARTS, MissingDataError)]
