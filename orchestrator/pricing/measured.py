"""How fast cells ran: what finished cells and rehearsals of a workspace tell."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from orchestrator.experiment.checks import LabelSource
from orchestrator.experiment.plan import Cell
from orchestrator.pricing.images import shape_here
from orchestrator.pricing.rates import CellRate
from orchestrator.pricing.work import ImageCounts, Shape, per_image, work_of
from orchestrator.records.files.evaluations import Evaluations
from trainers.recipe import Recipe

MOST = 6
"""Files that are read of each data set and backbone, so that planning stays quick in a large workspace."""

_PLACE = re.compile(r"dataset=(?P<dataset>[^/]+)/backbone=(?P<backbone>[^/]+)/loss=(?P<loss>[^/]+)/")


@dataclass(frozen=True)
class Observation:
    """How fast one cell, or a rehearsal, ran."""

    backbone: str
    dataset: str
    device: str
    """The GPU by torch's name; without one, the processor."""
    cpus: int
    gpus: float
    precision: str
    flops_per_second: float
    fixed_seconds: float
    source: str
    kind: str | None = None
    """What tells equally long cells from others; None of a rehearsal."""
    seconds: float | None = None
    """Of the whole cell, if it ran in one attempt."""
    row_bytes: float | None = None


def kind_of(recipe: Mapping[str, Any], cpus: int) -> str:
    """What tells equally long cells from others: all of the recipe's JSON but loss, seed and content, and the cores."""
    parts = {name: recipe.get(name) for name in ("backbone", "dataset", "training", "scored_on")}
    return json.dumps([parts, cpus], sort_keys=True)


def finished(evaluations: Evaluations, backbones: Collection[str], labels_of: LabelSource) -> list[Observation]:
    """What finished cells of these backbones tell, by the catalogue's names, whichever experiment they are of.

    Args:
        evaluations: Their files.
        backbones: The names.
        labels_of: Returns the labels of a dataset, where they are here.
    """
    by_place = defaultdict[tuple[str, str], dict[str, list[str]]](lambda: defaultdict(list))
    for name in evaluations.names():
        if (place := _PLACE.match(name)) and place["backbone"].replace("%3A", ":") in backbones:
            by_place[place["dataset"], place["backbone"]][place["loss"]].append(name)
    chosen = [name for losses in by_place.values() for name in _some(list(losses.values()))]
    return [seen for content in evaluations.contents(chosen) if (seen := _observed(content, labels_of))]


def _some(by_loss: list[list[str]]) -> Iterator[str]:
    """A few files, of each loss in turn."""
    turns = (names[turn] for turn in range(MOST) for names in by_loss if turn < len(names))
    for number, name in enumerate(turns):
        if number == MOST:
            return
        yield name


def _observed(content: Mapping[str, Any], labels_of: LabelSource) -> Observation | None:
    """What one finished cell tells; None if it says too little, or its plug-ins are not here."""
    told = content["provenance"]
    training_seconds = content["train_seconds"]
    processor = told.get("processor")
    if content["state"] not in {"finished", "collapsed"} or not training_seconds or not content["images_per_second"]:
        return None
    try:
        recipe = Recipe.model_validate(content["recipe"])
    except (ValidationError, ValueError):
        return None
    images = _images(recipe, content, labels_of)
    work = images and work_of(recipe, images)
    gpu = told.get("device") not in {None, "cpu"}
    device = told["device"] if gpu else processor
    if not work or not work.flops or not device:
        return None
    rate = work.training_flops / training_seconds
    in_one_attempt = content["seconds"] > training_seconds
    fixed = content["seconds"] - training_seconds - work.final_flops / rate if in_one_attempt else 0.0
    cpus = told.get("threads") or 1
    return Observation(
        backbone=recipe.backbone.key,
        dataset=recipe.dataset.key,
        device=device,
        cpus=cpus,
        gpus=_share(told, content["seconds"]) if gpu else 0.0,
        precision=recipe.training.precision,
        flops_per_second=rate,
        fixed_seconds=max(0.0, fixed),
        source="finished cells",
        kind=kind_of(content["recipe"], cpus),
        seconds=content["seconds"] if in_one_attempt else None,
    )


def _share(told: Mapping[str, Any], seconds: float) -> float:
    """The GPUs that a cell had."""
    spent = told.get("gpu_seconds")
    return round(spent / seconds, 2) if spent and seconds else 1.0


def _images(recipe: Recipe, content: Mapping[str, Any], labels_of: LabelSource) -> ImageCounts | None:
    """The images of a cell that is done, by its own account."""
    shape = shape_here(recipe.dataset, labels_of)
    if shape is None or not content["classes"]:
        return None
    per_epoch = round(content["images_per_second"] * content["train_seconds"] / max(1, content["epochs"]))
    fraction = recipe.training.validation_fraction
    validation = round(per_epoch * fraction / (1 - fraction))
    return ImageCounts(per_epoch, validation, content["samples"], shape, content["classes"])


def rehearsed(rates: Iterable[CellRate], backbones: Mapping[str, Cell]) -> list[Observation]:
    """What rehearsals tell of backbones, each given with a cell that has it; of several like ones, the last."""
    last = {(rate.backbone, rate.dataset, rate.device, rate.cpus, rate.gpus, rate.precision): rate for rate in rates}
    found = list[Observation]()
    for rate in last.values():
        cell = backbones.get(rate.backbone)
        work = cell and per_image(cell.recipe.backbone, _triple(rate.shape), rate.classes)
        if work and work.training_flops:
            found.append(
                Observation(
                    backbone=rate.backbone,
                    dataset=rate.dataset,
                    device=rate.device,
                    cpus=rate.cpus,
                    gpus=rate.gpus,
                    precision=rate.precision,
                    flops_per_second=rate.images_per_second * work.training_flops,
                    fixed_seconds=rate.fixed_seconds,
                    source=rate.source,
                    row_bytes=rate.row_bytes,
                )
            )
    return found


def _triple(shape: Shape) -> Shape:
    channels, height, width = shape
    return channels, height, width
