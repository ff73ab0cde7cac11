"""The comparison: every loss against the baseline, per setting, paired by seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.experiment import Claim, Experiment
from orchestrator.report.published import Published, beside
from orchestrator.statistics.intervals import Interval, mean_interval, paired_interval
from orchestrator.statistics.verdicts import Verdict, verdict

Row = Mapping[str, Any]
Key = tuple[str, str, str]

COMPARED = ("sample_wise_accuracy", "uniform_accuracy", "accuracy_at_validation_threshold")
"""What every comparison shows; claims may be about any measure."""


@dataclass(frozen=True)
class Line:
    """One loss in one setting (dataset x backbone)."""

    dataset: str
    backbone: str
    loss: str
    planned: int
    finished: int
    diverged: int
    means: Mapping[str, Interval]
    differences: Mapping[str, Interval] | None
    """Paired differences to the baseline; None for the baseline itself."""


@dataclass(frozen=True)
class Finding:
    """What the results of one setting say of one claim."""

    claim: Claim
    dataset: str
    backbone: str
    difference: Interval
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Everything a reader needs to judge; `missing` counts planned cells without a result."""

    experiment: str
    question: str
    baseline: str
    missing: int
    diverged: int
    lines: tuple[Line, ...]
    findings: tuple[Finding, ...]
    published: tuple[Published, ...] = ()
    """Figures from papers for the same datasets, backbones and losses, by recipes of their own."""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and names; NaN where an interval does not exist becomes None."""
        return _plain(
            {
                **{name: getattr(self, name) for name in ("experiment", "question", "baseline", "missing", "diverged")},
                "lines": [asdict(line) for line in self.lines],
                "published": [asdict(figure) for figure in self.published],
                "claims": [
                    {
                        **finding.claim.model_dump(mode="json", exclude={"where"}),
                        "dataset": finding.dataset,
                        "backbone": finding.backbone,
                        "difference": finding.difference,
                        "verdict": finding.verdict,
                    }
                    for finding in self.findings
                ],
            }
        )


def compare(experiment: Experiment, rows: Sequence[Row]) -> Comparison:
    """Compare all losses of an experiment from its results table.

    Args:
        experiment: What was asked.
        rows: The results table, one mapping a cell.
    """
    by_key: defaultdict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        by_key[row["dataset"], row["backbone"], row["loss"]].append(row)
    lines = tuple(_lines(experiment, by_key))
    findings = tuple(finding for claim in experiment.claims for finding in _findings(claim, experiment, by_key))
    return Comparison(
        experiment=experiment.name,
        question=experiment.question,
        baseline=experiment.baseline,
        missing=sum(line.planned - line.finished - line.diverged for line in lines),
        diverged=sum(line.diverged for line in lines),
        lines=lines,
        findings=findings,
        published=tuple(beside(experiment)),
    )


def _settings(experiment: Experiment) -> Iterator[tuple[str, str]]:
    for dataset in experiment.datasets:
        for backbone in experiment.backbones:
            yield dataset.label, backbone.label


def _lines(experiment: Experiment, by_key: Mapping[Key, Sequence[Row]]) -> Iterator[Line]:
    for dataset, backbone in _settings(experiment):
        for loss in experiment.losses:
            rows = by_key.get((dataset, backbone, loss.label), [])
            baseline = by_key.get((dataset, backbone, experiment.baseline), [])
            finished = sum(row["state"] == "finished" for row in rows)
            differences = {name: paired_interval(by_seed(rows, name), by_seed(baseline, name)) for name in COMPARED}
            yield Line(
                dataset=dataset,
                backbone=backbone,
                loss=loss.label,
                planned=len(experiment.seeds),
                finished=finished,
                diverged=len(rows) - finished,
                means={name: mean_interval(list(by_seed(rows, name).values())) for name in COMPARED},
                differences=None if loss.label == experiment.baseline else differences,
            )


def _findings(claim: Claim, experiment: Experiment, by_key: Mapping[Key, Sequence[Row]]) -> Iterator[Finding]:
    for dataset, backbone in _settings(experiment):
        if not claim.where.matches(claim.challenger, backbone, dataset):
            continue
        challenger = by_key.get((dataset, backbone, claim.challenger), [])
        baseline = by_key.get((dataset, backbone, claim.baseline), [])
        difference = paired_interval(
            by_seed(challenger, claim.metric), by_seed(baseline, claim.baseline_metric or claim.metric)
        )
        yield Finding(claim, dataset, backbone, difference, verdict(difference, claim.direction, claim.margin))


def by_seed(rows: Sequence[Row], metric: str) -> dict[int, float]:
    """A measure of the finished cells by seed; cells where it does not exist are left out."""
    return {row["seed"]: row[metric] for row in rows if row["state"] == "finished" and row[metric] is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124 - the test for NaN
