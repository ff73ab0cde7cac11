"""Cells of the same request that were trained on other data or under another protocol: named, and never pooled."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from pydantic import ValidationError

from orchestrator.experiment.plan import PROTOCOL, Plan, original
from orchestrator.records.files.cell_file import cell_in, partition
from orchestrator.records.files.contents import History, told
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.origin import Origins
from orchestrator.records.files.summaries import Summaries
from orchestrator.sentences import Sentence, filled, gathered, listed
from trainers.datasets import Dataset
from trainers.datasets.content import READING, Content
from trainers.recipe import Recipe

SHOWN = 6
"""Places of change that are named one by one."""


@dataclass(frozen=True)
class Change:
    """What became of files between an earlier state of a data set and now."""

    what: str
    """`added`, `removed` or `changed`."""
    place: str
    """A folder of images, or a file of many."""
    images: int | None
    """How many; None for a file of many."""


@dataclass(frozen=True)
class Earlier:
    """Cells that a plan asks for as they would be today, and that are here as they were."""

    dataset: str
    """Its label in the experiment."""
    cells: tuple[str, ...]
    """Their ids."""
    protocol: int
    digest: str | None
    """What the data held then."""
    recorded: float | None
    """When that was seen, in seconds since 1970."""
    data: str
    """What people call such data, such as `this folder`."""
    changes: tuple[Change, ...] | None
    """None where it is not known what changed."""

    def sentence(self) -> Sentence:
        """What a reader must know of them."""
        about: dict[str, Any] = {"dataset": self.dataset, "cells": _cells(len(self.cells))}
        if self.protocol != PROTOCOL:
            text = "{dataset}: {cells} of an earlier protocol ({protocol}): readable, exportable, pooled with nothing."
            return text, {**about, "protocol": self.protocol}
        about["data"] = (self.data, {})
        if not self.changes:
            return "{dataset}: {cells} of an earlier state of {data}; what changed is not recorded.", about
        told = {**about, "changes": list(_said(self.changes))}
        return "{dataset}: {cells} of an earlier state of {data}: {changes}.", told

    def to_json(self) -> dict[str, Any]:
        """All of it, with the sentence for people."""
        changes = None if self.changes is None else [asdict(each) for each in self.changes]
        return {**asdict(self), "changes": changes, "said": filled(self.sentence())}


@dataclass(frozen=True)
class Data:
    """What there is to know of the data of a plan's cells, where they are not simply here and always were."""

    absent: tuple[Sentence, ...] = ()
    """Of data sets that are not here."""
    earlier: tuple[Earlier, ...] = ()

    @classmethod
    def of(cls, plan: Plan, evaluations: Evaluations, history: History) -> Data:
        """What there is to know of the data of a plan's cells, and of cells of other states of them."""
        return cls((*absent(plan), *unreadable(plan, history)), tuple(earlier(plan, evaluations, history)))

    def sentences(self) -> list[Sentence]:
        """All of it."""
        return [*self.absent, *(each.sentence() for each in self.earlier)]

    def told(self) -> list[str]:
        """The same in English."""
        return [filled(sentence) for sentence in self.sentences()]

    def to_json(self) -> dict[str, Any]:
        """All of it for machines."""
        absent = [each for sentence in self.absent for each in listed(sentence) or [sentence]]
        return {"absent": list(map(filled, absent)), "earlier": [each.to_json() for each in self.earlier]}


NOTHING = Data()
"""The data are here, and there are no cells of other states of them."""


def _cells(count: int) -> Sentence:
    return ("1 cell is", {}) if count == 1 else ("{count} cells are", {"count": count})


TOLD = {
    "added": ("{number} added to {place}", "{place} added"),
    "removed": ("{number} removed from {place}", "{place} removed"),
    "changed": ("{number} changed in {place}", "{place} changed"),
}
"""What is said of images in a folder, and of a file of many."""


def _said(changes: Sequence[Change]) -> Iterator[Sentence]:
    """`10 images added to train/ok`, and of the next `10 removed from test/hole`."""
    noun = True
    for change in changes[:SHOWN]:
        of_images, of_file = TOLD[change.what]
        if change.images is None:
            yield of_file, {"place": change.place}
            continue
        yield of_images, {"number": _images(change.images) if noun else change.images, "place": change.place}
        noun = False
    if len(changes) > SHOWN:
        yield "and more in {count} further places", {"count": len(changes) - SHOWN}


