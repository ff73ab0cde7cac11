"""The price of a plan: hours, wall time on a cluster, disk, money, and what of it each claim needs."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from orchestrator import provenance
from orchestrator.execution.placement import Node, Placement
from orchestrator.execution.queue import CellKind, Queue
from orchestrator.experiment.checks import LabelSource
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell
from orchestrator.experiment.questions import Key, parts
from orchestrator.pricing.devices import DEVICES, PROCESSOR, Cluster, named
from orchestrator.pricing.estimate import NOTHING, CellDevice, Estimate, Estimator, Range
from orchestrator.pricing.features import FeatureCost
from orchestrator.pricing.images import images_of
from orchestrator.pricing.measured import finished, rehearsed
from orchestrator.pricing.rates import CellRate
from orchestrator.pricing.simulation import Clock, Machine, Simulation
from orchestrator.provenance.environment import gpu
from orchestrator.records.files.evaluations import Evaluations
from trainers.evaluation import ALL

HOUR = 3600.0

START = 20.0
"""Seconds from the command to the first cell."""

TYPICAL = "a100"
"""The GPU for which hours are given where none is here and no cluster is named."""

PER_MACHINE = 8
"""GPUs of one machine of a cluster that is only named."""

ROOMY = 2.0**20
"""CPUs of such a machine: as many as its cells ask for."""

SIMULATED = 20_000
"""Cells up to which wall time is simulated; of more, the bound by all devices' hours is given, which is close."""

PER_CELL = 150_000
"""Bytes of a cell beside its rows: its account, its summary, its run in MLflow, its row in the registry."""

FLOAT = 4


@dataclass(frozen=True)
class ClaimCost:
    """The hours of the cells that a claim needs, and of those that only this claim needs."""

    claim: str
    needed: Range
    alone: Range


@dataclass(frozen=True)
class Disk:
    """Bytes."""

    results: int
    """Of all cells together, for good."""
    states: int
    """Of saved states, while cells run."""
    decoded: int
    """Of decoded images and features, on each machine, in the folder of the data."""


NO_DISK = Disk(0, 0, 0)


@dataclass(frozen=True)
class Price:
    """What the cells that wait will cost. Hours are those of devices, whether busy or waiting for data."""

    cells: int
    core_hours: Range
    gpu_hours: Range
    wall_seconds: Range | None
    """None where the cells cannot run."""
    on: str
    """The devices, for people."""
    is_here: bool
    """Whether these are the devices of this machine."""
    gpus: int
    """How many GPUs are paid for; 0 if only the hours that cells use are."""
    disk: Disk
    claims: tuple[ClaimCost, ...]
    in_gpu_hours: bool
    """Whether the claims' hours are those of GPUs."""
    sources: tuple[tuple[str, int], ...]
    """Where the times come from, each with its number of cells."""
    unknown: tuple[tuple[str, int], ...]
    """Backbones of cells about which nothing is known, each with the number of these; no figure includes them."""
    is_measured: bool
    """Whether every time rests on a measurement."""
    problem: str = ""
    """Why there is no wall time."""
    features: FeatureCost | None = None
    """What is computed on each machine before its first cell, in no other figure; None where nothing is."""

    def money(self, per_gpu_hour: float) -> Range:
        """What all GPUs cost for the wall time; without a cluster, what the GPU hours cost."""
        if self.gpus and self.wall_seconds:
            return self.wall_seconds * (self.gpus * per_gpu_hour / HOUR)
        return self.gpu_hours * per_gpu_hour


def estimator(
    cells: Iterable[Cell], evaluations: Evaluations, rates: Sequence[CellRate], labels_of: LabelSource
) -> Estimator:
    """What estimates cells, from what this workspace holds.

    Args:
        cells: The cells to estimate.
        evaluations: The files of finished cells.
        rates: What rehearsals measured.
        labels_of: Returns the labels of a dataset, where they are here.
    """
    backbones = {cell.recipe.backbone.key: cell for cell in cells}
    seen = [*finished(evaluations, backbones.keys(), labels_of), *rehearsed(rates, backbones)] if backbones else []
    return Estimator(seen, images_of(labels_of))


@dataclass(frozen=True)
class Hardware:
    """Machines, and by which device cells on each are timed."""

    machines: tuple[Machine, ...]
    devices: Mapping[str, CellDevice]
    """Of each machine's `device`; cells without a GPU run on `processor`."""
    processor: CellDevice
    on: str
    is_here: bool

    def where(self, cell: Cell, device: str) -> CellDevice:
        """The device that times a cell on a machine."""
        return self.devices[device] if cell.resources.gpus else self.processor

    @property
    def gpus(self) -> int:
        """All GPUs."""
        return round(sum(machine.gpus for machine in self.machines))


