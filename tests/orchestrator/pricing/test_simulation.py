"""A cluster that is not there: the launch's queue, machines that go away, and a clock that jumps."""

from __future__ import annotations

import pytest

from orchestrator.execution.queue import Queue
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, plan
from orchestrator.outcome import Ending, Finished, Lost
from orchestrator.pricing.simulation import Absence, Clock, Machine, Simulation, SimulationReport


def cells(seeds: int, gpus: float = 0, epochs: int = 1) -> tuple[Cell, ...]:
    asked = {
        "name": "asked", "losses": ["softmax"], "backbones": ["resnet8"], "datasets": ["digits"], "seeds": seeds,
        "recipe": {"epochs": epochs}, "baseline": "softmax", "resources": {"cpus": 1, "gpus": gpus},
    }  # fmt: skip
    return plan(Experiment.model_validate(asked)).cells


def run(
    asked: tuple[Cell, ...], machines: list[Machine], *outages: Absence, seconds: float = 100.0
) -> tuple[SimulationReport, list[Ending]]:
    clock = Clock()
    heard = list[Ending]()
    simulation = Simulation(machines, lambda cell, device: seconds, clock, heard=heard.append)
    return simulation.run(Queue(asked, clock=clock), outages), heard


def test_equal_cells_take_as_many_rounds_as_there_is_no_room_for() -> None:
    found, heard = run(cells(5), [Machine("a", 2, 0, "cpu")])
    assert (found.seconds, found.finished, found.busy) == (300.0, 5, {"cpu": 500.0})
    assert all(isinstance(end, Finished) for end in heard)


def test_fractions_of_a_gpu_share_it_and_no_more_than_fit() -> None:
    found, _ = run(cells(7, gpus=0.3), [Machine("a", 100, 1, "l4")])
    assert found.seconds == 300.0
    assert found.busy == pytest.approx({"l4": 7 * 0.3 * 100})


def test_a_cell_goes_on_from_its_last_state_when_its_machine_goes_away() -> None:
    outage = Absence("a", gone=90.0, back=500.0)
    found, heard = run(cells(1), [Machine("a", 1, 0, "cpu")], outage, Absence("a", 530.0, 531.0))
    # 60 of 90 s were saved; of 40 s left, 30 s were not, for the next state comes after 60 s.
    assert [type(end) for end in heard] == [Lost, Lost, Finished]
    assert found.seconds >= 531.0 + 40.0
    assert (found.lost, found.wasted) == (2, 30.0 + 30.0)


def test_a_machine_that_stays_away_leaves_its_cells_to_the_others() -> None:
    found, heard = run(cells(4), [Machine("a", 1, 0, "cpu"), Machine("b", 1, 0, "cpu")], Absence("b", 50.0))
    assert {end.cell.seed for end in heard if isinstance(end, Finished)} == {0, 1, 2, 3}
    assert found.seconds == 400.0


def test_cells_that_no_machine_can_run_are_an_error_and_no_endless_loop() -> None:
    with pytest.raises(RuntimeError, match="no machine can run"):
        run(cells(1, gpus=1), [Machine("a", 8, 0, "cpu")])
