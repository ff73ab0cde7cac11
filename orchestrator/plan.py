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
from dataclasses import dataclass
from typing import Any

from orchestrator.cluster import Resources
from orchestrator.experiment import Experiment
from trainers.recipe import Recipe

PROTOCOL = 1003
"""Raised by hand when the same recipe gives another result or another id: no earlier cell matches then.

Values above 1000 are provisional: each change on the way to protocol 2 has one of its own, so that cells trained in
between are pooled with nothing.
"""

EARLIER = (1,)
"""The protocols that were in use: their cells can be read and exported, and are never pooled with later ones."""

SHOWN = 16
"""Digits of an id that tables for people show; files and machines get all 64."""


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

    @property
    def kind(self) -> tuple[str, str, str]:
        """Loss, backbone and dataset under the catalogue's names: cells of a kind take about equally long."""
        return self.recipe.loss.key, self.recipe.backbone.key, self.recipe.dataset.key

    @property
    def name(self) -> str:
        """`LOSS/BACKBONE/DATASET/sSEED`, as in MLflow; of a trial, with its number and epochs behind."""
        trial = "" if self.trial is None else f"/t{self.trial}e{self.recipe.training.epochs}"
        return f"{self.loss}/{self.backbone}/{self.dataset}/s{self.seed}{trial}"


@dataclass(frozen=True)
class Plan:
    """Cells of one experiment, each id once."""

    experiment: Experiment
    cells: tuple[Cell, ...]

    def pending(self, done: Collection[str]) -> Plan:
        """The plan without the cells that are done."""
        return Plan(self.experiment, tuple(cell for cell in self.cells if cell.id not in done))

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


def plan(experiment: Experiment) -> Plan:
    """The full grid losses x backbones x datasets x seeds.

    Neighbours in the plan need equal resources, because a worker process can only be
    reused for a cell that needs the same; within these, seeds vary slowest, so that an
    interrupted grid holds whole comparisons of few seeds rather than few comparisons.
    """
    cells = sorted(_cells(experiment), key=lambda cell: (cell.resources.gpus, cell.resources.cpus, cell.seed))
    return Plan(experiment, tuple(cells))


def _cells(experiment: Experiment) -> Iterator[Cell]:
    grid = itertools.product(experiment.datasets, experiment.backbones, experiment.losses)
    for dataset, backbone, loss in grid:
        settled = experiment.settled(loss.label, backbone.label, dataset.label)
        for seed in experiment.seeds:
            recipe = Recipe.model_construct(
                loss=settled.loss,
                backbone=backbone.plugin,
                dataset=dataset.plugin,
                seed=seed,
                training=settled.training,
            )
            labels = (loss.label, backbone.label, dataset.label)
            yield Cell(identity(recipe), *labels, seed, recipe, settled.resources, settled.time_limit)
