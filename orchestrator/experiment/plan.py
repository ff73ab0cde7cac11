"""The plan: the grid of an experiment as cells, each with an identity.

A cell's id is the SHA-256 of the canonical JSON of its resolved recipe, every default
filled in, and `PROTOCOL`. Where and how it runs is no part of it, so cells are shared
between experiments and machines.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.experiment.model import Choice, Experiment
from orchestrator.experiment.resources import Resources
from trainers.datasets import Dataset
from trainers.datasets.content import Content
from trainers.recipe import Recipe

PROTOCOL = 2
"""Raised by hand when the same recipe gives another result or another id: no earlier cell matches then.

2: what the data hold is part of the id; the validation split keeps every class; the bias starts where the prior says;
EMA warms up; schedules end at their exact steps; rows keep log-odds.
"""

EARLIER = (1,)
"""The protocols that were in use: their cells can be read and exported, and are never pooled with later ones."""

SHOWN = 16
"""Digits of an id that tables for people show; files and machines get all 64."""


Contents = Mapping[str, Content]
"""What data sets hold, by their labels; those whose name fixes their content may be left out."""

AT = "@"
"""Between the id of a cell and the environment of its replica."""


def original(cell_id: str) -> str:
    """The id of the cell that a replica's id is of; a cell's own id as it is."""
    return cell_id.partition(AT)[0]


@dataclass(frozen=True)
class Cell:
    """One model to train: what an experiment calls it, and its recipe."""

    id: str
    loss: str
    backbone: str
    dataset: str
    seed: int
    recipe: Recipe
    resources: Resources
    time_limit: float | None = None
    """Seconds after which an attempt at it is ended."""
    trial: int | None = None
    """Of a tuning stage: which of its trials this is."""
    data_known: bool = True
    """Whether it is known what the data hold; where it is not, no file has the id, which only stands in."""

    @property
    def environment(self) -> str | None:
        """Of a replica, the id of the environment that it is trained again in."""
        return self.id.partition(AT)[2] or None

    def again_in(self, environment: str) -> Cell:
        """This cell's replica in an environment: the same recipe, and an id and a file of its own."""
        return replace(self, id=f"{original(self.id)}{AT}{environment}")

    @property
    def kind(self) -> tuple[str, str, str]:
        """Loss, backbone and dataset under the catalogue's names: cells of a kind take about equally long."""
        return self.recipe.loss.key, self.recipe.backbone.key, self.recipe.dataset.key

    @property
    def name(self) -> str:
        """`LOSS/BACKBONE/DATASET/sSEED`, as in MLflow; of a trial, with its number and epochs behind.

        A replica's ends in `@ENVIRONMENT`.
        """
        trial = "" if self.trial is None else f"/t{self.trial}e{self.recipe.training.epochs}"
        again = self.environment and f"{AT}{self.environment}"
        return f"{self.loss}/{self.backbone}/{self.dataset}/s{self.seed}{trial}{again or ''}"


@dataclass(frozen=True)
class Plan:
    """Cells of one experiment, each id once."""

    experiment: Experiment
    cells: tuple[Cell, ...]
    contents: Contents = field(default_factory=dict)

    def pending(self, done: Collection[str]) -> Plan:
        """The plan without the cells that are done."""
        return replace(self, cells=tuple(cell for cell in self.cells if cell.id not in done))

    @property
    def is_told(self) -> bool:
        """Whether it is known of all its cells what their data hold; else some ids only stand in."""
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

    Neighbours in the plan need equal resources, because a worker process can only be
    reused for a cell that needs the same; within these, seeds vary slowest, so that an
    interrupted grid holds whole comparisons of few seeds rather than few comparisons.

    Args:
        experiment: What is asked.
        contents: What the data sets hold.
    """
    known = contents or {}
    cells = sorted(_cells(experiment, known), key=lambda cell: (cell.resources.gpus, cell.resources.cpus, cell.seed))
    return Plan(experiment, tuple(cells), known)


def digest_in(contents: Contents, dataset: Choice) -> tuple[str | None, bool]:
    """What stands in the recipe for a data set's content, and whether it is known."""
    held = contents.get(dataset.label)
    if held is not None:
        return held.digest, held.digest is not None
    return None, isinstance(dataset.plugin, Dataset) and dataset.plugin.is_published


def _cells(experiment: Experiment, contents: Contents) -> Iterator[Cell]:
    grid = itertools.product(experiment.datasets, experiment.backbones, experiment.losses)
    for dataset, backbone, loss in grid:
        settled = experiment.settled(loss.label, backbone.label, dataset.label)
        data, known = digest_in(contents, dataset)
        for seed in experiment.seeds:
            recipe = Recipe.model_construct(
                loss=settled.loss,
                backbone=backbone.plugin,
                dataset=dataset.plugin,
                seed=seed,
                training=settled.training,
                data_digest=data,
            )
            place = settled.resources, settled.time_limit
            labels = (loss.label, backbone.label, dataset.label)
            yield Cell(identity(recipe), *labels, seed, recipe, *place, data_known=known)
