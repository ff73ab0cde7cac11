"""What the features of frozen data sets take: a launch computes them before its first cell, once per machine."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from orchestrator.experiment.checks import LabelSource
from orchestrator.experiment.plan import Cell
from orchestrator.pricing import devices
from orchestrator.pricing.estimate import Range
from orchestrator.pricing.images import size_of
from orchestrator.pricing.work import bare
from trainers.datasets import MissingDataError
from trainers.datasets.frozen import Frozen

HOUR = 3600.0


@dataclass(frozen=True)
class FeatureCost:
    """What the features that are not on this machine yet take there."""

    images: int
    """That pass through a network, each as often as there are networks."""
    flops: float
    core_hours: Range
    networks: tuple[str, ...]
    source: str
    """Where the time comes from."""
    unknown: tuple[str, ...]
    """Networks about which too little is known; no figure includes them."""


class _Pass(NamedTuple):
    """The images of a data set's split through a network."""

    network: str
    images: int
    flops: float
    moved_bytes: float


def features(cells: Iterable[Cell], labels_of: LabelSource, data_dir: Path) -> FeatureCost | None:
    """What the features that cells wait for take; None where they wait for none.

    Args:
        cells: The cells that wait.
        labels_of: Returns the labels of a data set, where they are here.
        data_dir: The folder of the data.
    """
    missing = [dataset for dataset in _frozen(cells) if not _is_computed(dataset, data_dir)]
    if not missing:
        return None
    # Data sets that differ in held-out classes or in unknown samples share the features of the same images.
    passes = dict[str, _Pass]()
    unknown = list[str]()
    for dataset in missing:
        found = _passes(dataset, labels_of, data_dir)
        if found is None:
            unknown.append(dataset.by.key)
        else:
            passes |= found
    core = devices.DEVICES[devices.PROCESSOR]
    seconds = [core.seconds(each.flops, each.moved_bytes, utilisation=devices.FORWARD) for each in passes.values()] or [
        (0.0, 0.0)
    ]
    return FeatureCost(
        images=sum(each.images for each in passes.values()),
        flops=math.fsum(each.flops for each in passes.values()),
        core_hours=Range.between(*(math.fsum(part) / HOUR for part in zip(*seconds, strict=True))),
        networks=tuple(dict.fromkeys(each.network for each in passes.values())),
        source=core.unmeasured,
        unknown=tuple(dict.fromkeys(unknown)),
    )


def _frozen(cells: Iterable[Cell]) -> Iterator[Frozen]:
    # By object identity: many cells share a few data sets, and comparing their values is slow.
    for dataset in {id(cell.recipe.dataset): cell.recipe.dataset for cell in cells}.values():
        if isinstance(dataset, Frozen):
            yield dataset


def _is_computed(dataset: Frozen, data_dir: Path) -> bool:
    try:
        return dataset.is_computed(data_dir)
    except MissingDataError:  # images or weights are still to come
        return False


def _passes(dataset: Frozen, labels_of: LabelSource, data_dir: Path) -> dict[str, _Pass] | None:
    """The splits that pass through the network, by what determines their features; None where too little is known."""
    try:
        side = dataset.side(data_dir)
    except MissingDataError:
        return None
    work = bare(dataset.by, (3, side, side))
    own = size_of(dataset.of, labels_of)
    if work is None or own is None:
        return None
    splits = [(dataset.of, "train", own[0]), (dataset.of, "test", own[1])]
    if others := dataset.unknowns:
        size = size_of(others, labels_of)
        if size is None:
            return None
        splits.append((others, "test", size[1]))
    by = dataset.model_dump(mode="json", include={"by", "weights", "size"})
    found = dict[str, _Pass]()
    for images, split, number in splits:
        what = json.dumps([by, images.model_dump(mode="json"), split])
        found[what] = _Pass(
            dataset.by.key, number, float(number * work.forward_flops), float(number * work.forward_bytes)
        )
    return found
