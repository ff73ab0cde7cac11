"""Where a launch runs its cells: in this process, on a Ray of this machine, or on a cluster."""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from orchestrator.execution import environments, gpus
from orchestrator.execution.inline import Inline
from orchestrator.execution.placement import Node, Placement, told
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.pairing.blocks import Group
from orchestrator.provenance.environment import Environment

# Ray takes seconds to import, and the inline executor does without.
if TYPE_CHECKING:
    from orchestrator.execution.executor import Executor
    from orchestrator.execution.worker import Worker

Result = TypeVar("Result")

ROOMY = {"CPU": 2.0**20, "GPU": 2.0**20}
"""A machine that is the only one: whether a cell has room on it is checked elsewhere."""


@dataclass(frozen=True)
class Compute:
    """The executor and machines that options mean."""

    kind: Literal["ray", "inline"] = "ray"
    address: str | None = None
    """Of a Ray cluster; None for a Ray of this machine."""
    most: int | None = None
    """Cells to run at once."""
    debug: bool = False

    @property
    def raises(self) -> bool:
        """Whether the fault of a cell is raised where it is: a debugger reaches this process only."""
        return self.debug and self.kind == "inline"

    def executor(self, worker: Worker) -> Executor:
        """What runs cells, each by the worker."""
        if self.kind == "inline":
            return Inline(worker)
        from orchestrator.execution.ray_cluster import LOCAL
        from orchestrator.execution.ray_tune import RayTune

        return RayTune(worker, self.address or LOCAL)

    def call(self, work: Callable[[], Result]) -> Result:
        """What a piece of work returns, or raises, where cells run."""
        if self.kind == "inline":
            return work()
        from orchestrator.execution import ray_cluster

        return ray_cluster.call(self.address or ray_cluster.LOCAL, work)

    def room(self, plan: Plan) -> int:
        """Cells that run at once."""
        if self.most:
            return self.most
        if self.kind == "inline":
            return 1
        wanted = plan.cells[0].resources
        fitting = list[float]()
        for node in self.nodes():
            cpus = node.get("CPU", 0)
            fitting.append(min(cpus // wanted.cpus, node.get("GPU", 0) // wanted.gpus if wanted.gpus else cpus))
        return max(1, int(sum(fitting)))

    def nodes(self, *, with_gpus: bool = False) -> list[dict[str, float]]:
        """Ray's counts of `CPU` and `GPU` on each machine.

        Args:
            with_gpus: Whether to count the GPUs of this machine, which takes seconds.

        Raises:
            UnreachableError: There is no Ray at the address.
        """
        from orchestrator.execution import ray_cluster

        if self.address and self.kind == "ray":
            return ray_cluster.capacity(self.address)
        return [{"CPU": ray_cluster.cores(), "GPU": gpus.count() if with_gpus else 0}]

    def placement(self, plan: Plan, found: Mapping[str, Iterable[str]]) -> Placement:
        """Where the cells of a plan run, beside those that are done.

        Args:
            plan: The cells.
            found: The environments of those that are done, by id.

        Raises:
            UnreachableError: There is no Ray at the address.
        """
        done: defaultdict[Group, list[str]] = defaultdict(list)
        for cell in plan.cells:
            done[cell.dataset, cell.backbone, cell.seed] += found.get(cell.id, ())
        places = Placement(self._environment, done)
        if self.address:
            from orchestrator.execution.ray_cluster import survey

            survey(places, self.address)
        else:
            places.found([Node("", ROOMY, told(), socket.gethostname())])
        return places

    def _environment(self, cell: Cell, machine: Mapping[str, Any]) -> str:
        return Environment.of({**environments.origin(cell, self.address), **machine}).id

    def origins(self, cell: Cell, places: Placement | None) -> list[dict[str, Any]]:
        """What a cell will record, by each kind of machine on which it can be trained now."""
        return environments.origins(cell, places, self.address)
