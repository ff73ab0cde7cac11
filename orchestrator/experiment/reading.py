"""Reads an experiment: from its file, or from a record of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from orchestrator.errors import ExperimentError
from orchestrator.experiment import yaml_lines
from orchestrator.experiment.choices import AXES
from orchestrator.experiment.model import Experiment
from trainers.datasets import Dataset


def recalled(document: Mapping[str, Any]) -> Experiment:
    """Read an experiment from the JSON of `model_dump`.

    Raises:
        ExperimentError: It cannot be read here, for example because a plug-in is missing.
    """
    given = _without_none(document)
    for axis in AXES.values():
        given[axis] = [{**choice["plugin"], "as": choice["label"]} for choice in given[axis]]
    try:
        return Experiment.model_validate(given)
    except ValidationError as error:
        raise ExperimentError([sentence for _, sentence in yaml_lines.problems(error, Experiment)]) from None


def _without_none(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without entries that are None, which mean the default."""
    return {
        name: _without_none(cast("dict[str, Any]", value)) if isinstance(value, dict) else value
        for name, value in document.items()
        if value is not None
    }


def load(path: Path) -> Experiment:
    """Read an experiment file.

    Raises:
        ExperimentError: The file is wrong; the message has every problem with its line.
    """
    text = yaml_lines.read(path)
    if not isinstance(text.document, dict):
        found = "nothing" if text.document is None else f"a {type(text.document).__name__}"
        needed = ", ".join(name for name, field in Experiment.model_fields.items() if field.is_required())
        sentence = f"{path}:1: An experiment is a mapping with at least {needed}; found {found}."
        raise ExperimentError([sentence])
    try:
        found = beside(Experiment.model_validate(text.document), path.parent)
    except ValidationError as error:
        raise text.error(error, Experiment) from None
    if found.trainer is None:
        return found
    words = range(len(found.trainer.command))
    lines = [f"{path}:{text.line(('trainer', 'command', place))}" for place in words]
    return found.model_copy(update={"trainer": found.trainer.written(lines)})


def beside(experiment: Experiment, folder: Path) -> Experiment:
    """The experiment with its command, and relative paths of data sets, in a folder, that of its file."""
    root = Path(os.path.abspath(folder))  # noqa: PTH100 - a link to a file's folder stays what its user calls it
    placed = tuple(
        choice.model_copy(update={"plugin": _beside(cast("Dataset", choice.plugin), root)})
        for choice in experiment.datasets
    )
    trainer = experiment.trainer and experiment.trainer.beside(root)
    return experiment.model_copy(update={"datasets": placed, "trainer": trainer})


def _beside(dataset: Dataset, root: Path) -> Dataset:
    placed = dataset.beside(root)
    others = dataset.unknowns and dataset.unknowns.beside(root)
    return placed.model_copy(update={"unknowns": others}) if others else placed


def folder(experiment: Experiment) -> Path | None:
    """The folder of the file, where relative paths of data sets or a command need it; None where nothing does."""
    datasets = [cast("Dataset", choice.plugin) for choice in experiment.datasets]
    folders = [source.relative_to for dataset in datasets for source in dataset.sources]
    if experiment.trainer:
        folders.append(experiment.trainer.relative_to)
    return next((folder for folder in folders if folder), None)
