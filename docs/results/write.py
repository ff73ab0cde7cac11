"""Write all that states results from the committed tables alone: `python docs/results/write.py`.

That is the pages, the block of the README, and the spreads that `plan` goes by.

Nothing here is typed in, and no sentence says more than a verdict. A test writes the pages again and compares them with
the committed ones, so that a changed rule of the comparison shows at once.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import decided
import machine
import spreads
import study
from kept import ROOT, TABLES, Kept, Row

from orchestrator.adaptive.seeds import by_seed
from orchestrator.analysis.fairness import Audit
from orchestrator.analysis.findings import Finding
from orchestrator.analysis.spreads import FILE as SPREADS
from orchestrator.report.markdown import markdown
from orchestrator.report.paragraphs import caption
from orchestrator.report.rows import setting, statement
from orchestrator.statistics.intervals import mean_interval

HERE = Path(__file__).parent

FURTHER = {
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
    "frozen": ["uniform_accuracy_probability", "uniform_accuracy_calibrated", "unified_threshold", "learned_bias"],
    "classes": ["unified_threshold", "learned_bias", "bias_distance", "accuracy_at_bias"],
    "tables": ["uniform_accuracy_probability", "uniform_accuracy_calibrated", "unified_threshold", "learned_bias"],
    "inspection": ["operating_threshold", "expected_cost", "review_share"],
    "scratch": ["compactness", "distinctiveness", "nc2", "learned_bias", "relative_bias_gap", "accuracy_at_bias"],
    "networks": ["compactness", "distinctiveness", "nc2", "learned_bias", "relative_bias_gap", "accuracy_at_bias"],
    "fresh-seeds": ["accuracy_at_validation_threshold", "open_auroc", "open_auroc_energy", "open_auroc_probability"],
    "shift": ["shift_sample_wise_accuracy", "shift_uniform_accuracy", "shift_accuracy_at_clean_threshold"],
}
"""Measures that answer an experiment's question, beside the comparison."""

MACHINE = "machine"
"""The page on two instruction sets."""

RUNS = (f"{MACHINE}-1", f"{MACHINE}-2")
"""The tables of its two runs."""


def pages() -> dict[Path, str]:
    """What each file would hold, by its path, as far as there are tables."""
    tables = {file.stem for file in TABLES.glob("*.parquet")}
    names = sorted(name for name in tables if not name.startswith(MACHINE))
    kept = {name: Kept.read(name) for name in names}
    found = {HERE / f"{name}.md": page(each) for name, each in kept.items() if name != "quickstart"}
    contents = (HERE / "README.md").read_text(encoding="utf-8")
    found[HERE / "README.md"] = _filled(contents, "index", index([*kept.values()]))
    found[SPREADS] = spreads.text([*kept.values()])
    if set(RUNS) <= tables:
        runs = [Kept.read("quickstart", table=run) for run in RUNS]
        again = Kept.read(machine.SAMPLE).table if machine.SAMPLE in tables else ()
        found[HERE / f"{MACHINE}.md"] = machine.page(runs, kept, again)
    if set(study.NEEDED) <= kept.keys():
        found |= study.pages(kept)
    if "quickstart" in kept:
        readme = _filled((ROOT / "README.md").read_text(encoding="utf-8"), "quickstart", quickstart(kept["quickstart"]))
        found[ROOT / "README.md"] = _filled(readme, "study", study.headline(kept)) if "frozen" in kept else readme
    return found


def page(kept: Kept) -> str:
    """The page of one experiment."""
    comparison = kept.comparison
    made = (
        f"{counted(kept)} on {kept.machine}; {kept.hours:.2f} core hours; commit {kept.commits}. "
        f"Made by `launch experiments/{kept.name}.yaml`, written by `docs/results/write.py`."
    )
    parts = [f"# {kept.name}", kept.file.question, made, markdown(comparison)]
    if kept.decision:
        parts += decided.paragraphs(kept.decision, kept.asked)
    if measures := FURTHER.get(kept.name):
        parts.append(_further(kept.of("cell"), measures))
    if comparison.audit and comparison.audit.asked:
        parts.append(_winners(comparison.audit))
    return "\n\n".join(parts) + "\n"


