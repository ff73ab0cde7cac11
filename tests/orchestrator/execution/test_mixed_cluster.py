"""Two machines of different instruction sets in one Ray cluster: two nodes of this one, told to differ."""

from __future__ import annotations

import io
import os
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ray.cluster_utils import Cluster
from rich.console import Console

from orchestrator.errors import RequestError
from orchestrator.execution import placement
from orchestrator.experiment.plan import Plan
from orchestrator.launching.compute import Compute
from orchestrator.launching.launch import Ended, Launch
from orchestrator.provenance import processor
from orchestrator.provenance.environment import Environment
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.results import aggregate
from orchestrator.reproduction.anchor_log import Ledger
from orchestrator.stores import Stores
from orchestrator.study import Study
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    # MLflow's own use of SQLAlchemy; an error there would leave its tables unusable for the whole process.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.skipif(processor.instruction_set() in (None, "DEFAULT"), reason="this processor has one set only"),
    pytest.mark.timeout(900),
    pytest.mark.slow,
]

LESS = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
"""Any processor has fewer instructions than it could have."""

GRID = """\
name: mixed
losses: [softmax, bce_unified, focal]
backbones: [resnet8]
datasets: [digits]
seeds: 2
recipe: {epochs: EPOCHS, batch_size: 100, learning_rate: 0.1}
baseline: softmax
"""


@dataclass
class Bench:
    """A cluster of two, and an experiment."""

    folder: Path
    cluster: Any
    other: Any
    """The second node."""

    @property
    def evaluations(self) -> Evaluations:
        return Evaluations(Workspace.at(str(self.folder / "runs")).evaluations)

    def study(self, seeds: str | None = None) -> Study:
        stores = Stores.at(str(self.folder / "runs"))
        return Study.of_file(self.folder / "mixed.yaml", stores, self.folder / "data", seeds=seeds)

    def plan(self) -> Plan:
        return self.study().plan

    def write(self, epochs: int, losses: str = "softmax, bce_unified, focal") -> None:
        text = GRID.replace("EPOCHS", str(epochs)).replace("softmax, bce_unified, focal", losses)
        (self.folder / "mixed.yaml").write_text(text)

    def launch(self, seeds: str | None = None) -> tuple[Ended, str]:
        console = Console(file=io.StringIO(), width=200, highlight=False)
        study = self.study(seeds)
        study.stores.prepare()
        ended = Launch(study, Compute("ray", self.cluster.address), console).run()
        return ended, console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]

    def sets(self) -> dict[int, set[str]]:
        """The instruction sets of the cells of each seed."""
        found = defaultdict[int, set[str]](set)
        for row in aggregate(self.plan(), self.evaluations).rows():
            found[row["seed"]].add(row["instruction_set"])
        return dict(found)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    for name in LESS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")])))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    other = cluster.add_node(num_cpus=1, env_vars=LESS)
    cluster.wait_for_nodes()
    try:
        yield Bench(tmp_path, cluster, other)
    finally:
        cluster.shutdown()


def test_all_losses_of_a_seed_end_in_one_environment_and_a_machine_that_is_gone_costs_replicas(bench: Bench) -> None:
    bench.write(epochs=1, losses="softmax, bce_unified")
    ended, _ = bench.launch()
    assert ended.tally["finished"] == 4
    sets = bench.sets()
    assert all(len(found) == 1 for found in sets.values())
    assert {name for found in sets.values() for name in found} == {"DEFAULT", processor.instruction_set()}
    assert not bench.evaluations.replicas(bench.plan().cells)
    (left,) = [seed for seed, found in sets.items() if found == {"DEFAULT"}]

    # Further seeds may go to either, so old cells of one are trained again in the other, whichever way this ends.
    with suppress(RequestError):
        bench.launch(seeds="2,3")
    entries = Ledger(Workspace.at(str(bench.folder / "runs")).drift("mixed")).entries()
    assert {(entry.old, entry.new) for entry in entries} == {(entries[0].old, entries[0].expected)}
    assert {
        origin.instruction_set for origin in (entries[0].old, entries[0].new) if isinstance(origin, Environment)
    } == {
        "DEFAULT",
        processor.instruction_set(),
    }

    bench.cluster.remove_node(bench.other)
    bench.write(epochs=1)
    ended, said = bench.launch()
    assert (ended.tally["finished"], ended.tally["replicas"], ended.tally["failed"]) == (6, 1, 0)
    (again,) = bench.evaluations.replicas(bench.plan().cells)
    assert (again.loss, again.seed) == ("softmax", left)
    assert f"softmax/resnet8/digits/s{left}@{again.environment}" in said


def test_a_machine_that_falls_while_it_works_moves_its_seeds_and_the_launch_ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "GRACE", 3.0)
    bench.write(epochs=12)
    asked = bench.plan()

    def fell() -> None:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            done = [cell for cell in asked.cells if cell.id in bench.evaluations.ids()]
            if any(getattr(bench.evaluations.origin(cell), "instruction_set", "") == "DEFAULT" for cell in done):
                bench.cluster.remove_node(bench.other, allow_graceful=False)
                return
            time.sleep(0.1)

    thread = threading.Thread(target=fell)
    thread.start()
    ended, _ = bench.launch()
    thread.join()
    assert (ended.tally["finished"], ended.tally["failed"]) == (6, 0)
    found = aggregate(asked, bench.evaluations)
    assert bench.study().comparison.unpaired == 0
    assert {len(found) for found in bench.sets().values()} == {1, 2}
    assert 1 <= found.replicas.num_rows <= 2
