"""Speed as ratios of two things measured beside each other on this machine, never as times.

Each bound is about half of what was measured (docs/performance.md), so that a regression by half is caught and a busy
machine is not. The median over pairs made beside each other counts, because a machine may run at two speeds in turn.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import torch

from benchmarks import evaluation
from benchmarks.growth import asked
from benchmarks.peers import Case
from benchmarks.table import Row, markdown, ratio, text
from benchmarks.training import train
from orchestrator.experiment.plan import plan
from trainers.inference import summarise
from trainers.metrics.uniform import uniform_accuracy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def times_cheaper(ours: Callable[[], object], other: Callable[[], object], repeats: int = 3) -> float:
    """How many times fewer seconds of computing ours takes than the other, in turn."""
    found: tuple[list[float], list[float]] = ([], [])
    gc.collect()
    gc.freeze()  # what other tests have left shall not be looked through meanwhile
    try:
        for _ in range(repeats):
            for way, seconds in zip((ours, other), found, strict=True):
                began = time.process_time()
                way()
                seconds.append(time.process_time() - began)
    finally:
        gc.unfreeze()
    return ratio(*found, more_is_better=False)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.slow
def test_our_loop_is_no_slower_than_the_one_people_write_and_as_accurate() -> None:
    case = Case(dataset="digits", images=896, tested=797, epochs=5, stop=5)
    pairs = [(train("ours", case), train("plain loop", case)) for _ in range(3)]
    ours, plain = ([one.speed for one in each] for each in zip(*pairs, strict=True))
    assert ratio(ours, plain, more_is_better=True) > 0.9
    assert pairs[0][0].accuracy == pytest.approx(pairs[0][1].accuracy, abs=0.05)


def exact(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """As a cell does it: two floats a sample, then all thresholds at once."""
    _, positive, rival, _ = summarise(scores, labels)
    return uniform_accuracy(positive.numpy(), rival.numpy()).accuracy


def naive_sweep(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """The best of a thousand thresholds, each against all scores."""
    own = torch.nn.functional.one_hot(labels, scores.shape[1]).bool()
    grid = torch.linspace(float(scores.min()), float(scores.max()), 1000)
    return max(float(((scores >= threshold) == own).all(dim=1).float().mean()) for threshold in grid)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.slow
def test_the_exact_uniform_accuracy_costs_a_small_part_of_a_sweep() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (20_000,), generator=draw)
    scores = torch.randn(20_000, 10, generator=draw) + 3 * torch.nn.functional.one_hot(labels, 10)
    assert times_cheaper(lambda: exact(scores, labels), lambda: naive_sweep(scores, labels)) > 40
    assert exact(scores, labels) >= naive_sweep(scores, labels) - 1e-6


@pytest.mark.usefixtures("one_thread")
def test_the_exact_uniform_accuracy_of_many_classes_costs_little_more_than_their_maximum() -> None:
    scores, labels = evaluation.drawn(10_000, 1_000)
    found = times_cheaper(lambda: evaluation.exact(scores, labels), lambda: evaluation.bare(scores), repeats=9)
    assert found > 1 / 1.8


def test_the_benchmark_of_evaluation_finds_that_all_ways_agree() -> None:
    found = evaluation.rows(quick=True, repeats=1, tell=lambda _: None)
    beside_ours = found[1:4]
    for_reference = [found[0], *found[4:]]
    assert all(row.ratio is not None for row in beside_ours)
    assert all(row.ratio is None for row in for_reference)
    assert [row.name for row in for_reference[1:]] == [
        "logsumexp of all scores",
        "runner-up, log-odds and scores to keep",
    ]


def test_planning_four_times_the_cells_costs_less_than_six_times_as_much() -> None:
    small = asked(1_000)
    large = asked(4_000)
    assert times_cheaper(lambda: plan(small), lambda: plan(large), repeats=5) < 6


@pytest.mark.slow
def test_a_trivial_cell_costs_a_small_part_of_what_tune_by_its_defaults_takes() -> None:
    code = "from benchmarks.launch import ours, plain_tune; print(ours(40)[1], plain_tune(2, reuse=False))"
    told = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    ours, defaults = map(float, told.stdout.split()[-2:])
    assert ours < defaults / 7


def test_a_ratio_above_one_means_that_ours_is_better_whatever_the_unit() -> None:
    assert ratio([2.0, 4.0, 60.0], [1.0, 2.0, 3.0], more_is_better=True) == 2.0
    assert ratio([2.0, 2.0, 2.0], [4.0, 4.0, 1.0], more_is_better=False) == 2.0


def test_a_table_shows_the_median_the_spread_and_the_number_of_repeats() -> None:
    rows = [Row("part", "name", (3.0, 1.0, 2000.0), "s", 1.5, "note")]
    assert markdown(rows).splitlines()[-1] == "| name | 3 s | 1 – 2,000 | 3 | 1.50 | note |"
    assert text(rows).splitlines()[-1].split() == ["name", "3", "s", "1", "–", "2,000", "3", "1.50", "note"]
