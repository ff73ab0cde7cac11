"""The cost of comparing a large grid, compared with calling scipy line by line.

    python benchmarks/compare.py [--settings 1000] [--losses 10] [--seeds 20] [--lines 20]

A grid of synthetic scores is compared as by `compare`: every test of every difference with 10 000 resamples, the
corrections, and all analyses across settings. scipy's BCa bootstrap is timed on a few of the differences, one call
each, and extrapolated to all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from benchmarks.table import Row, arguments, progress, text
from orchestrator.analysis import across_settings
from orchestrator.analysis.comparison import compare
from orchestrator.analysis.lines import DRAWS
from orchestrator.experiment.model import Experiment
from orchestrator.statistics.paired import bca_interval


def grid(settings: int, losses: int, seeds: int) -> Experiment:
    """An experiment of that size; all its settings are the same under different names."""
    entries = [{"name": "bce_unified", "as": f"loss-{place}", "bias_init": float(place)} for place in range(losses)]
    claim = {"id": "better", "metric": "uniform_accuracy", "challenger": "loss-1", "baseline": "loss-0"}
    document = {"name": "large", "losses": entries, "backbones": ["resnet8"], "datasets": ["digits"], "seeds": seeds}
    claims = [{**claim, "direction": "higher", "margin": 0.005}]
    asked = Experiment.model_validate({**document, "baseline": "loss-0", "claims": claims})
    datasets = [asked.datasets[0].model_copy(update={"label": f"data-{place}"}) for place in range(settings)]
    return asked.model_copy(update={"datasets": tuple(datasets)})


def scores(asked: Experiment) -> np.ndarray:
    """Accuracies (settings, losses, seeds, measures) that differ by setting, loss and seed."""
    rng = np.random.default_rng(0)
    measures = len(asked.shown)
    settings = len(asked.datasets)
    losses = len(asked.losses)
    seeds = len(asked.seeds)
    level = rng.normal(0.8, 0.05, (settings, 1, 1, measures))
    return level + 0.002 * np.arange(losses)[:, None, None] + rng.normal(0, 0.01, (settings, losses, seeds, measures))


def table(asked: Experiment, values: np.ndarray) -> list[dict[str, Any]]:
    """The results table of these scores."""
    return [
        {
            "dataset": dataset.label,
            "backbone": "resnet8",
            "loss": loss.label,
            "seed": seed,
            "state": "finished",
            **dict(zip(asked.shown, found, strict=True)),
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


def rows(
    *,
    quick: bool = False,
    size: tuple[int, int, int] = (1_000, 10, 20),
    lines: int = 20,
    tell: Callable[[str], None],
) -> list[Row]:
    """Seconds of ours and of scipy for settings x losses x seeds; with `quick`, a tenth of the settings."""
    settings, losses, seeds = (size[0] // 10, *size[1:]) if quick else size
    experiment = grid(settings, losses, seeds)
    values = scores(experiment)
    made = table(experiment, values)

    started = time.perf_counter()
    comparison = compare(experiment, made)
    tested = time.perf_counter()
    overall = across_settings.overall(experiment, made)
    ended = time.perf_counter()
    assert len(comparison.lines) == settings * losses
    assert overall.settings == settings

    differences = np.moveaxis(values[:, 1:] - values[:, :1], 2, -1).reshape(-1, seeds)
    tell(f"{len(differences)} differences compared in {tested - started:.1f} s")
    started_alone = time.perf_counter()
    bca_interval(differences, np.random.default_rng(0), DRAWS)
    alone = time.perf_counter() - started_alone
    ours = ended - started
    each = line_by_line(differences[:: max(1, len(differences) // lines)][:lines])
    whole = each * len(differences)
    asked = f"{len(differences):,} differences, {DRAWS:,} resamples each"
    part = "comparison"
    note = f"extrapolated from {lines} calls of {1000 * each:.1f} ms"
    return [
        Row(part, "every test, correction and claim", (tested - started,), "s", note=asked),
        Row(part, "across settings", (ended - tested,), "s"),
        Row(part, "BCa intervals alone", (alone,), "s", note="part of the first"),
        Row(part, "scipy's BCa, beside our intervals", (whole,), "s", whole / alone, note),
        Row(part, "scipy's BCa, beside all of ours", (whole,), "s", whole / ours, note),
    ]


if __name__ == "__main__":
    parser = arguments(__doc__)
    for name, default in (("settings", 1_000), ("losses", 10), ("seeds", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lines", type=int, default=20, help="differences that scipy is timed on")
    wanted = parser.parse_args()
    asked = (wanted.settings, wanted.losses, wanted.seeds)
    print(text(rows(size=asked, lines=wanted.lines, tell=progress)))
