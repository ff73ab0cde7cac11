"""The comparison as flat rows, one per loss in each setting: what the page's table shows, and what lies beside it."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Any

from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.findings import Finding
from orchestrator.analysis.lines import Line

Row = dict[str, Any]

DIGITS = 7
"""Significant digits of a number: those of a float32."""


def rows(of: Comparison) -> list[Row]:
    """The rows; a number that does not exist is None, and verdicts are those of claims about this loss there."""
    judged: defaultdict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for finding in of.findings:
        judged[finding.dataset, finding.backbone, finding.claim.challenger].append(finding)
    return [_row(line, judged[line.dataset, line.backbone, line.loss]) for line in of.lines]


def _row(line: Line, findings: Sequence[Finding]) -> Row:
    found: Row = {
        "loss": line.loss,
        "backbone": line.backbone,
        "dataset": line.dataset,
        "planned": line.planned,
        "finished": line.finished,
        "diverged": line.diverged,
        "collapsed": line.collapsed,
    }
    for metric, mean in line.means.items():
        found |= {
            metric: _number(mean.estimate),
            f"{metric}_low": _number(mean.low),
            f"{metric}_high": _number(mean.high),
        }
    for metric in line.means:
        difference = (line.differences or {}).get(metric)
        ends = (
            (math.nan, math.nan, math.nan)
            if difference is None
            else (difference.estimate, difference.low, difference.high)
        )
        names = (f"difference_{metric}", f"difference_{metric}_low", f"difference_{metric}_high")
        found |= dict(zip(names, map(_number, ends), strict=True))
        found[f"difference_{metric}_pairs"] = 0 if difference is None else difference.n
    verdicts = sorted({finding.verdict for finding in findings})
    found["verdict"] = ", ".join(verdicts)
    found["claims"] = "; ".join(f"{finding.claim.id}: {finding.marked}" for finding in findings)
    return found


def _number(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def columns(found: Sequence[Row]) -> dict[str, Any]:
    """Names of columns, and the values of each row under them: far shorter than a mapping per row."""
    names = list(found[0]) if found else []
    return {"columns": names, "rows": [list(row.values()) for row in found]}


def as_csv(found: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV, with the names of their columns first; a missing value is empty."""
    written = StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in found:
        if writer is None:
            writer = csv.DictWriter(written, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow({name: "" if value is None else value for name, value in row.items()})
    return written.getvalue()