def _images(count: int) -> Sentence:
    return ("1 image", {}) if count == 1 else ("{count} images", {"count": count})


def changes(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[Change, ...]:
    """What became of the files of a manifest: first what was added, then what was removed, then what changed."""
    found = {
        "added": now.keys() - then.keys(),
        "removed": then.keys() - now.keys(),
        "changed": {name for name in then.keys() & now.keys() if then[name] != now[name]},
    }
    arranged = {"train", "test", READING}  # beside the files of a folder: changed by whatever changes their names
    told = chain.from_iterable(_counted(what, names - arranged) for what, names in found.items())
    if then.get(READING) != now.get(READING):
        told = chain(told, [Change("changed", "the way pixels are read", None)])
    return tuple(told) or tuple(Change("changed", f"labels of {part}", None) for part in sorted(found["changed"]))


def _counted(what: str, names: set[str]) -> Iterator[Change]:
    many = {name for name in names if name.endswith((".parquet", ".txt"))}
    folders = Counter(name.rpartition("/")[0] for name in names - many)
    yield from (Change(what, folder, count) for folder, count in sorted(folders.items()))
    yield from (Change(what, name, None) for name in sorted(many))


def earlier(plan: Plan, evaluations: Evaluations, history: History) -> list[Earlier]:
    """The cells in a workspace that differ from those of a plan in nothing but the data's state or the protocol.

    Only files in the folders of the plan's own axis values are opened, and none that is a cell of the plan.
    """
    own = {cell.id for cell in plan.cells}
    folders = {evaluations.name(cell).rpartition("/")[0] for cell in plan.cells}
    here = [name for name in evaluations.names() if name.rpartition("/")[0] in folders]
    names = [name for name in here if (cell := cell_in(name)) and cell == original(cell) and cell not in own]
    if not names:
        return []
    asked = {_request(cell.recipe.model_dump(mode="json")): cell for cell in plan.cells}
    found: defaultdict[tuple[str, int, str | None], list[str]] = defaultdict(list)
    for content in Summaries.of(evaluations, names).contents(names):
        recipe = content["recipe"]
        protocol = content["protocol"]
        cell = asked.get(_request(recipe) if protocol == PROTOCOL else _resolved(recipe))
        if cell is not None:
            found[cell.dataset, protocol, recipe.get("data_digest")].append(content["cell_id"])
    datasets = {choice.label: choice.plugin for choice in plan.experiment.datasets}
    return [_told(plan, datasets[key[0]], history, key, cells) for key, cells in sorted(found.items(), key=str)]


def _request(recipe: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in recipe.items() if name != "data_digest"}, sort_keys=True)


def _resolved(recipe: Mapping[str, Any]) -> str:
    """The request of an earlier protocol as it would be written today, where it still can be read."""
    try:
        return _request(Recipe.model_validate(recipe).model_dump(mode="json"))
    except ValidationError:
        return ""


def _told(
    plan: Plan, dataset: Any, history: History, key: tuple[str, int, str | None], cells: Sequence[str]
) -> Earlier:
    label, protocol, digest = key
    now = plan.contents.get(label)
    states = history.states(dataset) if digest and isinstance(dataset, Dataset) else []
    then = next((state for state in reversed(states) if state.digest == digest), None)
    manifest = now.manifest if now else None
    known = then is not None and then.manifest is not None and manifest is not None
    return Earlier(
        label,
        tuple(sorted(cells)),
        protocol,
        digest,
        then.recorded if then else None,
        _kind(manifest),
        changes(then.manifest or {}, manifest or {}) if known and then else None,
    )


def _kind(manifest: Mapping[str, str] | None) -> str:
    if manifest is None:
        return "this data set"
    return "these files" if all(name.endswith(".parquet") for name in manifest if name != READING) else "this folder"


