"""Write the results of experiments as Markdown: `python docs/results/write.py WORKSPACE NAME...`.

Every figure comes from the per-cell files of the workspace; nothing here is typed in.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from orchestrator import wiring
from orchestrator.experiment import load
from orchestrator.records import results
from orchestrator.records.evaluations import Evaluations
from orchestrator.report.audit import Audit
from orchestrator.report.comparison import by_seed
from orchestrator.report.tables import text
from orchestrator.statistics.intervals import mean_interval
from orchestrator.workspace import Workspace

ROOT = Path(__file__).parents[2]
SHOWN = {
    "learned-bias": ["unified_threshold", "learned_bias", "bias_gap", "bias_distance", "accuracy_at_bias"],
    "bias-init": ["unified_threshold", "learned_bias", "bias_gap", "bias_distance", "accuracy_at_bias"],
    "openset": ["open_auroc", "open_auroc_energy", "open_auroc_probability", "open_oscr", "unknown_rejected"],
    "normalisation": [
        "uniform_accuracy_probability",
        "uniform_accuracy_calibrated",
        "temperature",
        "nc2",
        "means_from_simplex",
    ],
    "imbalance": ["threshold_spread", "bias_gap", "accuracy_at_bias", "calibration_error"],
    "tuned": ["class_wise_accuracy", "accuracy_at_bias", "calibration_error"],
    "shift": ["shift_sample_wise_accuracy", "shift_uniform_accuracy", "shift_accuracy_at_clean_threshold"],
}
"""Measures that answer an experiment's question, beside the comparison."""


def page(workspace: Workspace, name: str) -> str:
    """The whole page of one experiment."""
    file = ROOT / "experiments" / f"{name}.yaml"
    asked = wiring.plan(load(file), workspace, Path("data"))
    evaluations = Evaluations(workspace.evaluations)
    found = results.aggregate(asked, evaluations)
    accounts = [evaluations.account(cell) for cell in asked.cells if cell not in found.missing]
    places = sorted({str(account.provenance["processor"]) for account in accounts})
    commits = sorted({str(account.provenance["git_commit"])[:10] for account in accounts})
    hours = sum(account.seconds for account in accounts) / 3600
    made = (
        f"{len(accounts)} of {len(asked)} cells, {hours:.2f} core hours, other work beside, on {', '.join(places)}; "
        f"torch {accounts[0].provenance['torch_version']}; commit {', '.join(commits)}. "
        f"Made by `launch experiments/{name}.yaml`, written by `docs/results/write.py`."
    )
    comparison = wiring.compared(found, asked, workspace, file)
    parts = [f"# {name}", asked.experiment.question, made, text(comparison, "markdown"), _further(found, SHOWN[name])]
    if comparison.audit and comparison.audit.asked:
        parts.append(_winners(comparison.audit))
    return "\n\n".join(parts) + "\n"


def _winners(audit: Audit) -> str:
    """What each competitor's search has come to."""
    fields = list(dict.fromkeys(name for entrant in audit.entrants for name in entrant.space))
    lines = ["| setting | loss | trials | diverged | " + " | ".join(fields) + " | seconds of tuning |"]
    lines.append("|---" * (len(fields) + 5) + "|")
    for entrant in audit.entrants:
        values = [f"{entrant.winner[name]:.3g}" if name in entrant.winner else "–" for name in fields]
        counts = [f"{entrant.trials}", f"{entrant.diverged}", *values, f"{entrant.tuning_seconds:.0f}"]
        lines.append(f"| {entrant.backbone} on {entrant.dataset} | {entrant.loss} | " + " | ".join(counts) + " |")
    return "\n".join(["Recipes that won, on validation images:", "", *lines])


def _further(found: results.Results, measures: list[str]) -> str:
    """Mean and 95 % interval over seeds of further measures, in their own units."""
    groups: defaultdict[tuple[str, str, str], list[dict[str, object]]] = defaultdict(list)
    for row in found.rows():
        groups[row["dataset"], row["backbone"], row["loss"]].append(row)
    lines = ["| setting | loss | " + " | ".join(measures) + " |", "|---|---|" + "---|" * len(measures)]
    for (dataset, backbone, loss), rows in groups.items():
        cells = [_cell(rows, measure) for measure in measures]
        lines.append(f"| {backbone} on {dataset} | {loss} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(rows: list[dict[str, object]], measure: str) -> str:
    interval = mean_interval(list(by_seed(rows, measure).values()))
    return f"{interval.estimate:.3f} ± {(interval.high - interval.low) / 2:.3f}" if interval.n else "–"


if __name__ == "__main__":
    for name in sys.argv[2:]:
        target = ROOT / "docs" / "results" / f"{name}.md"
        target.write_text(page(Workspace(Path(sys.argv[1]).resolve()), name), encoding="utf-8")
        print(target)
