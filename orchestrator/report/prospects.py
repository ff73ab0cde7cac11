"""What a grid can and cannot conclude, said before any money is spent."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.experiment import Claim, Experiment
from orchestrator.report.comparison import ALPHA, by_seed
from orchestrator.statistics import power

ASSUMED = 0.01
"""Standard deviation of a paired difference of accuracies, where no cells tell: a point is usual on small test sets."""

Row = Mapping[str, Any]


def sentences(experiment: Experiment, rows: Sequence[Row]) -> Iterator[str]:
    """One sentence a claim, and one about tests that cannot succeed.

    Args:
        experiment: What is asked.
        rows: The results there are already, of these or fewer seeds.
    """
    n = len(experiment.seeds)
    settings = len(experiment.datasets) * len(experiment.backbones)
    questions = sum(_settings(claim, experiment) for claim in experiment.claims)
    for claim in experiment.claims:
        deviation, pairs = _deviation(claim, rows)
        smallest = power.minimum_detectable_difference(deviation, n, ALPHA / questions)
        if math.isnan(smallest):
            yield f"{claim.id}: one seed shows no difference at all, whatever its size"
            continue
        basis = f"from {pairs} earlier pairs" if pairs else f"assuming a spread of {ASSUMED:g} between seeds"
        beyond = f" beyond its margin of {claim.tolerance:g}" if claim.tolerance else ""
        yield f"{claim.id}: {n} seeds find a difference of {smallest:.4f}{beyond} 4 times in 5 ({basis})"
    if n > 1 and power.is_impossible(n, max(1, questions), ALPHA, "sign_flip"):
        p = power.smallest_p(n, "sign_flip")
        yield (
            f"an exact sign-flip test on {n} pairs cannot go under p = {p:.3g}, and Holm over {max(1, questions)} "
            f"questions asks for {ALPHA / max(1, questions):.3g}: only tests that assume a distribution can decide"
        )
    if settings > 1 and power.is_impossible(settings, len(experiment.losses) - 1, ALPHA, "wilcoxon"):
        p = power.smallest_p(settings, "wilcoxon")
        yield (
            f"across {settings} settings a signed-rank test cannot go under p = {p:.3g}: "
            f"no loss can be shown better over all of them by ranks, whatever the data"
        )


def _settings(claim: Claim, experiment: Experiment) -> int:
    return sum(
        claim.where.matches(claim.challenger, backbone.label, dataset.label)
        for dataset in experiment.datasets
        for backbone in experiment.backbones
    )


def _deviation(claim: Claim, rows: Sequence[Row]) -> tuple[float, int]:
    """The spread of a claim's paired differences over seeds, pooled over settings, and from how many pairs."""
    by_key: defaultdict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_key[row["dataset"], row["backbone"], row["loss"]].append(row)
    squares, freedom, pairs = 0.0, 0, 0
    for dataset, backbone in {key[:2] for key in by_key}:
        challenger = by_seed(by_key.get((dataset, backbone, claim.challenger), []), claim.metric)
        others = by_key.get((dataset, backbone, claim.baseline or ""), [])
        baseline = by_seed(others, claim.baseline_metric or claim.metric)
        shared = challenger.keys() if claim.within is not None else challenger.keys() & baseline.keys()
        if len(shared) > 1:
            found = np.array([challenger[seed] - baseline.get(seed, 0.0) for seed in shared])
            squares += float(((found - found.mean()) ** 2).sum())
            freedom += len(shared) - 1
            pairs += len(shared)
    return (math.sqrt(squares / freedom), pairs) if freedom and squares else (ASSUMED, 0)
