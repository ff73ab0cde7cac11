"""The experiment as its file had it at the last launch: `experiments/NAME.json`, so that its results need no file."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.errors import DamagedFileError, NewerFormatError
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.reading import beside, folder, recalled
from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Location

VERSION = 1
"""Of such a file. A reader refuses what it does not know."""


def keep(experiment: Experiment, place: Location) -> None:
    """Write down an experiment, and the folder of its file, unless just that is written already."""
    root = folder(experiment)
    content = {
        "version": VERSION,
        "folder": None if root is None else str(root),
        "experiment": experiment.model_dump(mode="json"),
    }
    text = (json.dumps(content, indent=1) + "\n").encode()
    storage = Storage(place.parent)
    if storage.read(place.name) != text:
        storage.write(place.name, text)


def kept(place: Location) -> Experiment | None:
    """The experiment that was written down; None where none was.

    Raises:
        DamagedFileError: The file cannot be read.
        NewerFormatError: A newer version of this program wrote it.
        ExperimentError: The experiment cannot be read here, for example because a plug-in is missing.
    """
    text = Storage(place.parent).read(place.name)
    if text is None:
        return None
    try:
        found = json.loads(text)
        version = found["version"]
        document = {**found["experiment"]}
        root = found["folder"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{place} cannot be read ({error}): remove it, and the next launch writes it.") from None
    if version != VERSION:
        raise NewerFormatError(f"{place} has version {version}; this program reads {VERSION}: upgrade it.")
    experiment = recalled(document)
    return experiment if root is None else beside(experiment, Path(root))
