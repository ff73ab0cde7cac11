"""The record of additions in a folder and in an object store, under a lock in either kind of registry."""

from __future__ import annotations

from datetime import UTC, datetime
from threading import Barrier, Thread
from typing import TYPE_CHECKING

from orchestrator.experiment.additions import Additions, Entry
from orchestrator.experiment.plan import plan
from orchestrator.experiment.reading import load
from orchestrator.launching.additions import note_additions
from orchestrator.records.files.additions import AdditionsFile
from orchestrator.records.sql.registry import Registry
from orchestrator.stores import Stores
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.workspace import Location

THEN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def test_what_is_appended_is_read_again_wherever_it_lies(place: Location) -> None:
    file = AdditionsFile(Workspace(place).additions("tiny"))
    assert file.read() == Additions()
    first = Entry(when=THEN, by="launch", backbone=("resnet20",), seeds=(5,))
    last = Entry(when=THEN, by="add", action="remove", backbone=("resnet20",), results=None, plan="5")
    file.append(first)
    assert file.append(last) == file.read() == Additions((first, last))


def test_launches_that_append_at_once_lose_nothing(
    place: Location, url: str, tiny: str, written: Callable[[str], Path]
) -> None:
    stores = Stores(Workspace(place), url)
    start = Barrier(3)

    def append(first: int) -> None:
        with stores.registry() as records:
            start.wait()
            for seed in range(first, first + 4):
                note_additions(stores, records, "tiny", Entry(when=THEN, by="launch", seeds=(seed,)))

    with Registry.open(url) as records:
        records.plan(plan(load(written(tiny))))
    launches = [Thread(target=append, args=(first,)) for first in (10, 20, 30)]
    for launch in launches:
        launch.start()
    for launch in launches:
        launch.join()
    expected = {first + seed for first in (10, 20, 30) for seed in range(4)}
    assert set(stores.additions("tiny").read().standing("seeds")) == expected
