"""The plan: the grid of an experiment as cells, each with an identity.

A cell's id is the SHA-256 of the canonical JSON of `PROTOCOL` and its resolved recipe, with
every default filled in. Where and how it runs is not part of the id, so cells are shared
between experiments and machines.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.experiment.choices import Choice
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.resources import Resources
from trainers.backbones import Backbone
from trainers.datasets import Dataset
from trainers.datasets.content import Content
from trainers.recipe import Recipe

PROTOCOL = 2
"""Raised by hand when the same recipe gives another result or another id, so that no earlier cell matches.

2: the content of the data is part of the id; the validation split keeps every class; the bias starts at the prior;
EMA warms up; schedules end at their exact steps; rows keep log-odds.
"""

EARLIER = (1,)
"""Earlier protocols: their cells can be read and exported, but are never pooled with later ones."""

SHOWN = 16
"""Digits of an id shown to people; files and other programs get all 64."""


Contents = Mapping[str, Content]
"""The contents of data sets, by label; data sets whose name determines the content may be missing."""

AT = "@"
"""Separates the cell's id from the environment in the id of a replica."""


def original(cell_id: str) -> str:
    """The id of the cell that a replica repeats; the id of a cell unchanged."""
    return cell_id.partition(AT)[0]


@dataclass(frozen=True)
class Cell:
    """One model to train: its labels in the experiment, and its recipe."""

    id: str
    loss: str
    backbone: str
    dataset: str
    seed: int
    recipe: Recipe
    resources: Resources
    time_limit: float | None = None
    """Seconds after which an attempt is killed."""
    trial: int | None = None
    """In a tuning stage, the number of its trial."""
    data_known: bool = True
    """Whether the content of its data is known. If not, the id is only a placeholder, and no file has it."""

    @property
    def environment(self) -> str | None:
        """For a replica, the id of the environment in which it is retrained."""
        return self.id.partition(AT)[2] or None

    def again_in(self, environment: str) -> Cell:
        """This cell's replica in an environment: the same recipe with its own id and file."""
        return replace(self, id=f"{original(self.id)}{AT}{environment}")

    @property
    def kind(self) -> tuple[str, str, str]:
        """Loss, backbone and dataset by the catalogue's names: cells of one kind take about equally long."""
        return self.recipe.loss.key, self.recipe.backbone.key, self.recipe.dataset.key

    @property
    def name(self) -> str:
        """`LOSS/BACKBONE/DATASET/sSEED`, as in MLflow; for a trial, its number and epochs follow.

        A replica's name ends in `@ENVIRONMENT`.
        """
        trial = "" if self.trial is None else f"/t{self.trial}e{self.recipe.training.epochs}"
        again = self.environment and f"{AT}{self.environment}"
        return f"{self.loss}/{self.backbone}/{self.dataset}/s{self.seed}{trial}{again or ''}"


@dataclass(frozen=True)
class Plan:
    """The cells of one experiment, without duplicates."""

    experiment: Experiment
    cells: tuple[Cell, ...]
    contents: Contents = field(default_factory=dict)

    def pending(self, done: Collection[str]) -> Plan:
        """The plan without the cells that are done."""
        return replace(self, cells=tuple(cell for cell in self.cells if cell.id not in done))

    @property
    def is_told(self) -> bool:
        """Whether the data of all its cells are known; otherwise some ids are only placeholders."""
        return all(cell.data_known for cell in self.cells)

    def __len__(self) -> int:
        return len(self.cells)


def identity(recipe: Recipe) -> str:
    """The id of a recipe under the current protocol: 64 hexadecimal digits."""
    return digest(recipe.model_dump(mode="json"), PROTOCOL)


def digest(recipe: Mapping[str, Any], protocol: int) -> str:
    """The id of a recipe's JSON under a protocol, which may be an earlier one."""
    content = {"protocol": protocol, "recipe": recipe}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def plan(experiment: Experiment, contents: Contents | None = None) -> Plan:
    """The full grid losses x backbones x datasets x seeds.

    Cells with equal resources follow each other, because a worker process can be reused only
    for a cell that needs the same. Among these, seeds vary slowest, so that an interrupted
    grid has every comparison for a few seeds rather than a few comparisons for all seeds.

    Args:
        experiment: The experiment.
        contents: The contents of its data sets.
    """
    known = contents or {}
    cells = sorted(_cells(experiment, known), key=lambda cell: (cell.resources.gpus, cell.resources.cpus, cell.seed))
    return Plan(experiment, tuple(cells), known)


def digest_in(contents: Contents, dataset: Choice) -> tuple[str | None, bool]:
    """The digest of a data set's content as the recipe has it, and whether the content is known."""
    held = contents.get(dataset.label)
    if held is not None:
        return held.digest, held.digest is not None
    return None, isinstance(dataset.plugin, Dataset) and dataset.plugin.is_published


def weights_of(backbone: Choice) -> str:
    """The key under which contents have the file of a backbone's weights; no label of a data set has a slash."""
    return f"weights/{backbone.label}"


def weights_in(contents: Contents, backbone: Choice) -> tuple[str | None, bool]:
    """The digest of a backbone's weights as the recipe has it, and whether it is known."""
    assert isinstance(backbone.plugin, Backbone)  # noqa: S101  for the type checker; the catalogue has checked it
    if backbone.plugin.weights is None:
        return None, True
    held = contents.get(weights_of(backbone))
    digest = held and held.digest
    return digest, digest is not None


def _cells(experiment: Experiment, contents: Contents) -> Iterator[Cell]:
    grid = itertools.product(experiment.datasets, experiment.backbones, experiment.losses)
    for dataset, backbone, loss in grid:
        settled = experiment.settled(loss.label, backbone.label, dataset.label)
        data, known = digest_in(contents, dataset)
        weights, read = weights_in(contents, backbone)
        for seed in experiment.seeds:
            recipe = Recipe.model_construct(
                loss=settled.loss,
                backbone=backbone.plugin,
                dataset=dataset.plugin,
                seed=seed,
                training=settled.training,
                certify=experiment.kept_apart(dataset.label),
                data_digest=data,
                weights_digest=weights,
                trainer=experiment.trainer,
            )
            place = settled.resources, settled.time_limit
            labels = (loss.label, backbone.label, dataset.label)
            yield Cell(identity(recipe), *labels, seed, recipe, *place, data_known=known and read)
