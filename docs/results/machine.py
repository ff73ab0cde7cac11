"""How far an instruction set moves figures and verdicts: `python docs/results/machine.py WORKSPACE`.

Trains the quickstart's grid with 10 seeds twice on this machine, once as it is and once limited to AVX2, each into
a folder of its own below WORKSPACE. A second call trains nothing and writes the same page, docs/results/machine.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from orchestrator.statistics.intervals import mean_interval

ROOT = Path(__file__).parents[2]
EXPERIMENT = "quickstart"
ASKED = [f"experiments/{EXPERIMENT}.yaml", "--seeds", "10"]

LIMITS: Mapping[str, Mapping[str, str]] = {
    "as it is": {},
    "limited to AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}
"""What each run tells torch and oneDNN."""

SHOWN = {
    "sample_wise_accuracy": "sample-wise",
    "uniform_accuracy": "uniform",
    "accuracy_at_validation_threshold": "deployable",
}

Row = Mapping[str, Any]


class Run(NamedTuple):
    """The grid under one instruction set."""

    name: str
    rows: Sequence[Row]
    comparison: Mapping[str, Any]
    provenance: Mapping[str, Any]


def trained(name: str, limits: Mapping[str, str], workspace: Path) -> Run:
    """Launch what is missing of the grid under these limits, and read what it left."""
    environment = {**os.environ, **limits}

    def call(*arguments: str) -> str:
        command = [sys.executable, "-m", "orchestrator", *arguments, "--workspace", str(workspace)]
        return subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    call("launch", *ASKED)
    comparison = json.loads(call("compare", *ASKED, "--format", "json"))
    rows = pq.ParquetFile(workspace / "results" / f"{EXPERIMENT}.parquet").read().to_pylist()
    first = next((workspace / "evaluations").rglob("*.parquet"))
    provenance = json.loads(pq.read_metadata(first).metadata[b"cell"])["provenance"]
    return Run(name, rows, comparison, provenance)


def page(runs: Sequence[Run]) -> str:
    """The whole page."""
    one, other = runs
    about = ", ".join(f"{run.provenance['instruction_set']} ({run.name}, {len(run.rows)} cells)" for run in runs)
    made = (
        f"{one.provenance['processor']}, torch {one.provenance['torch_version']}, commit "
        f"{str(one.provenance['git_commit'])[:10]}: {about}. Written by `docs/results/machine.py`, which trains both."
    )
    question = "Would another machine have said otherwise? The same cells, seeds and code under two instruction sets."
    parts = ["# machine", question, made, _figures(one, other), _legend(), _verdicts(one, other)]
    return "\n\n".join(parts) + "\n"


def _legend() -> str:
    return (
        "Percent, and points. Shift: mean over seeds of the second run minus the first, ± half of its 95 % "
        "Student t interval. Largest: the largest difference of one cell. Spread: standard deviation over seeds in the "
        "first run. Machine: standard deviation of one cell's difference, divided by √2, so that the two compare."
    )


def _figures(one: Run, other: Run) -> str:
    sets = [run.provenance["instruction_set"] for run in (one, other)]
    lines = [
        f"| backbone | loss | measure | n | {sets[0]} | {sets[1]} | shift | largest | spread | machine |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (backbone, loss), first in _by_setting(one.rows).items():
        second = _by_setting(other.rows)[backbone, loss]
        lines += [_line(backbone, loss, measure, first, second) for measure in SHOWN]
    return "\n".join(lines)


def _by_setting(rows: Sequence[Row]) -> dict[tuple[str, str], dict[int, Row]]:
    found: defaultdict[tuple[str, str], dict[int, Row]] = defaultdict(dict)
    for row in rows:
        found[row["backbone"], row["loss"]][row["seed"]] = row
    return dict(found)


def _line(backbone: str, loss: str, measure: str, first: Mapping[int, Row], second: Mapping[int, Row]) -> str:
    seeds = sorted(first.keys() & second.keys())
    then = np.array([first[seed][measure] for seed in seeds])
    now = np.array([second[seed][measure] for seed in seeds])
    difference = 100 * (now - then)
    shift = mean_interval(difference.tolist())
    figures = [
        f"{100 * then.mean():.1f}",
        f"{100 * now.mean():.1f}",
        f"{shift.estimate:+.2f} ± {(shift.high - shift.low) / 2:.2f}",
        f"{np.abs(difference).max():.2f}",
        f"{100 * then.std(ddof=1):.2f}",
        f"{difference.std(ddof=1) / np.sqrt(2):.2f}",
    ]
    return f"| {backbone} | {loss} | {SHOWN[measure]} | {len(seeds)} | " + " | ".join(figures) + " |"


def _verdicts(one: Run, other: Run) -> str:
    lines = [
        f"| claim | setting | {one.provenance['instruction_set']} | {other.provenance['instruction_set']} |",
        "|---|---|---|---|",
    ]
    changed, asked = 0, 0
    for first, second in zip(_judged(one), _judged(other), strict=True):
        claim, setting, said, verdict = first
        lines.append(f"| {claim} | {setting} | {said} | {second[2]} |")
        asked += 1
        changed += verdict != second[3]
    told = f"Verdicts that differ between the two instruction sets: {changed} of {asked}."
    return "\n".join([told, "", *lines])


def _judged(run: Run) -> Iterator[tuple[str, str, str, str]]:
    for claim in run.comparison["claims"]:
        difference = claim["difference"]
        effect = (
            f"{100 * difference['estimate']:+.1f} [{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]"
        )
        said = f"{claim['verdict']}: {effect}, n={difference['n']}"
        yield claim["id"], f"{claim['backbone']} on {claim['dataset']}", said, claim["verdict"]


if __name__ == "__main__":
    root = Path(sys.argv[1]).resolve()
    runs = [trained(name, limits, root / name.replace(" ", "-")) for name, limits in LIMITS.items()]
    target = ROOT / "docs" / "results" / "machine.md"
    target.write_text(page(runs), encoding="utf-8")
    print(target)
