"""A claim in words, when it was stated, and where a finding on it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.findings import Finding
from orchestrator.experiment.claims import Claim, Than
from orchestrator.experiment.stated import Dated, When
from orchestrator.experiment.units import amount
from orchestrator.report.wording.names import LossName, MeasureName, SameMeasure
from orchestrator.sentences import Sentence, setting_name

SCOPES: Mapping[tuple[str, bool], str] = {
    ("mean", False): "{claim}, on the mean of these settings",
    ("mean", True): "{claim}, on the mean of all data sets like these",
    ("all", False): "{claim}, in all settings",
    ("some", False): "{claim}, in at least one setting",
}
"""By over what a claim speaks, and whether its data sets are a sample of others."""

ABOVE_OR_BELOW = {
    ("higher", False): "{metric} of {challenger} is above {other} of {baseline}",
    ("higher", True): "{metric} of {challenger} is above {other} of {baseline} by more than {margin}",
    ("lower", False): "{metric} of {challenger} is below {other} of {baseline}",
    ("lower", True): "{metric} of {challenger} is below {other} of {baseline} by more than {margin}",
    ("equal", False): "{metric} of {challenger} equals {other} of {baseline} to within {margin}",
    ("equal", True): "{metric} of {challenger} equals {other} of {baseline} to within {margin}",
}
"""By direction, and whether a margin is stated."""

CHANGES = {
    "metric": "measure {name}",
    "baseline_metric": "baseline measure {name}",
    "challenger": "challenger {name}",
    "baseline": "baseline {name}",
    "backbone": "backbone {name}",
    "dataset": "data set {name}",
}
CONTRASTS = {
    "higher": "{effect}{here} is larger than with {changes} (margin {margin})",
    "lower": "{effect}{here} is smaller than with {changes} (margin {margin})",
    "equal": "{effect}{here} is as large as with {changes} (margin {margin})",
}
TRENDS = {
    "higher": "{effect} rises along {line} (margin {margin} for each step of 1)",
    "lower": "{effect} falls along {line} (margin {margin} for each step of 1)",
    "equal": "{effect} does not change along {line} (margin {margin} for each step of 1)",
}
STEEPER = {
    "higher": "{effect} rises more along {line} than with {changes} (margin {margin} for each step of 1)",
    "lower": "{effect} rises less along {line} than with {changes} (margin {margin} for each step of 1)",
    "equal": "{effect} changes as much along {line} as with {changes} (margin {margin} for each step of 1)",
}


def statement(claim: Claim) -> Sentence:
    """A claim."""
    said = _contrast(claim) if claim.than or claim.trend else _relation(claim)
    return said if claim.over == "each" else (SCOPES[claim.over, claim.population], {"claim": said})


def margin(claim: Claim) -> Sentence:
    """The size of a difference that does not matter."""
    return amount(claim.tolerance, claim.metrics)


def _names(claim: Claim) -> dict[str, Any]:
    """The measures and the losses of a claim."""
    metric = MeasureName(claim.metric)
    other = MeasureName(claim.baseline_metric) if claim.baseline_metric else SameMeasure(metric)
    return {
        "metric": metric,
        "challenger": LossName(claim.challenger),
        "other": other,
        "baseline": LossName(claim.baseline or ""),
    }


def _relation(claim: Claim) -> Sentence:
    values = _names(claim) | {"margin": margin(claim)}
    if claim.within is not None:
        return "{metric} of {challenger} is within {margin} of 0", values
    return ABOVE_OR_BELOW[claim.direction, bool(claim.margin)], values


def _contrast(claim: Claim) -> Sentence:
    """With which other effect the claim's is compared, or along what it changes."""
    effect = "{metric} of {challenger} minus {other} of {baseline}", _names(claim)
    values: dict[str, Any] = {"effect": effect, "changes": _changes(claim.than), "margin": margin(claim)}
    if claim.trend:
        line = ", ".join(f"{label}: {position:g}" for label, position in claim.trend.positions.items())
        return (STEEPER if claim.than else TRENDS)[claim.direction], values | {"line": line}
    own = [label for label in (claim.where.backbone, claim.where.dataset) if label]
    here = f" ({', '.join(own)})" if own else ""
    return CONTRASTS[claim.direction], values | {"here": here}


def _changes(than: Than | None) -> list[Sentence]:
    """In what the other effect of a claim is another."""
    changes = than.model_dump(exclude_none=True) if than else {}
    return [
        (CHANGES[part], {"name": MeasureName(name) if "metric" in part else name}) for part, name in changes.items()
    ]


STATED: Mapping[Dated, str] = {
    "before": "Stated before these cells ran ({carried} of {cells} cells record it).",
    "after": "Stated after results ({carried} of {cells} cells record it).",
    "unknown": "Not known when it was stated ({carried} of {cells} cells record it).",
}


def stated(when: When) -> Sentence:
    """When a claim was stated, with the cells that show it."""
    if not when.cells:
        return "Not known when it was stated.", {}
    return STATED[when.word], {"carried": when.carried, "cells": when.cells}


NOT_PROVED = "'Stated before' rests on what the cells' files record, and is no proof: a cell can be rerun after its result was seen. `plan --register` prints a hash to publish beforehand."  # noqa: E501 - one key of words.json


def unproved(comparison: Comparison) -> list[Sentence]:
    """What 'before' does not prove, where some claim was stated before."""
    is_before = any(comparison.when(each.claim).word == "before" for each in comparison.findings)
    return [(NOT_PROVED, {})] if is_before else []


def scope(finding: Finding) -> Sentence:
    """Where a finding holds."""
    claim = finding.claim
    if claim.over == "each":
        if finding.dataset and finding.backbone:
            return setting_name(finding.dataset, finding.backbone)
        return "{name}", {"name": finding.dataset or finding.backbone}
    if finding.parts == 1 and finding.decisive:
        return "{name}", {"name": finding.decisive}
    if claim.population:
        return "mean over {count} data sets, as a sample", {"count": finding.difference.n}
    if claim.over == "mean":
        return "mean over {count} settings as given", {"count": finding.parts}
    text = {
        "all": "all {count} settings; shown: the least favourable, {name}",
        "some": "some of {count} settings; shown: the most favourable, {name}",
    }[claim.over]
    return text, {"count": finding.parts, "name": finding.decisive}
