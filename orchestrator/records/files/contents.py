"""What data sets hold: asked of the data where they are, else as the workspace has it recorded.

`data/NAME-KEY/TIME-DIGEST.json.gz`, one small file a state, is never changed: what a launch found, with the SHA-256 of
each file, so that later it can be said what changed. KEY hashes the parameters that say which data are meant.
Beside them, `HOST.place` is the folder in which a launch on that machine had the data; it stays in the workspace.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import socket
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import DamagedFileError, NewerFormatError, RequestError
from orchestrator.experiment.choices import Choice
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import PROTOCOL, weights_of
from orchestrator.records.files.cell_file import Account
from orchestrator.records.files.footer import LATEST
from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Location
from trainers.backbones import Backbone
from trainers.datasets import Dataset, MissingDataError, UnusableDataError
from trainers.datasets.content import ArraysError, Content, content, here
from trainers.datasets.hashes import forget
from trainers.weights import MissingWeightsError

VERSION = 1
"""Of a record. A reader refuses what it does not know."""

MODIFIERS = frozenset(Dataset.model_fields) - {"unknowns"}
"""What is done to the images once they are read; it takes no other files."""

DATA = Path("data")
"""The folder that holds or receives data sets where nobody names one."""

Ask = Callable[[Dataset, MissingDataError | None], Content | None]
"""Finds out what a data set holds where cells run: it was not found here, or only its arrays tell."""


@dataclass(frozen=True)
class History:
    """The states of all data sets that were seen; a plain value, so that it crosses to worker processes."""

    place: Location

    def states(self, dataset: Dataset) -> list[Content]:
        """What a data set held, the oldest first, each with the time of its record; `damaged` names records left out.

        Raises:
            NewerFormatError: A newer version of this program wrote a record.
        """
        return [state for state in self._records(dataset) if isinstance(state, Content)]

    def damaged(self, dataset: Dataset) -> list[str]:
        """The records that cannot be read, which count as absent: their names below the folder of all records."""
        return [state for state in self._records(dataset) if isinstance(state, str)]

    def _records(self, dataset: Dataset) -> Iterator[Content | str]:
        storage = Storage(self.place / _folder(dataset))
        for name in _names(storage):
            try:
                yield _state(storage, name)
            except DamagedFileError:
                yield f"{_folder(dataset)}/{name}"

    def last(self, dataset: Dataset) -> Content | None:
        """What it held when a launch last looked; where none did, as the last of the cells from elsewhere tell.

        Raises as `states` does.
        """
        return max(self.states(dataset), key=lambda state: (not state.by_cells, state.recorded or 0.0), default=None)

    def add(self, dataset: Dataset, held: Content) -> None:
        """Record what a data set holds, unless that is what it held when it was last seen."""
        last = self.last(dataset)
        is_known = last and (last.digest, last.by_cells) == (held.digest, held.by_cells)
        if held.digest is None or (is_known and last and (last.manifest or not held.manifest)):
            return
        when = time.time() if held.recorded is None else held.recorded
        name = f"{datetime.fromtimestamp(when, UTC):%Y%m%dT%H%M%S.%f}-{held.digest[:16]}.json.gz"
        about = {"dataset": _meant(dataset), "digest": held.digest, "recorded": when, "manifest": held.manifest}
        text = json.dumps({"version": VERSION, **about, "by_cells": held.by_cells}, allow_nan=False).encode()
        Storage(self.place / _folder(dataset)).write(name, gzip.compress(text, mtime=0))

    def see(self, dataset: Dataset, held: Content | None) -> None:
        """Record what a launch found; None is the published data, which need a record only beside one of others."""
        if held is not None:
            self.add(dataset, replace(held, by_cells=False, recorded=None))
        elif self.states(dataset):
            self.add(dataset, Content(dataset.published_digest))

    def learn(self, accounts: Iterable[Account]) -> None:
        """Record what the data sets of some cells held when these were trained, where that is not known."""
        newest: dict[Dataset, Content] = {}
        for account in sorted(accounts, key=lambda account: dated(account.started)):
            if digest := account.recipe.get("data_digest"):
                with suppress(ValidationError):  # a plug-in that is not here
                    held = Content(digest, None, dated(account.started), by_cells=True)
                    newest[_plain(account.resolved.dataset)] = held
        for dataset, held in newest.items():
            if all(state.digest != held.digest for state in self.states(dataset)):
                self.add(dataset, held)

    def put(self, dataset: Dataset, data_dir: Path) -> None:
        """Record where this machine has the data."""
        storage = Storage(self.place / _folder(dataset))
        text = str(data_dir.resolve()).encode()
        if storage.read(_here()) != text:
            storage.write(_here(), text)

    def folder(self, dataset: Dataset) -> Path | None:
        """Where a launch on this machine had the data; None where there was none."""
        found = Storage(self.place / _folder(dataset)).read(_here())
        return None if found is None else Path(found.decode(errors="replace"))


def dated(started: float) -> float:
    """When a cell began, as far as it can be: a time that a file states may be anything, such as 1e300."""
    now = time.time()
    return min(started, now) if 0 <= started <= now + DAY else 0.0


DAY = 86_400.0
"""Seconds by which the clock of another machine may be ahead."""


def told(dataset: Dataset, contents: Iterable[Mapping[str, Any]]) -> Content | None:
    """What a data set held when the newest of some cells began, which alone tell; None where none is of it.

    Args:
        dataset: The data set.
        contents: Accounts of cells, as JSON has them.
    """
    mine = [
        Content(digest, None, dated(each["started"]), by_cells=True)
        for each in contents
        if each["protocol"] == PROTOCOL
        and (digest := each["recipe"].get("data_digest") or dataset.published_digest)
        and {key: value for key, value in each["recipe"]["dataset"].items() if key not in MODIFIERS} == _meant(dataset)
    ]
    return max(mine, key=lambda held: held.recorded or 0.0, default=None)


def folder(experiment: Experiment, history: History) -> Path:
    """Where the data are if nobody says so: `DATA`, else where the last launch on this machine had those not there."""
    for choice in experiment.datasets:
        assert isinstance(choice.plugin, Dataset)  # noqa: S101  as below
        place = history.folder(choice.plugin)
        if place is None or place == DATA.resolve():
            continue
        try:
            _content(choice.plugin, DATA)
        except MissingDataError:
            return place
        except (ArraysError, UnusableDataError, ValueError, OSError):  # they are there; who looks at them says more
            continue
    return DATA


def look(
    experiment: Experiment,
    history: History,
    data_dir: Path,
    ask: Ask | None = None,
    newest: Callable[[Dataset], Content | None] = lambda _: None,
) -> dict[str, Content]:
    """What the data sets of an experiment hold, by their labels; those whose name says so are left out.

    Args:
        experiment: The experiment.
        history: What the workspace has recorded; of data that are not here, the last state counts.
        data_dir: Folder that holds the data.
        ask: Finds out elsewhere, instead of believing the record.
        newest: Says what the newest cell was trained on, for data that are not here and that no launch recorded.

    Raises:
        RequestError: With all that keeps it from being found out although the data are here.
    """
    found: dict[str, Content | None] = {}
    problems: list[str] = []
    for choice in experiment.datasets:
        assert isinstance(choice.plugin, Dataset)  # noqa: S101  for the type checker; the catalogue has checked it
        try:
            found[choice.label] = _held(choice.plugin, history, data_dir, ask, newest)
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if problems:
        raise RequestError("\n".join(problems))
    known = {label: held for label, held in found.items() if held is not None}
    return known | {weights_of(choice): held for choice in experiment.backbones if (held := _weights(choice, data_dir))}


def _weights(choice: Choice, data_dir: Path) -> Content | None:
    """The file of a backbone's weights; None if it has none, or if they are not here."""
    assert isinstance(choice.plugin, Backbone)  # noqa: S101  as above
    try:
        weights = choice.plugin.pretrained(data_dir)
    except MissingWeightsError:
        return None
    return weights and Content(weights.sha256)


