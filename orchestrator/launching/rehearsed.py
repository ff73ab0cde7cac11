"""The experiment that a rehearsal runs: one cell of each kind, on what machines there are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

from orchestrator.experiment.choices import Choice
from orchestrator.experiment.model import CheckpointRule, Experiment
from orchestrator.experiment.overrides import Override, Settled
from orchestrator.experiment.resources import Resources, shortage
from orchestrator.sentences import counted
from trainers.brief import Brief
from trainers.datasets import Dataset, Extent
from trainers.datasets.stand_in import StandIn

PREFIX = "rehearsal-of-"
"""With which the name of such an experiment begins."""

SHORT = Brief()
"""On the machines that the file asks for."""

SHORTER = Brief(steps=3, rows=32, compiles=False)
"""Where the GPUs that the file asks for are missing, and a processor does their work."""

WORK = 2**17
"""Pixels per step where a processor does the work of a GPU; a batch is made smaller, to `FEWEST` images."""

FEWEST = 4
"""Batch normalisation needs some."""

UNREDUCED = 64
"""Side of an image, in pixels, below which networks usually keep its resolution in their first layers."""

LONGEST = 3600.0
"""Seconds that an attempt may take, if the file does not say."""

Ask = Callable[[Choice], Extent | None]
"""Says how many images of which shape a data set has; None if that is not known."""


@dataclass(frozen=True)
class Rehearsed:
    """An experiment to rehearse, how much of each cell is done, and in what it differs from what was asked."""

    experiment: Experiment
    brief: Brief
    extents: Mapping[str, Extent | None]
    """Of each data set, by its label."""
    notes: tuple[str, ...]
    """Sentences for people."""
    cores_per_gpu: int
    """CPUs per GPU of the machine that has most; 0 without GPUs."""


def rehearsed(
    asked: Experiment, nodes: Sequence[Mapping[str, float]], extent: Ask, *, stand_in: bool = False
) -> Rehearsed:
    """One cell of each loss, backbone and data set, with the recipe that the experiment has for it.

    Args:
        asked: The experiment.
        nodes: Ray's counts of `CPU` and `GPU` on each machine.
        extent: Says how many images a data set has.
        stand_in: Whether drawn images take the place of data sets.
    """
    lacking = _lacking(asked, nodes)
    extents = {choice.label: extent(choice) for choice in asked.datasets}
    datasets = tuple(_drawn(choice, extents[choice.label]) if stand_in else choice for choice in asked.datasets)
    notes = [lacking] if lacking else []
    if own := [choice.label for choice in datasets if stand_in and not isinstance(choice.plugin, StandIn)]:
        notes.append(f"No stand-in for {_listed(own)}: only their files tell how many images of which shape there are.")
    if asked.tuning:
        notes.append("Trials of the tuning stage are not rehearsed; cells have the recipe that the file gives.")
    fields: dict[str, Any] = {name: getattr(asked, name) for name in Experiment.model_fields}
    fields |= {"name": f"{PREFIX}{asked.name}"[:100], "seeds": asked.seeds[:1], "datasets": datasets}
    fields |= {"claims": (), "operation": None, "tuning": None, "checkpoint": CheckpointRule(epochs=1)}
    fields["time_limit"] = asked.time_limit or LONGEST
    if lacking:
        small = list(_small_batches(asked, datasets, extents))
        fields["resources"] = _there(asked.resources, nodes)
        fields["overrides"] = (*(_placed(each, nodes) for each in asked.overrides), *small)
        notes += _said(small, len(asked.losses) * len(asked.backbones) * len(asked.datasets))
    experiment = Experiment.model_validate(fields)
    shared = max((int(node.get("CPU", 0) / node["GPU"]) for node in nodes if node.get("GPU")), default=0)
    return Rehearsed(experiment, SHORTER if lacking else SHORT, extents, tuple(notes), shared)


def kinds(experiment: Experiment) -> Iterator[tuple[tuple[str, str, str], Settled]]:
    """The labels of each kind of cell, and how it is trained."""
    for dataset, backbone, loss in product(experiment.datasets, experiment.backbones, experiment.losses):
        labels = (loss.label, backbone.label, dataset.label)
        yield labels, experiment.settled(*labels)


def _drawn(choice: Choice, extent: Extent | None) -> Choice:
    dataset = cast("Dataset", choice.plugin)
    if extent is None:
        return choice
    return Choice(label=choice.label, plugin=StandIn.for_(dataset, extent))


def _lacking(asked: Experiment, nodes: Sequence[Mapping[str, float]]) -> str:
    """What no machine here has, in a sentence; empty if nothing is missing."""
    wanted = {settled.resources for _, settled in kinds(asked)}
    if shortage(wanted, nodes) is None:
        return ""
    cpus, gpus = _most(nodes)
    needs = max(wanted, key=lambda each: (each.gpus, each.cpus))
    return (
        f"A launch here would be refused: a cell needs {counted(needs.cpus, 'CPU')} and "
        f"{counted(float(needs.gpus), 'GPU')}, and no machine has more than {counted(cpus, 'CPU')} and "
        f"{counted(gpus, 'GPU')}. Kinds are rehearsed on what there is: networks are not compiled, and rates say "
        "little about the machines that are asked for."
    )


def _most(nodes: Sequence[Mapping[str, float]]) -> tuple[int, int]:
    cpus, gpus = (int(max((node.get(kind, 0) for node in nodes), default=0)) for kind in ("CPU", "GPU"))
    return cpus, gpus


def _there(wanted: Resources, nodes: Sequence[Mapping[str, float]]) -> Resources:
    """As much of it as one machine has; several cells share a processor that does the work of a GPU."""
    cpus, gpus = _most(nodes)
    if wanted.gpus and not gpus:
        return Resources(cpus=1)
    return Resources(cpus=max(1, min(wanted.cpus, cpus)), gpus=min(wanted.gpus, gpus))


def _placed(override: Override, nodes: Sequence[Mapping[str, float]]) -> Override:
    if override.resources is None:
        return override
    return override.model_copy(update={"resources": _there(override.resources, nodes)})


def _small_batches(
    asked: Experiment, datasets: Sequence[Choice], extents: Mapping[str, Extent | None]
) -> Iterator[Override]:
    """Smaller batches, so that steps on a processor take seconds; no two recipes become equal by that."""
    plugins = {choice.label: choice.plugin for choice in (*asked.backbones, *datasets)}
    seen = set[object]()
    for labels, settled in kinds(asked):
        loss, backbone, dataset = labels
        training = settled.training
        limit = _limit(extents[dataset]) if settled.resources.gpus else training.batch_size
        parts = training.accumulation
        size = max(2 * parts, -(-limit // parts) * parts)
        if size >= training.batch_size:
            continue
        while (key := (settled.loss, plugins[backbone], plugins[dataset], _with(settled, size))) in seen:
            size += parts
        seen.add(key)
        where: Any = {"loss": loss, "backbone": backbone, "dataset": dataset}
        yield Override(where=where, recipe={"batch_size": size})


def _with(settled: Settled, size: int) -> object:
    return settled.training.model_copy(update={"batch_size": size})


def _limit(extent: Extent | None) -> int:
    """Images per step."""
    if extent is None:
        return FEWEST
    _, height, width = extent.shape
    # A network that keeps the resolution in its first layers does 16 times the work per pixel.
    pixels = height * width * (16 if min(height, width) < UNREDUCED else 1)
    return max(FEWEST, WORK // pixels)


def _said(small: Sequence[Override], total: int) -> Iterator[str]:
    if small:
        sizes = [each.recipe["batch_size"] for each in small]
        span = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
        yield f"Batches of {len(small)} of {counted(total, 'kind')} have {span} images instead of those of the recipe."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def fraction(peak: int, memory: int, cpus: int, cores: int) -> float:
    """GPUs that a cell needs: 1, or a share of one, so that cells fit beside each other.

    Args:
        peak: Bytes of the GPU that a cell used at most.
        memory: Bytes of the GPU.
        cpus: CPUs that the cell has.
        cores: CPUs per GPU of the machine; more cells than these feed would wait.
    """
    fitting = min(int(ROOM * memory) // max(1, peak), cores // cpus, MOST_SHARING)
    return 1.0 if fitting <= 1 else math.floor(100 / fitting) / 100


ROOM = 0.9
"""Share of a GPU's memory to plan with: libraries take some, and peaks vary."""

MOST_SHARING = 8
"""Cells per GPU; more of them take turns rather than run together."""
