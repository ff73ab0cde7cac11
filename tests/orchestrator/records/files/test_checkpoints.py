"""Where states lie, in a folder and in an object store, and how running cells are asked to stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.records.files.checkpoints import Checkpoints
from orchestrator.records.files.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.experiment.plan import Cell
    from orchestrator.workspace import Location


@pytest.fixture
def checkpoints(place: Location) -> Checkpoints:
    return Checkpoints(place, "launch")


def test_a_state_comes_back_as_it_was_written(checkpoints: Checkpoints, a_cell: Callable[..., Cell]) -> None:
    shelf = checkpoints.shelf(a_cell())
    assert shelf.read() is None
    shelf.write(b"first")
    shelf.write(b"second")
    assert shelf.read() == b"second"
    assert checkpoints.shelf(a_cell(seed=1)).read() is None


def test_a_state_that_cannot_be_used_is_kept_aside(checkpoints: Checkpoints, a_cell: Callable[..., Cell]) -> None:
    shelf = checkpoints.shelf(a_cell())
    shelf.write(b"damaged")
    shelf.set_aside()
    assert shelf.read() is None
    (kept,) = Storage(checkpoints.place).list()
    assert "unusable" in kept.name


def test_a_finished_cells_state_goes_with_all_that_lies_beside_it(
    checkpoints: Checkpoints, a_cell: Callable[..., Cell]
) -> None:
    done = a_cell()
    other = a_cell(seed=1)
    for cell in (done, other):
        checkpoints.shelf(cell).write(b"state")
    checkpoints.shelf(done).set_aside()
    checkpoints.shelf(done).write(b"state")
    checkpoints.clear(done)
    assert [stored.name for stored in Storage(checkpoints.place).list()] == [f"{other.id}/state"]
    checkpoints.clear(done)


def test_only_the_cells_of_a_launch_are_asked_to_stop(checkpoints: Checkpoints) -> None:
    assert not checkpoints.is_stopping()
    checkpoints.ask_to_stop()
    assert checkpoints.is_stopping()
    assert not Checkpoints(checkpoints.place, "another launch").is_stopping()
    checkpoints.forget_stop()
    assert not checkpoints.is_stopping()


def test_last_words_need_a_folder(checkpoints: Checkpoints, a_cell: Callable[..., Cell]) -> None:
    words = checkpoints.last_words(a_cell())
    assert (words is None) == (not isinstance(checkpoints.place, Path))
