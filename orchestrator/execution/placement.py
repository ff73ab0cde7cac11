"""Which machine of a mixed cluster a cell runs on: all losses of one data set, backbone and seed in one environment.

If all machines are alike, a cell runs on any. Otherwise the first cell of a group goes where there is most room, and
the others follow it. If the machines of a group are gone, the group moves to others. It moves at once if none of its
cells is done; otherwise those cells would have to be trained again, so it first waits for the machines to come back.
A group that another launch is training follows that launch to its machines, and waits if this launch has none of them.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
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
"""Seconds that a group with finished cells waits for lost machines to come back."""

ASK = 2.0
"""Seconds between two queries of what other launches run."""

AHEAD = 1
"""Cells that may wait in a full environment, so that a process that becomes free there is reused at once."""

ANYWHERE: tuple[str, ...] = ()
"""Any machine."""


MachineKind = tuple[tuple[str, str | int | None], ...]


@dataclass(frozen=True)
class Node:
    """A live machine of the cluster."""

    id: str
    resources: Mapping[str, float]
    """Ray's counts of `CPU` and `GPU`."""
    kind: MachineKind
    """What cells trained there record about it; machines with equal kinds are interchangeable."""
    host: str = ""
    """Its name in the network."""


def told() -> MachineKind:
    """What cells trained on this machine record about it, found without importing torch."""
    nvml = provenance.nvml()
    return (
        ("torch_version", provenance.machine()["torch_version"]),
        ("instruction_set", processor.instruction_set()),
        ("onednn_isa", processor.onednn_isa()),
        ("device", gpu(nvml) if nvml else None),
    )


class Placement:
    """Assigns an environment to every group of cells. Safe to use from several threads.

    Args:
        environment: Gives the id of a cell's environment on a machine, from what the machine records.
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
        self._known: dict[tuple[MachineKind, tuple[str, ...], Resources], str] = {}
        self._done = defaultdict[Group, list[str]](list, {group: list(found) for group, found in (done or {}).items()})
        self._begun: dict[Group, str] = {}
        self._running: dict[str, tuple[str, Cell]] = {}
        self._nodes: tuple[Node, ...] = ()
        self._left: dict[MachineKind, float] = {}
        self._elsewhere: Mapping[Group, Collection[str]] = {}
        self._asked = -math.inf
        self._revision = 0
        self.others: Callable[[], Mapping[Group, Collection[str]]] = dict
        """Returns the groups that other launches are training, each with the names of their machines."""

    @property
    def alive(self) -> set[str]:
        """The ids of the live machines."""
        return {node.id for node in self._nodes}

    def found(self, nodes: Iterable[Node]) -> None:
        """Set the machines that are there now."""
        with self._lock:
            before = {node.kind for node in self._nodes}
            self._nodes = tuple(nodes)
            now = {node.kind for node in self._nodes}
            self._left |= dict.fromkeys(before - now, self._clock())
            self._left = {kind: when for kind, when in self._left.items() if kind not in now}

    def can(self, cell: Cell) -> list[str]:
        """The environments in which a cell can be trained now, the one with most room first."""
        with self._lock:
            choices = self._choices(cell)
            return sorted(choices, key=lambda name: (-_room(cell, choices[name]), name))

    def kinds(self, cell: Cell) -> list[dict[str, Any]]:
        """What the machines that can train a cell now record about themselves, each environment once."""
        with self._lock:
            choices = self._choices(cell)
            return [_told(cell, choices[name][0].kind) for name in sorted(choices)]

    @property
    def revision(self) -> int:
        """Grows whenever other launches train other groups than before."""
        with self._lock:
            self._look_elsewhere()
            return self._revision

    def asks(self, cell: Cell) -> Hashable:
        """What a cell asks for: all that ask for the same may run on the same machines."""
        group = _group(cell)
        with self._lock:
            homes = cell.environment or (*dict.fromkeys(self._done.get(group, ())), self._begun.get(group))
            hosts = frozenset(() if group in self._begun else self._elsewhere.get(group, ()))
            return cell.kind[1:], cell.resources, homes, hosts

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
            if len(choices) < 2:  # noqa: PLR2004 - with one environment there is no choice
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
                self._begun.pop(group, None)  # none of its cells is there, so the next may begin elsewhere

    def _hosts(self, group: Group) -> set[str]:
        """The machines on which other launches train a group, if it has not begun here."""
        if group in self._begun:
            return set()
        self._look_elsewhere()
        return set(self._elsewhere.get(group, ()))

    def _look_elsewhere(self) -> None:
        """Ask every few seconds what other launches train."""
        if self._clock() - self._asked > ASK:
            before = self._elsewhere
            self._elsewhere = self.others()
            self._asked = self._clock()
            self._revision += before != self._elsewhere

    def _choices(self, cell: Cell) -> dict[str, list[Node]]:
        """The machines large enough for a cell, by environment."""
        found = defaultdict[str, list[Node]](list)
        for node in self._nodes:
            if _fitting(cell, node):
                found[self._environment(cell, node.kind)].append(node)
        return found

    def _leaving(self, cell: Cell) -> set[str]:
        """The environments whose machines disappeared less than `GRACE` seconds ago."""
        now = self._clock()
        return {self._environment(cell, kind) for kind, when in self._left.items() if now - when < GRACE}

    def _environment(self, cell: Cell, kind: MachineKind) -> str:
        told = _told(cell, kind)
        key = tuple(told.items()), cell.kind[1:], cell.resources
        if key not in self._known:
            self._known[key] = self._ask(cell, told)
        return self._known[key]

    def _free(self, name: str, cell: Cell, nodes: Iterable[Node]) -> float:
        """How many more cells like this one fit into an environment now; below 0, that many wait there."""
        return _room(cell, nodes) - sum(_size(other, cell) for where, other in self._running.values() if where == name)


def _told(cell: Cell, kind: MachineKind) -> dict[str, Any]:
    """What a machine records about itself, without its GPU if the cell needs none."""
    return {name: value for name, value in kind if name != "device" or cell.resources.gpus}


def _group(cell: Cell) -> Group:
    return cell.dataset, cell.backbone, cell.seed


def _ids(nodes: Iterable[Node]) -> tuple[str, ...]:
    return tuple(sorted(node.id for node in nodes))


def _room(cell: Cell, nodes: Iterable[Node]) -> float:
    """How many cells like this one fit on idle machines at once."""
    return sum(_fitting(cell, node) for node in nodes) / cell.resources.devices


def _fitting(cell: Cell, node: Node) -> float:
    """For how many devices of a cell like this one a machine has room."""
    need = cell.resources
    fitting = node.resources.get("CPU", 0) // need.cpus
    if need.gpus:
        fitting = min(fitting, node.resources.get("GPU", 0) / need.gpus)
    return fitting


def _size(cell: Cell, unit: Cell) -> float:
    """How many cells like `unit` would fit in the room that a cell takes."""
    mine = cell.resources
    its = unit.resources
    gpus = mine.gpus / its.gpus if its.gpus else 0.0
    return max(mine.cpus / its.cpus, gpus) * mine.devices / its.devices