def here() -> Hardware:
    """This machine."""
    told = provenance.machine()["processor"]
    processor = CellDevice(str(told or PROCESSOR), DEVICES[PROCESSOR])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name, number = _gpus()
    devices = {name: CellDevice(name, named(name))} if number else {"": processor}
    machine = Machine(socket.gethostname(), cores, number, next(iter(devices)))
    on = f"{cores} {'core' if cores == 1 else 'cores'}" + (f" and {number} x {name}" if number else "")
    return Hardware((machine,), devices, processor, f"this machine ({on})", is_here=True)


def _gpus() -> tuple[str, int]:
    """The name and number of this machine's GPUs."""
    with suppress(ImportError):  # a light install
        if nvml := provenance.nvml():
            return gpu(nvml), nvml.nvmlDeviceGetCount()
    return "", 0


def elsewhere(cluster: Cluster) -> Hardware:
    """A cluster that is only named: machines of up to 8 GPUs, with as many cores as their cells need."""
    machines = list[Machine]()
    for number, device in cluster.parts:
        if not device.is_gpu:
            machines.append(Machine(device.name, number, 0, device.name))
            continue
        for first in range(0, number, PER_MACHINE):
            many = min(PER_MACHINE, number - first)
            machines.append(Machine(f"{device.name}-{first}", ROOMY, many, device.name))
    devices = {device.name: CellDevice.of(device) for _, device in cluster.parts}
    return Hardware(tuple(machines), devices, CellDevice.of(DEVICES[PROCESSOR]), str(cluster), is_here=False)


def price(
    cells: Sequence[Cell],
    experiment: Experiment,
    estimates: Estimator,
    place: Hardware,
    durations: Mapping[CellKind, Sequence[float]] | None = None,
    *,
    features: FeatureCost | None = None,
) -> Price:
    """The price of cells at a place.

    Args:
        cells: The cells that wait.
        experiment: Has the claims.
        estimates: Estimates each cell.
        place: Where they run.
        durations: Seconds that earlier cells took, by kind, as the launch's queue knows them.
        features: What has to be computed before.
    """
    problem = _problem(cells, place)
    # Without a device that can run them, hours are those of a typical one.
    timed = _typical() if problem else place
    found = {cell.id: estimate for cell in cells if (estimate := _expected(cell, estimates, timed))}
    known = [cell for cell in cells if cell.id in found]
    seconds = {cell.id: found[cell.id].seconds for cell in known}
    hours = {cell.id: seconds[cell.id] * (cell.resources.devices / HOUR) for cell in known}
    gpu_hours = _sum(hours[cell.id] * cell.resources.gpus for cell in known)
    core_hours = _sum(hours[cell.id] * cell.resources.cpus for cell in known)
    middle = None if problem or not known else _wall(known, estimates, place, durations)
    in_gpu_hours = gpu_hours.middle > 0
    units = {cell.id: hours[cell.id] * (cell.resources.gpus if in_gpu_hours else cell.resources.cpus) for cell in known}
    return Price(
        cells=len(cells),
        core_hours=core_hours,
        gpu_hours=gpu_hours,
        wall_seconds=None if middle is None else _spread(middle, _sum(units.values())),
        on=timed.on if problem else place.on,
        is_here=place.is_here and not problem,
        gpus=0 if place.is_here else place.gpus,
        disk=disk_for(cells, estimates, place),
        claims=tuple(_claims(experiment, known, units)),
        in_gpu_hours=in_gpu_hours,
        sources=tuple(Counter(found[cell.id].source for cell in known).most_common()),
        unknown=tuple(Counter(cell.backbone for cell in cells if cell.id not in found).most_common()),
        is_measured=bool(known) and all(found[cell.id].is_measured for cell in known),
        problem=problem,
        features=features,
    )


def _sum(ranges: Iterable[Range]) -> Range:
    return sum(ranges, NOTHING)


def _spread(middle: float, units: Range) -> Range:
    """The wall time of the middle, in proportion to the hours of low and high."""
    if not units.middle:
        return Range(middle, middle, middle)
    return Range(middle * units.low / units.middle, middle, middle * units.high / units.middle)


def _problem(cells: Sequence[Cell], place: Hardware) -> str:
    """Why cells cannot run at a place."""
    gpus = place.gpus
    wants = {bool(cell.resources.gpus) for cell in cells}
    if True in wants and not gpus:
        where = "this machine has none that is seen" if place.is_here else f"{place.on} has none"
        return f"cells ask for a GPU, and {where}; --on names a cluster, such as --on '8 x {TYPICAL}'"
    if False in wants and not place.is_here and gpus:
        return "cells ask for no GPU: 'resources: {gpus: 1}' lets them run on one, and --on '64 x cpu' counts cores"
    largest = max(((cell.resources.gpus, cell.resources.cpus) for cell in cells), default=(0, 0))
    if not any(machine.gpus >= largest[0] and machine.cpus >= largest[1] for machine in place.machines):
        return f"a cell asks for {largest[1]} cores and {largest[0]:g} GPUs, more than a machine of {place.on} has"
    return ""


def _typical() -> Hardware:
    """One GPU of the usual kind; cells without a GPU are timed by a core."""
    device = DEVICES[TYPICAL]
    return replace(elsewhere(Cluster(((1, device),))), on=f"an {TYPICAL.upper()}")


