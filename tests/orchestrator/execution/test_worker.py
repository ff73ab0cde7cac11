"""What a worker makes of code that is another than the launch's, or than that of a state that an attempt has left."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from orchestrator.execution import worker
from orchestrator.execution.worker import Worker
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, plan
from orchestrator.outcome import Advanced, Event, Failed, Finished, Lost, Stopped
from orchestrator.provenance import fingerprints, processor
from orchestrator.provenance.fingerprints import Code
from orchestrator.records.files.checkpoints import Checkpoints
from orchestrator.records.files.contents import History, look
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.recorder import Recorder
from orchestrator.records.tracking.runs import Untracked
from orchestrator.reproduction.code_changes import codes_by_plugin
from orchestrator.workspace.store_errors import StoreUnreachableError
from trainers.datasets import MissingDataError
from trainers.datasets.image_folder import ImageFolder

if TYPE_CHECKING:
    from pathlib import Path

    from trainers.recipe import Recipe

ASKED = Experiment.model_validate(
    {
        "name": "grid",
        "losses": [{"name": "softmax", "as": "plain"}, "poly1"],
        "backbones": ["resnet8"],
        "datasets": ["digits"],
        "seeds": 1,
        "recipe": {"epochs": 3, "batch_size": 100, "learning_rate": 0.1},
        "baseline": "plain",
    }
)
CELL = plan(ASKED).cells[0]


@pytest.fixture
def working(tmp_path: Path) -> Worker:
    recorder = Recorder(Evaluations(tmp_path / "evaluations"), Untracked(), {"git_commit": "abc"})
    saved = Checkpoints(tmp_path / "checkpoints", "launch", every_epochs=1)
    return Worker(recorder, tmp_path / "data", saved, planned=codes_by_plugin(ASKED))


def changed(axis: str) -> Any:
    """The codes of recipes, where one was edited."""
    true = fingerprints.of

    def of(recipe: Recipe) -> dict[str, Code]:
        return {**true(recipe), axis: Code("0" * 64, "my_module.py")}

    return of


def epochs(working: Worker, cell: Cell = CELL, *, until: int = 3) -> list[int]:
    """Which epochs a run of the cell does; it is asked to stop after some."""
    events: list[Event] = []

    def hear(event: Event) -> None:
        events.append(event)
        if isinstance(event, Advanced) and event.epoch == until < 3:
            working.checkpoints.ask_to_stop()  # pyright: ignore[reportOptionalMemberAccess]

    ending = working.run(cell, hear)
    assert isinstance(ending, Finished if until == 3 else Stopped), ending
    working.checkpoints.forget_stop()  # pyright: ignore[reportOptionalMemberAccess,reportAttributeAccessIssue]
    return [event.epoch for event in events if isinstance(event, Advanced)]


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ("loss", "loss 'softmax' (my_module.py)"),
        ("backbone", "backbone 'resnet8' (my_module.py)"),
        ("dataset", "dataset 'digits' (my_module.py)"),
        ("loop", "the training loop (my_module.py)"),
    ],
)
def test_a_node_with_other_code_refuses_the_cell_by_name(
    working: Worker, monkeypatch: pytest.MonkeyPatch, axis: str, said: str
) -> None:
    monkeypatch.setattr(fingerprints, "of", changed(axis))
    ending = working.run(CELL, lambda _: None)
    assert isinstance(ending, Failed)
    assert f"the code of {said} on this node differs from that of the launch that planned {CELL.name}" in ending.error
    assert "--retry-failed" in ending.error


def test_a_worker_that_raises_lets_the_fault_of_a_cell_through(
    working: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "of", changed("loss"))
    with pytest.raises(worker.OtherCodeError):
        replace(working, raises=True).run(CELL, lambda _: None)


def test_a_worker_that_raises_still_makes_a_fault_of_the_machinery_an_ending(
    working: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise ConnectionError("storage went away")

    monkeypatch.setattr(worker, "loaded", gone)
    assert isinstance(replace(working, raises=True).run(CELL, lambda _: None), Lost)


def test_a_state_is_resumed_by_the_same_code_only(working: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "ASK", 0.0)
    trusting = replace(working, planned={})
    assert epochs(trusting, until=1) == [1]
    assert epochs(trusting, until=2) == [2]
    monkeypatch.setattr(fingerprints, "of", changed("loss"))
    assert epochs(trusting) == [1, 2, 3]


def test_a_state_is_not_resumed_under_another_instruction_set(working: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "ASK", 0.0)
    assert epochs(working, until=1) == [1]
    monkeypatch.setattr(processor, "onednn_isa", lambda: "AVX")
    assert epochs(working) == [1, 2, 3]


def test_the_provenance_names_the_unknown_samples(working: Worker, tmp_path: Path) -> None:
    noise = {"name": "stand_in", "of": "noise", "shape": (1, 8, 8), "number_of_classes": 3, "train": 3, "test": 60}
    fields = ASKED.model_dump(mode="json", include={"name", "backbones", "baseline", "recipe"})
    document = {**fields, "losses": [{"name": "softmax", "as": "plain"}], "backbones": ["resnet8"], "seeds": 1}
    asked = Experiment.model_validate({**document, "datasets": [{"name": "digits", "unknowns": noise}]})
    digests = look(asked, History(tmp_path / "data"), tmp_path)
    (cell,) = plan(asked, digests).cells
    assert cell.recipe.data_digest
    assert cell.id != plan(ASKED).cells[0].id
    epochs(replace(working, planned=codes_by_plugin(asked)), cell)
    account = Evaluations(tmp_path / "evaluations").account(cell)
    assert account.provenance["origins"]["unknowns"]["name"] == "stand_in"
    assert len(account.provenance["origins"]["unknowns"]["digest"]) == 64
    assert account.metrics["open_auroc"] is not None


def test_a_finished_cell_records_its_code_and_its_processor(working: Worker, tmp_path: Path) -> None:
    epochs(working)
    told = Evaluations(tmp_path / "evaluations").account(CELL).provenance
    assert {name: told[name] for name in ("fingerprints", "distributions")} == fingerprints.recorded(CELL.recipe)
    assert (told["instruction_set"], told["onednn_isa"]) == (processor.instruction_set(), processor.onednn_isa())
    assert "trainers_sha256" not in told


def test_a_worker_hashes_its_data_again_where_the_launch_asks_for_it(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for level, kind in enumerate(("hole", "ok")):
            path = tmp_path / "parts" / split / kind / "0.png"
            path.parent.mkdir(parents=True)
            Image.new("L", (8, 8), 100 * level).save(path)
    dataset = ImageFolder(path=str(tmp_path / "parts"), size=8)
    worker.loaded.cache_clear()
    true = worker.loaded(dataset, tmp_path).content
    for known in tmp_path.rglob("hashes-*.json"):  # as if no change had left a trace
        known.write_text(re.sub(r'"[0-9a-f]{64}"', json.dumps("0" * 64), known.read_text()))
    worker.loaded.cache_clear()
    with pytest.raises(MissingDataError, match="--rehash"):
        worker.loaded(dataset, tmp_path)
    assert worker.loaded(dataset, tmp_path, rehash=True).content == true


class Away:
    """A storage of states that cannot be asked whether to stop, as often as it is said."""

    def __init__(self, saved: Checkpoints, times: int) -> None:
        self.saved = saved
        self.left = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self.saved, name)

    def is_stopping(self) -> bool:
        self.left -= 1
        if self.left >= 0:
            raise StoreUnreachableError("It does not answer.")
        return False


def test_a_storage_that_is_away_when_a_cell_begins_loses_the_attempt_and_ends_nothing(working: Worker) -> None:
    away = Away(Checkpoints(working.data_dir.parent / "checkpoints", "launch"), 1)
    ending = replace(working, checkpoints=away).run(CELL, lambda _: None)
    assert isinstance(ending, Lost)
    assert (ending.fault, ending.error) == ("storage", "StoreUnreachableError: It does not answer.")


def test_a_cell_that_cannot_ask_whether_to_stop_goes_on(working: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "ASK", 0.0)
    away = Away(Checkpoints(working.data_dir.parent / "checkpoints", "launch"), 0)
    begun = False

    def hear(event: Event) -> None:
        nonlocal begun
        if not begun:
            begun, away.left = True, 1

    assert isinstance(replace(working, checkpoints=away).run(CELL, hear), Finished)
    assert away.left < 1, "it was asked"


def test_a_cell_whose_state_cannot_be_removed_is_done(working: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StoreUnreachableError("It does not answer.")

    monkeypatch.setattr(Checkpoints, "clear", refuse)
    assert isinstance(working.run(CELL, lambda _: None), Finished)
