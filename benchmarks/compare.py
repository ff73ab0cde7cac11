"""What the comparison of a large grid costs, beside scipy called line by line.

    python benchmarks/compare.py [--settings 1000] [--losses 10] [--seeds 20] [--lines 20]

A grid of made-up scores is compared as `compare` does: every test of every difference with 10 000 resamples, the
corrections, and all that is said across settings. scipy's BCa bootstrap is timed on a few of the differences, one
call each, and extrapolated to all of them.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from orchestrator.experiment import Experiment
from orchestrator.report import across
from orchestrator.report.comparison import DRAWS, TESTED, compare
from orchestrator.statistics.paired import bca_interval


def grid(settings: int, losses: int, seeds: int) -> Experiment:
    """An experiment of that size; its settings are one and the same under many names."""
    entries = [{"name": "bce_unified", "as": f"loss-{place}", "bias_init": float(place)} for place in range(losses)]
    claim = {"id": "better", "metric": "uniform_accuracy", "challenger": "loss-1", "baseline": "loss-0"}
    document = {"name": "large", "losses": entries, "backbones": ["resnet8"], "datasets": ["digits"], "seeds": seeds}
    claims = [{**claim, "direction": "higher", "margin": 0.005}]
    asked = Experiment.model_validate({**document, "baseline": "loss-0", "claims": claims})
    datasets = [asked.datasets[0].model_copy(update={"label": f"data-{place}"}) for place in range(settings)]
    return asked.model_copy(update={"datasets": tuple(datasets)})


def scores(settings: int, losses: int, seeds: int) -> np.ndarray:
    """Accuracies (settings, losses, seeds, measures) that differ by setting, loss and seed."""
    rng = np.random.default_rng(0)
    level = rng.normal(0.8, 0.05, (settings, 1, 1, len(TESTED)))
    return (
        level + 0.002 * np.arange(losses)[:, None, None] + rng.normal(0, 0.01, (settings, losses, seeds, len(TESTED)))
    )


def table(asked: Experiment, values: np.ndarray) -> list[dict[str, Any]]:
    """The results table of these scores."""
    return [
        {
            "dataset": dataset.label,
            "backbone": "resnet8",
            "loss": loss.label,
            "seed": seed,
            "state": "finished",
            "accuracy_at_validation_threshold": None,
            **dict(zip(TESTED, found, strict=True)),
        }
        for dataset, by_loss in zip(asked.datasets, values.tolist(), strict=True)
        for loss, by_seed in zip(asked.losses, by_loss, strict=True)
        for seed, found in zip(asked.seeds, by_seed, strict=True)
    ]


def line_by_line(differences: np.ndarray) -> float:
    """Seconds that scipy's BCa bootstrap takes for each line (lines, seeds)."""
    started = time.perf_counter()
    for line in differences:
        bootstrap((line,), np.mean, n_resamples=DRAWS, method="BCa", rng=np.random.default_rng(0))
    return (time.perf_counter() - started) / len(differences)


def main() -> None:
    """Print the seconds and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, default in (("settings", 1_000), ("losses", 10), ("seeds", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lines", type=int, default=20, help="differences that scipy is timed on")
    asked = parser.parse_args()
    size = (asked.settings, asked.losses, asked.seeds)
    experiment, values = grid(*size), scores(*size)
    rows = table(experiment, values)

    started = time.perf_counter()
    comparison = compare(experiment, rows)
    compared = time.perf_counter()
    overall = across.overall(experiment, rows)
    ended = time.perf_counter()
    assert len(comparison.lines) == asked.settings * asked.losses
    assert overall.settings == asked.settings

    differences = np.moveaxis(values[:, 1:] - values[:, :1], 2, -1).reshape(-1, asked.seeds)
    started_alone = time.perf_counter()
    bca_interval(differences, np.random.default_rng(0), DRAWS)
    alone = time.perf_counter() - started_alone
    scipys = line_by_line(differences[:: max(1, len(differences) // asked.lines)][: asked.lines])
    ours, whole = ended - started, scipys * len(differences)
    print(
        f"{' x '.join(map(str, size))} settings, losses, seeds: {len(differences)} differences, {DRAWS} resamples each"
    )
    print(f"comparison {compared - started:8.1f} s")
    print(f"across     {ended - compared:8.1f} s")
    print(f"together   {ours:8.1f} s")
    print(f"BCa alone  {alone:8.1f} s  part of the comparison")
    print(f"scipy's BCa{whole:8.1f} s  extrapolated from {asked.lines} calls of {scipys * 1000:.1f} ms")
    print(f"scipy's BCa takes {whole / alone:.1f} times as long as ours, {whole / ours:.1f} times as long as all of it")


if __name__ == "__main__":
    main()
