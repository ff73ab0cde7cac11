"""The results of two losses in one setting as pairs of seeds: the numbers from which `statistics.pairs` judges."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from orchestrator.experiment.claims import Claim
from orchestrator.experiment.own_measures import BALANCED, trait
from orchestrator.outcome import has_figures
from orchestrator.statistics.pairs import Pairs, Scale

Row = Mapping[str, Any]

Pair = tuple[float | None, float | None]
"""The challenger's value and the baseline's; None for a lost one."""


def evidence(claim: Claim, challenger: Collection[Row], baseline: Collection[Row], planned: Iterable[int]) -> Pairs:
    """The pairs of seeds on which a claim rests.

    The value of a cell that diverged, or that lacks a measure which other cells of the loss have, counts as lost. A
    seed without either cell makes no pair.

    Args:
        claim: The claim.
        challenger: The challenger's results in one setting.
        baseline: The baseline's results there; empty if the claim is about the challenger alone.
        planned: The seeds that must be there before there is a verdict.
    """
    found = paired(claim, challenger, baseline)
    scale = _scale(challenger, claim.metric)
    return Pairs(
        challenger=[mine for mine, _ in found.values()],
        baseline=[theirs for _, theirs in found.values()],
        mine=scale,
        theirs=scale if claim.baseline is None else _scale(baseline, claim.baseline_metric or claim.metric),
        missing=len(set(planned) - found.keys()),
    )


def paired(claim: Claim, challenger: Collection[Row], baseline: Collection[Row]) -> dict[int, Pair]:
    """The values of both losses by seed, in the order of seeds; for arguments see `evidence`."""
    mine = _values(challenger, claim.metric)
    theirs: Mapping[int, float | None] = dict.fromkeys(mine, 0.0)
    if claim.baseline is not None:
        theirs = _values(baseline, claim.baseline_metric or claim.metric)
    return {seed: (mine[seed], theirs[seed]) for seed in sorted(mine.keys() & theirs.keys())}


def step(metric: str, *rows: Iterable[Row]) -> float:
    """The largest step between neighbouring values of a measure in these results; 0 if it is continuous."""
    own = trait(metric)
    return max((own.step(row.get("samples"), row.get(BALANCED)) for each in rows for row in each), default=0.0)


def _scale(rows: Iterable[Row], metric: str) -> Scale:
    own = trait(metric)
    return Scale(own.worst, own.best, step(metric, rows))


def _values(rows: Collection[Row], metric: str) -> dict[int, float | None]:
    """The measure by seed, None if it is lost; empty if no cell of the loss has the measure, so that none was lost."""
    found: dict[int, float | None] = {
        row["seed"]: row.get(metric) if has_figures(row["state"]) else None for row in rows
    }
    figures = [found[row["seed"]] for row in rows if has_figures(row["state"])]
    return {} if figures and all(value is None for value in figures) else found