def _expected(cell: Cell, estimates: Estimator, place: Hardware) -> Estimate | None:
    """The estimate of a cell on the devices of a place, weighted by how many there are."""
    shares = Counter[str]()
    for machine in place.machines:
        shares[machine.device] += round(machine.gpus or machine.cpus)
    found = {name: estimates.estimate(cell, place.where(cell, name)) for name in shares}
    known = {name: estimate for name, estimate in found.items() if estimate}
    if not known:
        return None
    # A quick device does more of the cells, in inverse proportion to its time.
    weights = {name: shares[name] / known[name].seconds.middle for name in known}
    total = sum(weights.values())
    seconds = _sum(known[name].seconds * (weights[name] / total) for name in known)
    source = " and ".join(dict.fromkeys(estimate.source for estimate in known.values()))
    return Estimate(seconds, source, is_measured=all(estimate.is_measured for estimate in known.values()))


def _wall(
    cells: Sequence[Cell], estimates: Estimator, place: Hardware, durations: Mapping[CellKind, Sequence[float]] | None
) -> float:
    """Seconds from the command to the end of the last cell."""

    def seconds(cell: Cell, device: str) -> float:
        found = estimates.estimate(cell, place.where(cell, device))
        assert found is not None  # noqa: S101  for the type checker: such cells are left out before
        return found.seconds.middle

    if len(cells) > SIMULATED:
        shares = [_share(cell, place) * seconds(cell, place.machines[0].device) for cell in cells]
        return START + sum(shares)
    clock = Clock()
    machines = [replace(machine, running={}) for machine in place.machines]
    queue = Queue(cells, durations=durations, places=_placement(place, clock), clock=clock)
    return START + Simulation(machines, seconds, clock).run(queue).seconds


def _share(cell: Cell, place: Hardware) -> float:
    """The share of a whole cluster that a cell occupies."""
    need = cell.resources
    if need.gpus:
        return need.gpus / sum(machine.gpus for machine in place.machines)
    return need.cpus / sum(machine.cpus for machine in place.machines)


def _placement(place: Hardware, clock: Callable[[], float]) -> Placement | None:
    """What keeps the losses of a group on one kind of device, as in a launch; None where all are alike."""
    if len(place.devices) < 2:  # noqa: PLR2004 - there is no choice
        return None
    placement = Placement(lambda _, machine: str(machine.get("device")), clock=clock)
    placement.found(
        Node(machine.id, {"CPU": machine.cpus, "GPU": machine.gpus}, (("device", machine.device),))
        for machine in place.machines
    )
    return placement


def disk_for(cells: Sequence[Cell], estimates: Estimator, place: Hardware) -> Disk:
    """The disk that cells need."""
    results = 0
    states = 0
    decoded = dict[int, int]()
    for cell in cells:
        results += PER_CELL
        if images := estimates.images_of(cell):
            results += round((images.test + images.validation) * _row(images.classes))
            decoded[id(cell.recipe.dataset)] = images.decoded_bytes
        if work := estimates.work(cell):
            copies = 2 + (cell.recipe.training.optimizer == "adamw") + (cell.recipe.training.ema > 0)
            states = max(states, FLOAT * copies * work.parameters)
    at_once = min(len(cells), _room(cells, place))
    return Disk(results, states * at_once, sum(decoded.values()))


def _row(classes: int) -> float:
    """Bytes of a row in a cell's file: docs/records.md has the sizes that were measured."""
    return 31 + 3.73 * classes if classes <= ALL else 83.0


def _room(cells: Sequence[Cell], place: Hardware) -> int:
    """How many of the smallest cells run at once."""
    if not cells:
        return 0
    smallest = min((cell.resources for cell in cells), key=lambda need: (need.gpus, need.cpus))
    return sum(
        int(machine.gpus / smallest.gpus) if smallest.gpus else int(machine.cpus // smallest.cpus)
        for machine in place.machines
    )


def _claims(experiment: Experiment, cells: Sequence[Cell], units: Mapping[str, Range]) -> Iterator[ClaimCost]:
    by_key = dict[Key, Range]()
    for cell in cells:
        key = cell.dataset, cell.backbone, cell.loss
        by_key[key] = by_key.get(key, NOTHING) + units[cell.id]
    needed = {claim.id: _needed(experiment, claim.id) for claim in experiment.claims}
    times = Counter(key for keys in needed.values() for key in keys)
    for claim, keys in needed.items():
        here = [by_key[key] for key in keys if key in by_key]
        alone = [by_key[key] for key in keys if key in by_key and times[key] == 1]
        yield ClaimCost(claim, _sum(here), _sum(alone))


def _needed(experiment: Experiment, claim_id: str) -> set[Key]:
    """Datasets, backbones and losses of the cells that a claim needs."""
    claim = next(each for each in experiment.claims if each.id == claim_id)
    return {key for part in parts(claim, experiment) for question in part.questions for key in question.measures}
