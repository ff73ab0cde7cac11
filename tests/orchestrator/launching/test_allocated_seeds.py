"""Launches whose claim says where the next seed goes: which cells ran, what compare says of them, what was saved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import t

import program
from benchmarks import allocation
from orchestrator.notebook import results
from orchestrator.study import Study

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.experiment.seed_rule import Allocation

LEAST = 3
MOST = 12
MARGIN = 0.025

ASKED = """\
name: allocated
losses: [softmax, bce_unified]
backbones: [identity, {{name: mlp, width: 32}}]
datasets: [digits]
seeds: {{min: {least}, max: {most}, until: decided, allocation: {allocation}}}
recipe: {{epochs: 1, batch_size: 64, learning_rate: 0.1}}
baseline: softmax
claims:
  - {{id: same, metric: sample_wise_accuracy, challenger: bce_unified, baseline: softmax, direction: equal,
     margin: {margin}, over: {over}}}
"""


def launched(folder: Path, over: str, allocation: Allocation = "decisive") -> Study:
    """What a launch in this process's place found; it must end by itself."""
    file = folder / "allocated.yaml"
    file.write_text(ASKED.format(least=LEAST, most=MOST, margin=MARGIN, over=over, allocation=allocation))
    done = program.run("launch", file, "--executor", "inline", "--workspace", folder / "runs", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    study = results(folder / "runs", file)
    assert study.next_cells is None
    return study


def differences(study: Study) -> dict[str, list[float]]:
    """The challenger's results less the baseline's, by backbone, in the order of the seeds, which have no gap."""
    found: dict[str, list[float]] = {}
    for backbone in ("identity", "mlp"):
        mine, theirs = (_column(study, backbone, loss, "sample_wise_accuracy") for loss in ("bce_unified", "softmax"))
        found[backbone] = [one - other for one, other in zip(mine, theirs, strict=True)]
    return found


def _column(study: Study, backbone: str, loss: str, name: str) -> list[float]:
    rows = [row for row in study.rows if (row["backbone"], row["loss"]) == (backbone, loss)]
    rows.sort(key=lambda row: row["seed"])
    assert [row["seed"] for row in rows] == list(range(len(rows)))
    return [row[name] for row in rows]


def is_decided(values: Sequence[float], alpha: float) -> bool:
    """Whether differences lie within the margin, or beyond it, by Lai's mixture and, at the last seed, Student's t."""
    n = len(values)
    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1)) / math.sqrt(n)

    def level(distance: float) -> float:
        if distance <= 0:
            return 1.0
        square = (distance / error) ** 2
        if n == MOST:
            return float(4 * t.sf(math.sqrt(square), n - 1))
        return 2 * math.sqrt(1 + n) * ((n - 1 + square) / (n - 1 + square / (1 + n))) ** (-n / 2)

    inside = max(level(MARGIN - mean), level(MARGIN + mean))
    outside = min(level(mean - MARGIN), level(-mean - MARGIN))
    return min(inside, outside) <= alpha


def test_for_each_a_setting_gets_seeds_until_its_own_verdict_and_compare_counts_them(tmp_path: Path) -> None:
    study = launched(tmp_path, "each")
    found = differences(study)
    alpha = 0.05 / len(found)
    for values in found.values():
        first = [n for n in range(LEAST, len(values) + 1) if is_decided(values[:n], alpha)]
        assert first == [len(values)] or (not first and len(values) == MOST)
    told = {
        finding.backbone: (finding.difference.n, finding.difference.estimate) for finding in study.compare().findings
    }
    assert told == {name: (len(values), pytest.approx(np.mean(values))) for name, values in found.items()}
    _is_replayed(study, "decisive")


def test_for_the_mean_spread_and_cost_of_the_first_seeds_share_out_the_looks_that_were_set(tmp_path: Path) -> None:
    study = launched(tmp_path, "mean")
    found = differences(study)
    deviations = [float(np.std(values[:LEAST], ddof=1)) for values in found.values()]
    costs = [_cost(study, backbone) for backbone in found]
    at = {each: _shared(deviations, costs, each) for each in (LEAST, 2 * LEAST, MOST)}
    ran = [len(values) for values in found.values()]
    assert ran in at.values()
    each = next(each for each, sizes in at.items() if sizes == ran)
    (finding,) = study.compare().findings
    assert finding.difference.n == min(ran)
    assert each == MOST or finding.verdict == "supported"
    first = np.mean([values[:LEAST] for values in found.values()], axis=0).tolist()
    assert (each == LEAST) == (_level_of_first_look(first) <= 0.05)
    # The first seeds keep the weight that they have where all settings get equally many.
    weight = LEAST / each
    means = [
        weight * np.mean(values[:LEAST]) + (0 if each == LEAST else (1 - weight) * np.mean(values[LEAST:]))
        for values in found.values()
    ]
    assert finding.difference.estimate == pytest.approx(np.mean(means))
    _is_replayed(study, "decisive")


def _level_of_first_look(values: Sequence[float]) -> float:
    """Of the mean's lying within the margin, by Student's t; one of two looks that share half of alpha."""
    error = float(np.std(values, ddof=1)) / math.sqrt(LEAST)
    nearest = MARGIN - abs(float(np.mean(values)))
    return float(4 * 2 * t.sf(nearest / error, LEAST - 1))


def _cost(study: Study, backbone: str) -> float:
    """Seconds of a pair by its first seeds, to the nearest power of two."""
    losses = [_column(study, backbone, loss, "train_seconds")[:LEAST] for loss in ("softmax", "bce_unified")]
    return 2.0 ** round(math.log2(sum(map(np.mean, losses))))


def _shared(deviations: Sequence[float], costs: Sequence[float], each: int) -> list[int]:
    """Neyman's shares, for what `each` seeds everywhere cost, with half of an equal share for all."""
    if each in (LEAST, MOST):
        return [each] * len(costs)
    prices = np.array(costs)
    ideal = np.array(deviations) / np.sqrt(prices)

    def further(scale: float) -> Any:
        return np.clip(scale * ideal, math.ceil((each - LEAST) / 2), MOST - LEAST)

    budget = (each - LEAST) * prices.sum()
    found: Any = brentq(lambda scale: float(further(scale) @ prices) - budget, 0, MOST / ideal.min(), xtol=1e-12)
    return [LEAST + math.floor(seeds + 1e-9) for seeds in further(found)]


def test_equally_many_seeds_run_where_the_rule_says_so_and_the_saving_is_of_these_very_cells(tmp_path: Path) -> None:
    study = launched(tmp_path, "each", "equal")
    sizes = {len(values) for values in differences(study).values()}
    assert len(sizes) == 1
    _is_replayed(study, "equal")


def _is_replayed(study: Study, way: Allocation) -> None:
    """The benchmark that reports the saving asks for the cells of the launch, and for no other."""
    assert study.plan.experiment.allocation == way
    cells = {(row["dataset"], row["backbone"], row["loss"], row["seed"]): row for row in study.rows}
    seconds, _ = allocation.replayed(study.plan.experiment, cells)
    assert seconds == pytest.approx(math.fsum(row["train_seconds"] * row["threads"] for row in study.rows))
