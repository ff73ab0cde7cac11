"""A cluster of spot machines that is not there, with the queue, lease and registry of a launch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks import cluster
from orchestrator.pricing.simulation import Absence


def test_nothing_is_lost_with_spot_machines_and_the_end_is_near_the_lower_bound(tmp_path: Path) -> None:
    found = cluster.simulated(cluster.Size(machines=4, gpus=4, cells=400), tmp_path)
    assert found.report.lost > 0
    assert found.states == Counter(finished=400)
    assert found.report.finished == 400
    assert 1 <= found.report.seconds / found.bound <= 1.1


@pytest.mark.parametrize(
    ("work", "longest", "gone", "expected"),
    [
        (800.0, 10.0, [], 100.0),
        (800.0, 150.0, [], 150.0),
        (800.0, 10.0, [Absence("a", 50.0)], 150.0),  # 400 with 8 GPUs, 400 with 4
        (800.0, 10.0, [Absence("a", 50.0, 60.0)], 105.0),
    ],
)
def test_the_lower_bound_is_when_all_gpus_that_are_there_have_done_all_work(
    work: float, longest: float, gone: list[Absence], expected: float
) -> None:
    assert cluster.bound(work, longest, cluster.Size(machines=2, gpus=4, cells=1), gone) == expected
