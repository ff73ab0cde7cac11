"""What data sets hold: asked of the data where they are, else as the workspace has it recorded.

`data/NAME-KEY/TIME-DIGEST.json.gz`, one small file a state, is never changed: what a launch found, with the SHA-256 of
each file, so that later it can be said what changed. KEY hashes the parameters that say which data are meant.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import DamagedFileError, NewerFormatError, RequestError
from orchestrator.experiment import Experiment
from orchestrator.records.cell_file import Account
from orchestrator.records.storage import Storage
from orchestrator.workspace import Location
from trainers.datasets import Dataset, MissingDataError, UnusableDataError
from trainers.datasets.content import ArraysError, Content, content
from trainers.datasets.hashes import forget

VERSION = 1
"""Of a record. A reader refuses what it does not know."""

MODIFIERS = frozenset(Dataset.model_fields)
"""What is done to the images once they are read; it takes no other files."""

Ask = Callable[[Dataset, MissingDataError | None], Content | None]
"""Finds out what a data set holds where cells run: it was not found here, or only its arrays tell."""


@dataclass(frozen=True)
class History:
    """The states of all data sets that were seen; a plain value, so that it crosses to worker processes."""

    place: Location

    def states(self, dataset: Dataset) -> list[Content]:
        """What a data set held, the oldest first, each with the time of its record.

        Raises:
            DamagedFileError: A record cannot be read.
        """
        storage = Storage(self.place / _folder(dataset))
        return [_state(storage, name) for name in _names(storage)]

    def last(self, dataset: Dataset) -> Content | None:
        """What it held when it was last seen; raises as `states` does."""
        storage = Storage(self.place / _folder(dataset))
        names = _names(storage)
        return _state(storage, names[-1]) if names else None

    def add(self, dataset: Dataset, held: Content) -> None:
        """Record what a data set holds, unless that is what it held when it was last seen."""
        last = self.last(dataset)
        if held.digest is None or (last and last.digest == held.digest and (last.manifest or not held.manifest)):
            return
        when = time.time() if held.recorded is None else held.recorded
        name = f"{datetime.fromtimestamp(when, UTC):%Y%m%dT%H%M%S.%f}-{held.digest[:16]}.json.gz"
        about = {"dataset": _meant(dataset), "digest": held.digest, "recorded": when, "manifest": held.manifest}
        text = json.dumps({"version": VERSION, **about}, allow_nan=False).encode()
        Storage(self.place / _folder(dataset)).write(name, gzip.compress(text, mtime=0))

    def learn(self, accounts: Iterable[Account]) -> None:
        """Record what the data sets of some cells held when these were trained, where that is not known."""
        newest: dict[Dataset, Content] = {}
        for account in sorted(accounts, key=lambda account: account.started):
            if digest := account.recipe.get("data_digest"):
                with suppress(ValidationError):  # a plug-in that is not here
                    newest[_plain(account.resolved.dataset)] = Content(digest, None, account.started)
        for dataset, held in newest.items():
            if all(state.digest != held.digest for state in self.states(dataset)):
                self.add(dataset, held)


def look(experiment: Experiment, history: History, data_dir: Path, ask: Ask | None = None) -> dict[str, Content]:
    """What the data sets of an experiment hold, by their labels; those whose name says so are left out.

    Args:
        experiment: The experiment.
        history: What the workspace has recorded; of data that are not here, the last state counts.
        data_dir: Folder that holds the data.
        ask: Finds out elsewhere, instead of believing the record.

    Raises:
        RequestError: With all that keeps it from being found out although the data are here.
    """
    found: dict[str, Content | None] = {}
    problems: list[str] = []
    for choice in experiment.datasets:
        assert isinstance(choice.plugin, Dataset)  # noqa: S101  for the type checker; the catalogue has checked it
        try:
            found[choice.label] = _held(choice.plugin, history, data_dir, ask)
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if problems:
        raise RequestError("\n".join(problems))
    return {label: held for label, held in found.items() if held is not None}


def _held(dataset: Dataset, history: History, data_dir: Path, ask: Ask | None) -> Content | None:
    absent: MissingDataError | None = None
    try:
        return content(dataset, data_dir)
    except UnusableDataError:  # they are here, and who counts their labels says what is wrong with them
        return Content(None)
    except MissingDataError as error:
        absent = error
    except ArraysError:
        pass
    if ask is not None:
        return ask(dataset, absent)
    return history.last(dataset) or (None if dataset.is_published else Content(None))


def examine(dataset: Dataset, data_dir: Path, *, rehash: bool = False) -> Content | None:
    """What a data set holds, in a process that may load it; it is downloaded and decoded if need be.

    Raises:
        MissingDataError: It is not here.
    """
    if rehash:
        forget(data_dir)
    dataset.prepare(data_dir)
    try:
        return content(dataset, data_dir)
    except ArraysError:
        return content(dataset, data_dir, dataset.load(data_dir))


def _names(storage: Storage) -> list[str]:
    """Of the records of one data set, the oldest first: names begin with the time."""
    return sorted(file.name for file in storage.list() if not file.is_half_written)


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
        version, held = found["version"], Content(found["digest"], found["manifest"], found["recorded"])
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(
            f"{file} is no record of a data set's content ({error}): remove it, and the next launch writes it again."
        ) from None
    if version > VERSION:
        raise NewerFormatError(f"{file} has version {version}; this program reads {VERSION}: upgrade it.")
    return held
