"""How far paired differences scatter over seeds, by the committed tables: `analysis/spreads.csv`.

Of every shipped claim whose losses are as the catalogue has them, and by every measure that a shipped claim is about,
of BCE with a unified bias against SoftMax; in every setting that a table has.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterator
from io import StringIO

from kept import ROOT, Kept

from orchestrator.adaptive.seeds import by_seed
from orchestrator.experiment.claims import Claim
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.reading import load

HEADS = ("dataset", "backbone", "challenger", "baseline", "metric", "baseline_metric", "deviation", "pairs", "source")

Pair = tuple[str, str, str, str]
"""Challenger and baseline, measure and the baseline's measure; the second and fourth are empty where there is none."""


def text(tables: list[Kept]) -> str:
    """The whole file."""
    lines = StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(HEADS)
    asked = _asked()
    for kept in tables:
        writer.writerows(_rows(kept, asked))
    return lines.getvalue()


def _asked() -> dict[Pair, None]:
    """What shipped claims compare."""
    found: dict[Pair, None] = {}
    for file in sorted((ROOT / "experiments").glob("*.yaml")):
        experiment = load(file)
        for claim in experiment.claims:
            if _is_plain(experiment, claim):
                found[_named(experiment, claim)] = None
            for metric in claim.metrics:
                found["bce_unified", "softmax" if claim.baseline else "", metric, ""] = None
    return found


def _is_plain(experiment: Experiment, claim: Claim) -> bool:
    plain = {choice.label for choice in experiment.losses if choice.label == choice.plugin.key}
    return {claim.challenger, claim.baseline or claim.challenger} <= plain


def _named(experiment: Experiment, claim: Claim) -> Pair:
    key = {choice.label: choice.plugin.key for choice in experiment.losses}
    return key[claim.challenger], key.get(claim.baseline or "", ""), claim.metric, claim.baseline_metric or ""


def _rows(kept: Kept, asked: dict[Pair, None]) -> Iterator[tuple[object, ...]]:
    for dataset in kept.file.datasets:
        source = kept.name if dataset.label == dataset.plugin.key else f"{kept.name} ({dataset.label})"
        for backbone in kept.file.backbones:
            here = [
                row for row in kept.of("cell") if (row["dataset"], row["backbone"]) == (dataset.label, backbone.label)
            ]
            for challenger, baseline, metric, other in asked:
                mine = by_seed((row for row in here if row["loss"] == challenger), metric)
                theirs = by_seed((row for row in here if row["loss"] == baseline), other or metric)
                seeds = sorted(mine.keys() & theirs.keys() if baseline else mine.keys())
                values = [mine[seed] - theirs.get(seed, 0.0) for seed in seeds]
                if len(values) > 1 and (deviation := statistics.stdev(values)) > 0:
                    names = dataset.plugin.key, backbone.plugin.key, challenger, baseline, metric, other
                    yield *names, f"{deviation:.3g}", len(values), source
