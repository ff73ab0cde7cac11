"""Figures from papers, to be read beside ours. The file says of each where it comes from and what is inferred."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from orchestrator.experiment import Experiment

FILE = Path(__file__).with_name("published.csv")


@dataclass(frozen=True)
class Published:
    """One published figure, under the catalogue's names; `value` is a fraction."""

    dataset: str
    backbone: str
    loss: str
    metric: str
    value: float
    recipe: str
    source: str


@cache
def published() -> tuple[Published, ...]:
    """All figures of the file, in its order."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return tuple(_figure(row) for row in csv.DictReader(file))


def _figure(row: dict[str, str]) -> Published:
    recipe = " ".join(row[part] for part in ("optimizer", "augmentation") if row[part])
    if row["imbalance"]:
        recipe += f" imbalance {row['imbalance']}"
    axes = (row[axis] for axis in ("dataset", "backbone", "loss", "metric"))
    return Published(*axes, value=float(row["value"]), recipe=recipe.strip(), source=row["source"])


def beside(experiment: Experiment) -> Iterator[Published]:
    """The figures of cells that the experiment has, whatever their recipes."""
    datasets, backbones, losses = (
        {choice.plugin.key for choice in choices}
        for choices in (experiment.datasets, experiment.backbones, experiment.losses)
    )
    for figure in published():
        if figure.dataset in datasets and figure.backbone in backbones and figure.loss in losses:
            yield figure
