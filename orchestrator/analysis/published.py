"""Figures from papers, to be read beside ours. The files say of each where it comes from and what is inferred."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.experiment.choices import Choice
from orchestrator.experiment.model import Experiment
from trainers.plugin import Frozen

FILE = Path(__file__).with_name("published.csv")
SETTINGS = Path(__file__).with_name("published_settings.json")


class Difference(NamedTuple):
    """In what our network or recipe is another: a text of the page's words, and what stands in its braces."""

    text: str
    values: dict[str, str]

    def __str__(self) -> str:
        """In English."""
        return self.text.format(**self.values)


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
    network: str = ""
    """The network, where it is another than ours of that name."""
    setting: str = ""
    """By which recipe of `settings`; empty where none is published."""
    differs: tuple[Difference, ...] = ()
    """In what our network and recipe are others."""

    def to_json(self) -> dict[str, Any]:
        """As JSON has it, the differences in English."""
        return {**asdict(self), "differs": [str(each) for each in self.differs]}


@dataclass(frozen=True)
class PublishedRecipe:
    """A published recipe, in the fields of ours, and what these cannot say."""

    training: Mapping[str, Any]
    losses: Mapping[str, Mapping[str, Any]]
    """Fields of the losses, by their names."""
    datasets: Mapping[str, list[str]]
    """What our recipes have no field for, by data set."""
    beyond: list[str]
    """The same, of all data sets."""


@cache
def published() -> tuple[Published, ...]:
    """All figures of the file, in its order."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return tuple(_figure(row) for row in csv.DictReader(file))


@cache
def settings() -> dict[str, PublishedRecipe]:
    """The published recipes by name."""
    return {
        name: PublishedRecipe(**fields) for name, fields in json.loads(SETTINGS.read_text(encoding="utf-8")).items()
    }


def _figure(row: dict[str, str]) -> Published:
    recipe = " ".join(row[part] for part in ("optimizer", "augmentation") if row[part])
    if row["imbalance"]:
        recipe += f" imbalance {row['imbalance']}"
    return Published(
        dataset=row["dataset"],
        backbone=row["backbone"],
        loss=row["loss"],
        metric=row["metric"],
        value=float(row["value"]),
        recipe=recipe.strip(),
        source=row["source"],
        network=row["network"],
        setting=row["setting"],
    )


def beside(experiment: Experiment) -> Iterator[Published]:
    """The figures of cells that the experiment has, and in what these differ from the published ones."""
    if experiment.trainer:  # what a name means there, only the command knows
        return
    for figure in published():
        loss, backbone, dataset = (
            next((choice for choice in choices if choice.plugin.key == key), None)
            for choices, key in (
                (experiment.losses, figure.loss),
                (experiment.backbones, figure.backbone),
                (experiment.datasets, figure.dataset),
            )
        )
        if loss and backbone and dataset:
            yield replace(figure, differs=tuple(_differences(figure, experiment, loss, backbone, dataset)))


def _differences(
    figure: Published, experiment: Experiment, loss: Choice, backbone: Choice, dataset: Choice
) -> Iterator[Difference]:
    """In what our cells are others than the published one."""
    if figure.network:
        yield Difference("theirs is a {network}", {"network": figure.network})
    if dataset.plugin != type(dataset.plugin)():
        yield Difference("ours changes the data set", {})
    if figure.setting not in settings():
        yield Difference("their recipe is not published", {})
        return
    setting = settings()[figure.setting]
    ours = experiment.settled(loss.label, backbone.label, dataset.label)
    yield from _fields(ours.training, setting.training)
    yield from _fields(ours.loss, setting.losses.get(figure.loss, {}))
    for theirs in (*setting.datasets.get(figure.dataset, []), *setting.beyond):
        yield Difference(theirs, {})


def _fields(ours: Frozen, theirs: Mapping[str, Any]) -> Iterator[Difference]:
    fields = ours.model_dump(mode="json") | {name: getattr(ours, name) for name in theirs}
    for name, value in theirs.items():
        mine = list(fields[name]) if isinstance(fields[name], tuple) else fields[name]
        if mine != value and not (name in {"milestones", "step_factor"} and fields["schedule"] != "step"):
            yield Difference(
                "{name} {ours} instead of {theirs}", {"name": name, "ours": _shown(mine), "theirs": _shown(value)}
            )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