def counted(kept: Kept) -> str:
    """How many cells, and trials."""
    cells, trials = (len(kept.of(kind)) for kind in ("cell", "trial"))
    return f"{cells} cells and {trials} trials" if trials else f"{cells} cells"


def index(experiments: Sequence[Kept]) -> str:
    """A line per experiment: its question, what was run, and how many verdicts there are of each kind."""
    return "\n".join(_line(kept) for kept in experiments)


def _line(kept: Kept) -> str:
    findings = kept.comparison.findings
    counts = Counter(finding.verdict for finding in findings)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    link = "../../README.md" if kept.name == "quickstart" else f"{kept.name}.md"
    data = ", ".join(choice.label for choice in kept.file.datasets)
    decided = [_decided(finding) for finding in findings if finding.verdict != "undecided"]
    lines = [f"- [{kept.name}]({link}) — {kept.file.question} ({data}; {counted(kept)}.) Verdicts: {verdicts}."]
    return "\n".join([*lines, *(f"    - {sentence}" for sentence in decided)])


def _decided(finding: Finding) -> str:
    return f"{statement(finding.claim)}; {setting(finding)}: {finding.marked}."


def quickstart(kept: Kept) -> str:
    """The README's table with its caption, and how many verdicts differ under another instruction set."""
    made = f"From `experiments/quickstart.yaml` ({counted(kept)}; {kept.machine}); `make results` makes it anew:"
    runs = [Kept.read("quickstart", table=run, seeds=len(kept.file.seeds)) for run in RUNS]
    other = next(run for run in runs if run.instruction_set != kept.instruction_set)
    table, *_ = markdown(kept.comparison).split("\n\n")
    return "\n\n".join([made, table, caption(kept.comparison), machine.differing(kept, other)])


def _further(rows: Sequence[Row], measures: Sequence[str]) -> str:
    """Mean and 95 % interval over seeds of further measures, in their own units."""
    groups: defaultdict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["dataset"], row["backbone"], row["loss"]].append(row)
    lines = ["| setting | loss | n | " + " | ".join(measures) + " |", "|---|---|---|" + "---|" * len(measures)]
    for (dataset, backbone, loss), found in groups.items():
        figures = [_figure(found, measure) for measure in measures]
        lines.append(f"| {backbone} on {dataset} | {loss} | {len(found)} | " + " | ".join(figures) + " |")
    return "\n".join(lines)


def _figure(rows: Sequence[Row], measure: str) -> str:
    interval = mean_interval(list(by_seed(rows, measure).values()))
    if not interval.n:
        return "–"
    fewer = "" if interval.n == len(rows) else f" (n = {interval.n})"
    half = (interval.high - interval.low) / 2
    spread = "" if math.isnan(half) else f" ± {half:.3f}"  # all seeds may have the same value
    return f"{interval.estimate:.3f}{spread}{fewer}"


def _winners(audit: Audit) -> str:
    """What each competitor's search has come to."""
    fields = list(dict.fromkeys(name for entrant in audit.entrants for name in entrant.space))
    lines = ["| setting | loss | trials | diverged | " + " | ".join(fields) + " |"]
    lines.append("|---" * (len(fields) + 4) + "|")
    for entrant in audit.entrants:
        values = [f"{entrant.winner[name]:.3g}" if name in entrant.winner else "–" for name in fields]
        counts = [f"{entrant.trials}", f"{entrant.diverged}", *values]
        lines.append(f"| {entrant.backbone} on {entrant.dataset} | {entrant.loss} | " + " | ".join(counts) + " |")
    return "\n".join(["Recipes that won, on validation images:", "", *lines])


def _filled(text: str, block: str, content: str) -> str:
    """A page with other content between the marks of a block."""
    begin = f"<!-- {block}: begin -->"
    end = f"<!-- {block}: end -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"A page has no block between '{begin}' and '{end}'.")
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content, encoding="utf-8")
        print(path.relative_to(ROOT))
