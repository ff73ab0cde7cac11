"""How far an instruction set moves figures and verdicts: the page on two runs of the quickstart's grid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from kept import Kept, Row

from orchestrator.analysis.findings import Finding
from orchestrator.report.rows import setting, statement
from orchestrator.statistics.intervals import mean_interval

SHOWN = {
    "sample_wise_accuracy": "sample-wise",
    "uniform_accuracy": "uniform",
    "accuracy_at_validation_threshold": "deployable",
}


SAMPLE = "machine-sample"
"""The table of cells of all experiments that were trained again elsewhere."""


def page(runs: Sequence[Kept], kept: Mapping[str, Kept], again: Sequence[Row]) -> str:
    """The whole page: two runs of one grid, and cells of all experiments that were trained again."""
    one, other = runs
    about = " and ".join(f"{run.machine} ({len(run.of('cell'))} cells)" for run in runs)
    made = f"{about}; commit {one.commits}. Trained by `docs/results/make.py`, written by `docs/results/write.py`."
    question = "Would another machine have said otherwise? The same cells, seeds and code under two instruction sets."
    parts = ["# machine", question, made, _figures(one, other), _legend(), agreed(one, other)]
    if found := sampled(kept, again):
        parts += ["## Cells of each experiment", found]
    return "\n\n".join(parts) + "\n"


def sampled(kept: Mapping[str, Kept], again: Sequence[Row]) -> str:
    """How far figures of cells moved that were trained again under another instruction set; empty without any."""
    pairs = {name: found for name, each in kept.items() if (found := _pairs(each, again))}
    everything = [pair for found in pairs.values() for pair in found]
    if not everything:
        return ""
    processors = ", ".join(sorted({now["processor"] for _, now in everything}))
    said = (
        f"{len(everything)} cells, the first finished ones of each experiment by id, were trained again by "
        f"`docs/results/again.py`, on {processors}. Points by which the figures moved: mean over n cells, and the "
        "largest of one cell."
    )
    heads = ["experiment", "n", "committed", "again", *SHOWN.values()]
    figures = [_apart(everything, measure) for measure in SHOWN]
    table = [
        "| " + " | ".join(heads) + " |",
        "|---" * len(heads) + "|",
        *(_moved(name, found) for name, found in pairs.items()),
        f"| all | {len(everything)} | | | " + " | ".join(figures) + " |",
    ]
    return "\n".join([said, "", *table])


def _pairs(kept: Kept, again: Sequence[Row]) -> list[tuple[Row, Row]]:
    """The cells of an experiment that were trained again, as they were and as they are.

    A cell whose committed figures are of a later training has to be trained again, too.
    """
    then = {(row["cell_id"], row["started"]): row for row in kept.of("cell")}
    mine = [row for row in again if row["experiment"] == kept.name]
    found = [(then[row["cell_id"], row["then"]], row) for row in mine if (row["cell_id"], row["then"]) in then]
    return [(one, other) for one, other in found if one["instruction_set"] != other["instruction_set"]]


def _moved(name: str, pairs: Sequence[tuple[Row, Row]]) -> str:
    sets = [", ".join(sorted({row["instruction_set"] for row in rows})) for rows in zip(*pairs, strict=True)]
    figures = [_apart(pairs, measure) for measure in SHOWN]
    return f"| {name} | {len(pairs)} | " + " | ".join([*sets, *figures]) + " |"


def _apart(pairs: Sequence[tuple[Row, Row]], measure: str) -> str:
    """The mean difference and the largest, in points; a dash where no cell has the measure."""
    moved = [100 * (now[measure] - then[measure]) for then, now in pairs if None not in (now[measure], then[measure])]
    return f"{np.mean(moved):+.2f}, at most {np.abs(moved).max():.2f}" if moved else "–"


def agreed(one: Kept, other: Kept) -> str:
    """The verdicts under both instruction sets, and how many differ."""
    pairs = list(zip(one.comparison.findings, other.comparison.findings, strict=True))
    lines = [
        differing(one, other),
        "",
        f"| claim | setting | {one.instruction_set} | {other.instruction_set} |",
        "|---|---|---|---|",
        *(
            f"| {statement(first.claim)} | {setting(first)} | {_said(first)} | {_said(second)} |"
            for first, second in pairs
        ),
    ]
    return "\n".join(lines)


def differing(one: Kept, other: Kept) -> str:
    """How many verdicts differ between two instruction sets."""
    pairs = list(zip(one.comparison.findings, other.comparison.findings, strict=True))
    count = sum(first.verdict != second.verdict for first, second in pairs)
    return f"Verdicts that differ between {one.instruction_set} and {other.instruction_set}: {count} of {len(pairs)}."


def _said(finding: Finding) -> str:
    low = 100 * finding.difference.low
    high = 100 * finding.difference.high
    estimate = 100 * finding.difference.estimate
    return f"{finding.verdict}: {estimate:+.1f} [{low:+.1f}, {high:+.1f}] points, n = {finding.difference.n}"


def _legend() -> str:
    return (
        "Percent, and points. Shift: mean over seeds of the second run minus the first, ± half of its 95 % "
        "Student t interval. Largest: the largest difference of one cell. Spread: standard deviation over seeds in the "
        "first run. Machine: standard deviation of one cell's difference, divided by √2, so that the two compare."
    )


def _figures(one: Kept, other: Kept) -> str:
    heads = ["backbone", "loss", "measure", "n", one.instruction_set, other.instruction_set]
    heads += ["shift", "largest", "spread", "machine"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    again = _by_setting(other)
    for (backbone, loss), first in _by_setting(one).items():
        lines += [_line(backbone, loss, measure, first, again[backbone, loss]) for measure in SHOWN]
    return "\n".join(lines)


def _by_setting(run: Kept) -> dict[tuple[str, str], dict[int, Row]]:
    found: defaultdict[tuple[str, str], dict[int, Row]] = defaultdict(dict)
    for row in run.of("cell"):
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