def _held(
    dataset: Dataset,
    history: History,
    data_dir: Path,
    ask: Ask | None,
    newest: Callable[[Dataset], Content | None],
) -> Content | None:
    absent: MissingDataError | None = None
    try:
        return _content(dataset, data_dir)
    except UnusableDataError:  # they are here, and who counts their labels says what is wrong with them
        return Content(None)
    except MissingDataError as error:
        absent = error
    except ArraysError:
        pass
    if ask is not None:
        return ask(dataset, absent)
    last = history.last(dataset)
    if dataset.is_published and last and last.by_cells:  # what others say does not change what a name means
        last = None
    if last is None or last.by_cells:
        last = newest(dataset) or last
    if dataset.is_published and (last is None or last.digest == dataset.published_digest):
        return None
    return replace(last or Content(None), needs_loading=absent is None)


def _content(dataset: Dataset, data_dir: Path) -> Content | None:
    """As `content`; data that need a package which is not installed count as missing."""
    try:
        return content(dataset, data_dir)
    except ModuleNotFoundError as error:
        raise MissingDataError(f"The data of '{dataset.key}' need {error.name}, which is not installed.") from error


def examine(dataset: Dataset, data_dir: Path, *, rehash: bool = False) -> Content | None:
    """What a data set holds, in a process that may load it; it is downloaded and decoded if need be.

    Raises:
        MissingDataError: It is not here.
    """
    if rehash:
        forget(data_dir)
    for source in dataset.sources:
        source.prepare(data_dir)
    return here(dataset, data_dir)


