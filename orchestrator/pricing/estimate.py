"""How long a cell takes on a device, as a range with its source: measured first, data sheets last."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from orchestrator.experiment.plan import Cell
from orchestrator.pricing import devices
from orchestrator.pricing.devices import Device
from orchestrator.pricing.measured import Observation, kind_of
from orchestrator.pricing.work import ImageCounts, Work, work_of

SAME_KIND = 1.05
ONCE = 1.15
SAME_SETTING = 1.25
OTHER_DATA = 1.8
OTHER_BACKBONE = 4.0
"""The factor by which a cell may take longer, or less long, than equal cells that ran several times; that ran once;
other cells of its backbone and data set; of its backbone on other data; and of other backbones on the same device."""


@dataclass(frozen=True)
class Range:
    """A value, and between which two it probably lies."""

    low: float
    middle: float
    high: float

    @classmethod
    def around(cls, middle: float, factor: float) -> Range:
        """From middle / factor to middle * factor."""
        return cls(middle / factor, middle, middle * factor)

    @classmethod
    def between(cls, low: float, high: float) -> Range:
        """From low to high, and halfway by factors."""
        return cls(low, math.sqrt(low * high), high)

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.middle + other.middle, self.high + other.high)

    def __mul__(self, factor: float) -> Range:
        return Range(self.low * factor, self.middle * factor, self.high * factor)


NOTHING = Range(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Estimate:
    """Seconds of one cell, and where they come from."""

    seconds: Range
    source: str
    is_measured: bool
    """Whether anything on such a device was measured."""


@dataclass(frozen=True)
class CellDevice:
    """A device on which cells run: one of the table, or the one here by its name."""

    name: str
    """As cells record it, or as the table has it."""
    device: Device | None
    """Its entry in the table, if it has one."""

    @classmethod
    def of(cls, device: Device) -> CellDevice:
        """A device of the table."""
        return cls(device.name, device)

    def is_of(self, told: str) -> bool:
        """Whether a cell that recorded this name ran on such a device."""
        return told == self.name or (self.device is not None and devices.named(told) == self.device)


class Estimator:
    """Estimates cells from what was measured and, where nothing was, from data sheets. Answers are kept.

    Args:
        observations: What was measured in this workspace.
        images_of: Gives the images of a cell, where they are known.
    """

    def __init__(self, observations: Sequence[Observation], images_of: Callable[[Cell], ImageCounts | None]) -> None:
        self._observations = observations
        self.images_of = images_of
        self._known: dict[tuple[object, ...], Estimate | None] = {}

    def estimate(self, cell: Cell, where: CellDevice) -> Estimate | None:
        """Seconds of a cell on a device; None if its work is unknown and nothing like it ran there."""
        recipe = cell.recipe
        # By object identity, because many cells share few objects, and comparing their values is slow.
        key = id(recipe.backbone), id(recipe.dataset), id(recipe.training), cell.resources, recipe.scored_on, where
        if key not in self._known:
            self._known[key] = self._estimate(cell, where)
        return self._known[key]

    def work(self, cell: Cell) -> Work | None:
        """The work of a cell; None where it is unknown."""
        images = self.images_of(cell)
        return images and work_of(cell.recipe, images)

    def _estimate(self, cell: Cell, where: CellDevice) -> Estimate | None:
        there = [each for each in self._observations if where.is_of(each.device) and bool(each.gpus) == _on_gpu(cell)]
        if found := self._as_equal_cells(cell, there):
            return found
        work = self.work(cell)
        if work is None or not work.flops:
            return None
        return self._as_like_cells(cell, work, there) or _by_data_sheet(cell, work, where)

    def _as_equal_cells(self, cell: Cell, there: Sequence[Observation]) -> Estimate | None:
        kind = kind_of(cell.recipe.model_dump(mode="json"), cell.resources.cpus)
        seconds = [each.seconds for each in there if each.kind == kind and each.seconds]
        if not seconds:
            return None
        mean = sum(seconds) / len(seconds)
        around = Range.around(mean, SAME_KIND if len(seconds) > 1 else ONCE)
        reach = Range(min(around.low, *seconds), mean, max(around.high, *seconds))
        return Estimate(reach, f"the time of equal cells here (n = {len(seconds)})", is_measured=True)

    def _as_like_cells(self, cell: Cell, work: Work, there: Sequence[Observation]) -> Estimate | None:
        recipe = cell.recipe
        alike = [each for each in there if each.precision == recipe.training.precision]
        same = [each for each in alike if each.backbone == recipe.backbone.key]
        nearest = [each for each in same if each.dataset == recipe.dataset.key]
        for found, factor, what in (
            (nearest, SAME_SETTING, "{0}, same backbone and data"),
            (same, OTHER_DATA, "{0}, same backbone on other data"),
            (alike, OTHER_BACKBONE, "{0}, other backbones"),
        ):
            if found:
                best = _newest_source(found)
                rate = median(_rate(each, cell) for each in best)
                seconds = median(each.fixed_seconds for each in best) + work.flops / rate
                spread = max((_rate(each, cell) / rate for each in best), key=lambda ratio: abs(math.log(ratio)))
                reach = max(factor, spread, 1 / spread)
                source = f"{what.format(best[0].source)} (n = {len(best)})"
                return Estimate(Range.around(seconds, reach), source, is_measured=True)
        return None


def _newest_source(found: Sequence[Observation]) -> list[Observation]:
    """Finished cells rather than rehearsals."""
    return [each for each in found if each.kind] or list(found)


def _rate(seen: Observation, cell: Cell) -> float:
    """FLOPs per second that a cell of these resources has, in proportion to those that ran."""
    if cell.resources.gpus:
        return seen.flops_per_second * cell.resources.gpus / (seen.gpus or 1.0)
    return seen.flops_per_second * cell.resources.cpus / seen.cpus


def _on_gpu(cell: Cell) -> bool:
    return cell.resources.gpus > 0


def _by_data_sheet(cell: Cell, work: Work, where: CellDevice) -> Estimate | None:
    """Seconds from published peaks: whichever of FLOPs and bytes takes longer."""
    device = where.device
    if device is None or device.is_gpu != _on_gpu(cell):
        return None
    share = (cell.resources.gpus or cell.resources.cpus) * cell.resources.devices
    least, most = device.seconds(work.flops, work.moved_bytes, cell.recipe.training.precision)
    found = Range.between(devices.FIXED[0] + least / share, devices.FIXED[1] + most / share)
    return Estimate(found, device.unmeasured, is_measured=False)
