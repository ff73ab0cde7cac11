"""Which machine of a mixed cluster a cell runs on: all losses of one data set, backbone and seed in one environment.

Where all machines are alike, a cell runs on any. Otherwise the first cell of a group goes where there is most room, and
the others follow it. A group whose machines are gone moves to others: at once, or, where some of it is done there,
after a while in which they may come back, because then that part is to be trained again. A group that another launch
is at work on goes where that is, and is left to it where that is none of these machines.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator import provenance
from orchestrator.execution.queue import Place
from orchestrator.experiment.plan import Cell
from orchestrator.experiment.resources import Resources
from orchestrator.pairing.blocks import Group
from orchestrator.provenance import processor
from orchestrator.provenance.environment import gpu

GRACE = 60.0
"""Seconds that a group with finished cells waits for machines that are gone."""

ASK = 2.0
"""Seconds for which it is believed what other launches run."""

AHEAD = 1
"""Cells that may wait in an environment for one that runs there to end, so that its process is used again."""

ANYWHERE: tuple[str, ...] = ()
"""Any machine will do."""


Kind = tuple[tuple[str, str | int | None], ...]


@dataclass(frozen=True)
class Node:
    """A machine of the cluster that is alive."""

    id: str
    resources: Mapping[str, float]
    """As Ray counts them: `CPU` and `GPU`."""
    kind: Kind
    """What the cells that are trained there record of it; machines of one kind are alike."""
    host: str = ""
    """Its name in the network."""


def told() -> Kind:
    """What cells that are trained on this machine record of it, without importing torch."""
    nvml = provenance.nvml()
    return (
        ("torch_version", provenance.machine()["torch_version"]),
        ("instruction_set", processor.instruction_set()),
        ("onednn_isa", processor.onednn_isa()),
        ("device", gpu(nvml) if nvml else None),
    )


class Placement:
    """Gives every group of cells its environment. Safe to use from several threads.

    Args:
        environment: The id of the environment of a cell that is trained on a machine which tells this of itself.
        done: The environments of the finished cells of each group.
        clock: Seconds that only ever grow.
    """

    def __init__(
        self,
        environment: Callable[[Cell, Mapping[str, Any]], str],
        done: Mapping[Group, Iterable[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = environment
        self._clock = clock
        self._lock = threading.RLock()
        self._known: dict[tuple[Kind, tuple[str, ...], Resources], str] = {}
        self._done = defaultdict[Group, list[str]](list, {group: list(found) for group, found in (done or {}).items()})
        self._begun: dict[Group, str] = {}
        self._running: dict[str, tuple[str, Cell]] = {}
        self._nodes: tuple[Node, ...] = ()
        self._left: dict[Kind, float] = {}
        self._elsewhere: Mapping[Group, Collection[str]] = {}
        self._asked = -math.inf
        self.others: Callable[[], Mapping[Group, Collection[str]]] = dict
        """Asks which groups other launches are at work on, and the names of the machines on which they are."""

    @property
    def alive(self) -> set[str]:
        """The ids of the machines that are there."""
        return {node.id for node in self._nodes}

    def found(self, nodes: Iterable[Node]) -> None:
        """The machines that are there now, and no others are."""
        with self._lock:
            before = {node.kind for node in self._nodes}
            self._nodes = tuple(nodes)
            now = {node.kind for node in self._nodes}
            self._left |= dict.fromkeys(before - now, self._clock())
            self._left = {kind: when for kind, when in self._left.items() if kind not in now}

    def can(self, cell: Cell) -> list[str]:
        """The environments in which a cell can be trained now, the largest first."""
        with self._lock:
            choices = self._choices(cell)
            return sorted(choices, key=lambda name: (-_room(cell, choices[name]), name))

    def kinds(self, cell: Cell) -> list[dict[str, Any]]:
        """What the machines tell of themselves on which a cell can be trained now, each environment once."""
        with self._lock:
            choices = self._choices(cell)
            return [_told(cell, choices[name][0].kind) for name in sorted(choices)]

    def place(self, cell: Cell) -> Place:
        """Where a cell may run now."""
        with self._lock:
            choices = self._choices(cell)
            if cell.environment:
                homes = [cell.environment]
            else:
                group = _group(cell)
                homes = [*self._done[group], *filter(None, [self._begun.get(group)])]
            home = next((name for name in homes if name in choices), None)
            if home is None and not cell.environment and (hosts := self._hosts(_group(cell))):
                home = next((name for name in choices if hosts & {node.host for node in choices[name]}), None)
                if home is None:
                    return "wait"
            if home is None and self._leaving(cell) & set(homes if cell.environment else self._done[_group(cell)]):
                return "wait"
            if home is None and cell.environment:
                return "gone"
            if len(choices) < 2:  # noqa: PLR2004 - one is no choice
                return ANYWHERE
            free = {name: self._free(name, cell, choices[name]) for name in ([home] if home else choices)}
            best = max(free, key=lambda name: (free[name], name))
            return _ids(choices[best]) if free[best] > -AHEAD else "wait"

    def taken(self, cell: Cell, nodes: tuple[str, ...]) -> None:
        """A cell was handed out to run on these machines."""
        with self._lock:
            choices = self._choices(cell)
            name = next((name for name, there in choices.items() if _ids(there) == nodes or len(choices) == 1), "")
            self._running[cell.id] = name, cell
            if name and not cell.environment and self._begun.get(_group(cell)) not in choices:
                self._begun[_group(cell)] = name

    def ended(self, cell: Cell, environment: str | None = None) -> None:
        """An attempt at a cell has ended; if the cell is done, in which environment."""
        with self._lock:
            self._running.pop(cell.id, None)
            group = _group(cell)
            if environment and not cell.environment:
                self._done[group].append(environment)
            elif not any(_group(other) == group for _, other in self._running.values()):
                self._begun.pop(group, None)  # where none of its cells is, the next may begin elsewhere

    def _hosts(self, group: Group) -> set[str]:
        """The machines on which other launches are at work on a group that has not begun here."""
        if group in self._begun:
            return set()
        if self._clock() - self._asked > ASK:
            self._elsewhere = self.others()
            self._asked = self._clock()
        return set(self._elsewhere.get(group, ()))

    def _choices(self, cell: Cell) -> dict[str, list[Node]]:
        """The machines with room for a cell when nothing else runs there, by environment."""
        found = defaultdict[str, list[Node]](list)
        for node in self._nodes:
            if _fitting(cell, node):
                found[self._environment(cell, node.kind)].append(node)
        return found

    def _leaving(self, cell: Cell) -> set[str]:
        """The environments of machines that are gone, but not for long."""
        now = self._clock()
        return {self._environment(cell, kind) for kind, when in self._left.items() if now - when < GRACE}

    def _environment(self, cell: Cell, kind: Kind) -> str:
        told = _told(cell, kind)
        key = tuple(told.items()), cell.kind[1:], cell.resources
        if key not in self._known:
            self._known[key] = self._ask(cell, told)
        return self._known[key]

    def _free(self, name: str, cell: Cell, nodes: Iterable[Node]) -> float:
        """Cells like this one for which an environment has room beside what runs there; below 0, that many wait."""
        return _room(cell, nodes) - sum(_size(other, cell) for where, other in self._running.values() if where == name)


def _told(cell: Cell, kind: Kind) -> dict[str, Any]:
    """What a machine tells, without its GPU where a cell needs none."""
    return {name: value for name, value in kind if name != "device" or cell.resources.gpus}


def _group(cell: Cell) -> Group:
    return cell.dataset, cell.backbone, cell.seed


def _ids(nodes: Iterable[Node]) -> tuple[str, ...]:
    return tuple(sorted(node.id for node in nodes))


def _room(cell: Cell, nodes: Iterable[Node]) -> float:
    """How many cells like this one run at once on machines that nothing else uses."""
    return sum(_fitting(cell, node) for node in nodes) / cell.resources.devices


def _fitting(cell: Cell, node: Node) -> float:
    """How many devices for a cell like this one a machine has."""
    need = cell.resources
    fitting = node.resources.get("CPU", 0) // need.cpus
    if need.gpus:
        fitting = min(fitting, node.resources.get("GPU", 0) / need.gpus)
    return fitting


def _size(cell: Cell, unit: Cell) -> float:
    """How much of a machine one cell takes, in cells like another."""
    mine = cell.resources
    its = unit.resources
    gpus = mine.gpus / its.gpus if its.gpus else 0.0
    return max(mine.cpus / its.cpus, gpus) * mine.devices / its.devices