def _names(storage: Storage) -> list[str]:
    """Of the records of one data set, the oldest first: names begin with the time."""
    return sorted(file.name for file in storage.list() if file.name.endswith(SUFFIX) and not file.is_half_written)


SUFFIX = ".json.gz"


def _here() -> str:
    """The name of the file that says where this machine has the data."""
    return f"{re.sub(r'[^A-Za-z0-9.-]', '_', socket.gethostname()).lstrip('.')}.place"


def _plain(dataset: Dataset) -> Dataset:
    """The data set without what is done to its images once they are read."""
    return dataset.model_copy(update={name: Dataset.model_fields[name].default for name in MODIFIERS})


def _meant(dataset: Dataset) -> dict[str, Any]:
    return dataset.model_dump(mode="json", exclude=set(MODIFIERS))


def _folder(dataset: Dataset) -> str:
    text = json.dumps(_meant(dataset), sort_keys=True)
    return f"{dataset.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _state(storage: Storage, name: str) -> Content:
    file = storage.root / name
    try:
        found: Mapping[str, Any] = json.loads(gzip.decompress(storage.read(name) or b""))
        version = int(found["version"])
        held = Content(found["digest"], found["manifest"], found["recorded"], by_cells=found.get("by_cells", False))
        if version <= VERSION:
            _check(held)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(
            f"{file} is no record of a data set's content ({error}): remove it, and the next launch writes it again."
        ) from None
    if version > VERSION:
        raise NewerFormatError(f"{file} has version {version}; this program reads {VERSION}: upgrade it.")
    return held


def _check(held: Content) -> None:
    if not re.fullmatch("[0-9a-f]{64}", held.digest or ""):
        raise ValueError("its digest is not 64 hexadecimal digits")
    if not isinstance(held.recorded, (int, float)) or not 0 <= held.recorded < LATEST:
        raise ValueError("its time cannot be")
    if held.manifest is not None and not isinstance(held.manifest, dict):
        raise ValueError("its files are no table")