def absent(plan: Plan) -> list[Sentence]:
    """What a reader must know of data sets that are not here, by which the plan's cells are named."""
    told: list[Sentence] = []
    for label, held in plan.contents.items():
        if held.digest is None:
            told.append((UNKNOWN[held.needs_loading], {"dataset": label}))
        elif held.recorded is not None:
            day = f"{datetime.fromtimestamp(held.recorded, UTC):%Y-%m-%d %H:%M} UTC"
            texts = BY_CELLS if held.by_cells else RECORDED
            told.append((texts[held.needs_loading], {"dataset": label, "day": day}))
    return list(gathered(told, {text: (several, "dataset") for text, several in ALIKE.items()}))


UNKNOWN = {
    False: "{dataset}: its data cannot be read here and were never recorded: its cells are not known yet.",
    True: "{dataset}: only a launch can tell what its data hold, and none has yet: its cells are not known.",
}
"""By whether the data need loading."""

RECORDED = {
    False: "{dataset}: its data are not here; its cells are those of the state recorded on {day}.",
    True: "{dataset}: only a launch can tell what its data hold now; its cells are those of the state recorded on {day}.",  # noqa: E501 - one key of words.json
}
"""Where a launch has recorded a state, by the same."""

BY_CELLS = {
    False: "{dataset}: its data are not here, and no launch here has recorded them; its cells are of the same data as the newest one, begun on {day}.",  # noqa: E501 - one key of words.json
    True: "{dataset}: only a launch can tell what its data hold now, and none here has; its cells are of the same data as the newest one, begun on {day}.",  # noqa: E501 - one key of words.json
}
"""Where cells alone tell a state, by the same."""

ALIKE = {
    UNKNOWN[False]: "{names}: data that cannot be read here and were never recorded; the cells are not known yet.",
    UNKNOWN[True]: "{names}: only a launch can tell what these data hold, and none has yet; the cells are not known.",
    RECORDED[False]: "{names}: data that are not here; the cells are those of the states recorded last.",
    RECORDED[
        True
    ]: "{names}: only a launch can tell what these data hold now; the cells are those of the states recorded last.",
    BY_CELLS[
        False
    ]: "{names}: data that are not here, and that no launch here has recorded; the cells are of the same data as the newest ones.",  # noqa: E501 - one key of words.json
    BY_CELLS[
        True
    ]: "{names}: only a launch can tell what these data hold now, and none here has; the cells are of the same data as the newest ones.",  # noqa: E501 - one key of words.json
}
"""The same of several data sets."""


def unreadable(plan: Plan, history: History) -> list[Sentence]:
    """Damaged records of what the plan's data sets held."""
    text = "{dataset}: {file}, a record of what its data held, is damaged and counts as absent: remove it."
    kinds = {choice.plugin: choice.label for choice in plan.experiment.datasets}
    return [
        (text, {"dataset": label, "file": name})
        for dataset, label in kinds.items()
        if isinstance(dataset, Dataset)
        for name in history.damaged(dataset)
    ]


def newest(evaluations: Evaluations, dataset: Dataset) -> Content | None:
    """What the newest cell of a data set was trained on, where there is one.

    Of a published data set, a cell that was trained here tells: what others trained does not change what a name means.
    """
    files = [file for file in evaluations.storage.list(partition(dataset.key)) if cell_in(file.name)]
    summaries = Summaries.of(evaluations, [file.name for file in files])
    if not dataset.is_published:
        return told(dataset, summaries.contents([file.name for file in files]))
    latest_first = sorted(files, key=lambda file: -file.modified)
    origins = Origins.of(evaluations.folder.parent)
    footers = summaries.footers(file.name for file in latest_first)
    own = (footer.content for footer in footers if origins.origin(footer.seal, footer.signed) == "here")
    return next(filter(None, (told(dataset, [account]) for account in own)), None)


def difference(history: History, dataset: Dataset, planned: str | None, now: Content | None) -> str:
    """What differs between the data that a cell was planned for and those that it met; empty where that is unknown."""
    then = next((state for state in reversed(history.states(dataset)) if state.digest == planned), None)
    if then is None or then.manifest is None or now is None or now.manifest is None:
        return ""
    return ", ".join(map(filled, _said(changes(then.manifest, now.manifest))))
