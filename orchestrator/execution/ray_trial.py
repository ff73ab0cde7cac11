"""One attempt at a cell as a trial of Ray Tune: what runs in the worker process, and what it needs there."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import ray
from ray import tune

from orchestrator.execution.queue import Ticket
from orchestrator.execution.ray_cluster import labels, nodes
from orchestrator.execution.worker import Worker
from orchestrator.experiment.plan import Cell
from orchestrator.outcome import Ending, Event, Failed, Lost

MOST_GROWTH = 2**30
"""Bytes by which a worker process may grow before it is replaced."""


class _RecycleError(Exception):
    """Ends a worker process that must not be used again; its cell has already reported how it ended."""


def trial(runner: Worker) -> Any:
    """The function that Tune calls in a worker process for each trial."""

    def run_cell(config: dict[str, Any]) -> None:
        """One Tune trial: one attempt at a cell. Every event is a Tune result."""
        import torch  # noqa: F401  # pyright: ignore[reportUnusedImport]  # before the clock starts, so that no cell's time contains it

        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        ticket: Ticket = config["ticket"]
        node = ray.get_runtime_context().get_node_id()
        size = _resident()
        words = runner.checkpoints.last_words(ticket.cell) if runner.checkpoints else None
        with _watchdog().watching(ticket.time_limit, words):
            ending = _runs(runner, ticket)(ticket.cell, lambda event: tune.report({"event": event, "ray_node": node}))
        tune.report({"event": ending, "ray_node": node})
        if isinstance(ending, (Failed, Lost)) or _resident() - size > MOST_GROWTH:
            raise _RecycleError

    return run_cell


def _runs(runner: Worker, ticket: Ticket) -> Callable[[Cell, Callable[[Event], None]], Ending]:
    """How a cell is run: by this process, or by several together."""
    if ticket.cell.resources.devices == 1:
        return runner.run
    from orchestrator.execution.ray_train import run_together  # it imports torch, which the driver does without

    return partial(run_together, runner, labels=labels(ticket.nodes))


@cache
def _watchdog() -> Any:
    from orchestrator.execution.watchdog import Watchdog

    return Watchdog()


def _resident() -> int:
    """The memory of this process in bytes; 0 on platforms that do not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What Tune reserves for a trial."""
    ticket: Ticket = config["ticket"]
    wanted = ticket.cell.resources
    if wanted.devices > 1:  # its processes reserve their own; Tune accepts no trial that needs nothing
        return tune.PlacementGroupFactory([{"CPU": 0, "memory": 1}])
    cpus = float(wanted.cpus)
    gpus = float(wanted.gpus)
    if ticket.alone:
        there = nodes(ticket.nodes)
        fitting = [node for node in there if node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus]
        roomy = max(fitting, key=lambda node: node.get("memory", 0), default={"CPU": cpus})
        cpus = roomy["CPU"]
        gpus = float(max(1.0, gpus) if gpus else 0)
    bundles = [{"CPU": cpus, "GPU": gpus}]
    if not ticket.nodes:
        return tune.PlacementGroupFactory(bundles)
    return tune.PlacementGroupFactory(bundles, bundle_label_selector=[labels(ticket.nodes)])
