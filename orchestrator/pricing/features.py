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
    """All images of a data set through a network, once."""

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
    # Several data sets, such as those that hold out other classes, may share features.
    asked = {_what(dataset): dataset for dataset in _frozen(cells) if not _is_computed(dataset, data_dir)}
    if not asked:
        return None
    passes = [(dataset.by.key, _pass(dataset, labels_of, data_dir)) for dataset in asked.values()]
    known = [each for _, each in passes if each]
    core = devices.DEVICES[devices.PROCESSOR]
    flops = math.fsum(each.flops for each in known)
    each = [core.seconds(work.flops, work.moved_bytes, utilisation=devices.FORWARD) for work in known]
    hours = (
        Range.between(*(math.fsum(seconds) / HOUR for seconds in zip(*each, strict=True))) if each else Range(0, 0, 0)
    )
    return FeatureCost(
        images=sum(each.images for each in known),
        flops=flops,
        core_hours=hours,
        networks=tuple(dict.fromkeys(network for network, each in passes if each)),
        source=core.unmeasured,
        unknown=tuple(dict.fromkeys(network for network, each in passes if not each)),
    )


def _frozen(cells: Iterable[Cell]) -> Iterator[Frozen]:
    # By object identity: many cells share a few data sets, and comparing their values is slow.
    for dataset in {id(cell.recipe.dataset): cell.recipe.dataset for cell in cells}.values():
        if isinstance(dataset, Frozen):
            yield dataset


def _what(dataset: Frozen) -> str:
    """What determines the features."""
    return json.dumps(dataset.model_dump(mode="json", include={"of", "by", "weights", "size", "unknowns"}))


def _is_computed(dataset: Frozen, data_dir: Path) -> bool:
    try:
        return dataset.is_computed(data_dir)
    except MissingDataError:  # images or weights are still to come
        return False


def _pass(dataset: Frozen, labels_of: LabelSource, data_dir: Path) -> _Pass | None:
    try:
        side = dataset.side(data_dir)
    except MissingDataError:
        return None
    work = bare(dataset.by, (3, side, side))
    sizes = size_of(dataset.of, labels_of)
    others = size_of(dataset.unknowns, labels_of) if dataset.unknowns else (0, 0)
    if work is None or sizes is None or others is None:
        return None
    images = sum(sizes) + others[1]
    return _Pass(images, float(images * work.forward_flops), float(images * work.forward_bytes))
