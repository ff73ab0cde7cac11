"""How far paired differences scatter over seeds, as measured: for `plan`, where an experiment has no cells yet."""

from __future__ import annotations

import csv
import statistics
from functools import cache
from pathlib import Path
from typing import NamedTuple

from orchestrator.experiment.model import Experiment
from orchestrator.experiment.questions import Question

FILE = Path(__file__).with_name("spreads.csv")


class BorrowedSpread(NamedTuple):
    """A standard deviation over seeds, in the unit of its measure, and where it is from."""

    deviation: float
    basis: str


class SpreadRow(NamedTuple):
    """One row of the file, under the catalogue's names; without a baseline it is the spread of the measure itself."""

    dataset: str
    backbone: str
    challenger: str
    baseline: str
    metric: str
    baseline_metric: str
    deviation: float
    pairs: int
    source: str


@cache
def measured() -> tuple[SpreadRow, ...]:
    """All rows of the file, in its order."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return tuple(
            SpreadRow(**{**row, "deviation": float(row["deviation"]), "pairs": int(row["pairs"])})  # type: ignore[arg-type]
            for row in csv.DictReader(file)
        )


def like(question: Question, experiment: Experiment) -> BorrowedSpread | None:
    """The spread of what a question is about: measured in such a setting, else the median of others; None without any.

    Args:
        question: A claim in one setting.
        experiment: What its labels mean.
    """
    claim = question.claim
    loss, dataset, backbone = (
        {choice.label: choice.plugin.key for choice in axis}
        for axis in (experiment.losses, experiment.datasets, experiment.backbones)
    )
    kind = [
        row
        for row in measured()
        if (row.metric, row.baseline_metric) == (claim.metric, claim.baseline_metric or "")
        and bool(row.baseline) == (claim.baseline is not None)
        and (row.challenger == row.baseline) == (claim.challenger == claim.baseline)
    ]
    losses = {loss[claim.challenger], loss.get(claim.baseline or "", "")}
    same = [row for row in kind if {row.challenger, row.baseline} == losses] or kind
    setting = (dataset[question.dataset], backbone[question.backbone])
    here = [row for row in same if (row.dataset, row.backbone) == setting]
    if chosen := here or same:
        deviation = statistics.median(row.deviation for row in chosen)
        settings = len({(row.dataset, row.backbone) for row in chosen})
        where = "such a setting" if here else f"{settings} other setting{'s' if settings > 1 else ''}, assumed"
        return BorrowedSpread(deviation, f"measured in {where}")
    return None
