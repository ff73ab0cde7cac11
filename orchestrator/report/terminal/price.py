"""The price of a plan, for people: one line per figure, each with its range and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.sentences import counted

if TYPE_CHECKING:  # a launch words durations with this file, and needs no prices
    from orchestrator.pricing.estimate import Range
    from orchestrator.pricing.features import FeatureCost
    from orchestrator.pricing.price import Price

GIGA = 10**9
TERA = 10**12


def lines(price: Price, per_gpu_hour: float | None) -> Iterator[str]:
    """What the cells that wait cost."""
    if not price.cells:
        yield "nothing left to run"
        return
    if price.sources:
        yield from _hours(price)
    if price.features:
        yield from _features(price.features)
    if price.unknown:
        backbones = ", ".join(f"{name} ({counted(number, 'cell')})" for name, number in price.unknown)
        yield f"not known and not included: {backbones}; a first finished cell, or a rehearsal, measures it"
    if price.sources and per_gpu_hour is not None:
        yield f"{_money(price.money(per_gpu_hour))} at {per_gpu_hour:g} per GPU hour{_paid(price)}"
    yield _disk(price)
    for number, (source, cells) in enumerate(price.sources):
        yield f"{'' if number else 'times from '}{source}: {counted(cells, 'cell')}"


def _hours(price: Price) -> Iterator[str]:
    cores = f"{hours(price.core_hours)} of cores"
    where = f" on {price.on}" if price.problem else ""
    yield f"{hours(price.gpu_hours)} of GPUs{where}, {cores}" if price.in_gpu_hours else f"{cores}{where}"
    if price.wall_seconds:
        yield f"{span(price.wall_seconds)} on {price.on}, simulated with the queue of a launch"
    if price.problem:
        yield f"no wall time: {price.problem}"


def _features(found: FeatureCost) -> Iterator[str]:
    """What is computed on each machine before its first cell."""
    if found.networks:
        passes = f"{found.images:,} images passed through a network, {_work(found.flops)}"
        networks = ", ".join(found.networks)
        time = f"{hours(found.core_hours)} of cores by {found.source}"
        yield f"before, once per machine: features by {networks}: {passes}, {time}"
    if found.unknown:
        yield f"not known and not included: features by {', '.join(found.unknown)}"


def _paid(price: Price) -> str:
    return f", for {counted(price.gpus, 'GPU')} until the last cell ends" if price.gpus and price.wall_seconds else ""


def claims(price: Price) -> RenderableType | None:
    """The hours that each claim needs; None where there are no claims, or nothing is known."""
    if not price.claims or not price.sources:
        return None
    table = Table(box=None, padding=(0, 2, 0, 0))
    unit = "GPU hours" if price.in_gpu_hours else "core hours"
    table.add_column("claim")
    table.add_column(f"{unit} that it needs", justify="right")
    table.add_column("that only it needs", justify="right")
    for cost in price.claims:
        table.add_row(Text(cost.claim), _figure(cost.needed.middle), _figure(cost.alone.middle))
    return table


def as_json(price: Price, per_gpu_hour: float | None) -> dict[str, object]:
    """The price for machines: ranges are [low, middle, high]; hours, seconds and bytes."""
    money = None if per_gpu_hour is None else _three(price.money(per_gpu_hour))
    return {
        "cells": price.cells,
        "gpu_hours": _three(price.gpu_hours),
        "core_hours": _three(price.core_hours),
        "wall_seconds": price.wall_seconds and _three(price.wall_seconds),
        "on": price.on,
        "problem": price.problem,
        "money": money,
        "features": price.features and _features_as_json(price.features),
        "disk": {"results": price.disk.results, "states": price.disk.states, "decoded": price.disk.decoded},
        "sources": [{"source": source, "cells": cells} for source, cells in price.sources],
        "unknown": [{"backbone": name, "cells": cells} for name, cells in price.unknown],
        "is_measured": price.is_measured,
        "claims": [
            {"claim": cost.claim, "needed": _three(cost.needed), "alone": _three(cost.alone)} for cost in price.claims
        ],
    }


def _features_as_json(found: FeatureCost) -> dict[str, object]:
    figures = {"images": found.images, "flops": found.flops, "core_hours": _three(found.core_hours)}
    return {**figures, "networks": found.networks, "source": found.source, "unknown": found.unknown}


def _three(found: Range) -> list[float]:
    return [round(value, 6) for value in (found.low, found.middle, found.high)]


def _disk(price: Price) -> str:
    disk = price.disk
    told = [f"{_bytes(disk.results)} of results"]
    told += [f"{_bytes(disk.states)} of saved states while cells run"] if disk.states else []
    told += [f"{_bytes(disk.decoded)} of decoded images or features on each machine"] if disk.decoded else []
    return f"disk: {', '.join(told)}"


def _bytes(number: int) -> str:
    return f"{number / GIGA:.1f} GB" if number >= GIGA else f"{number / 10**6:.0f} MB"


def _work(flops: float) -> str:
    return f"{flops / TERA:.1f} TFLOP" if flops >= TERA else f"{flops / GIGA:.1f} GFLOP"


def hours(found: Range) -> str:
    """`12 h (10 – 15)`, or minutes."""
    if found.middle < 1:
        low, middle, high = (60 * value for value in (found.low, found.middle, found.high))
        return f"{_figure(middle)} min ({_figure(low)} – {_figure(high)})"
    return f"{_figure(found.middle)} h ({_figure(found.low)} – {_figure(found.high)})"


def _money(found: Range) -> str:
    return f"{found.middle:,.0f} ({found.low:,.0f} – {found.high:,.0f})"


def _figure(value: float) -> str:
    """Two or three digits."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"  # noqa: PLR2004 - digits


HOUR = 3600.0
DAY = 24 * HOUR


def span(seconds: Range) -> str:
    """Minutes, hours or days, in one unit."""
    unit, name = next(
        ((each, word) for each, word in ((DAY, "days"), (HOUR, "h")) if seconds.middle >= 2 * each), (60.0, "min")
    )
    middle, low, high = (_figure(value / unit) for value in (seconds.middle, seconds.low, seconds.high))
    return f"{middle} {name} ({low} – {high})"
