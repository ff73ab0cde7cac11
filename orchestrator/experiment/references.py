"""What claims and overrides refer to: labels, measures and settings that have to exist in the same file."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pydantic import ValidationInfo

from orchestrator.experiment import yaml_lines
from orchestrator.experiment.choices import AXES, identity
from orchestrator.experiment.claims import Axis, Claim, Where, unknown
from orchestrator.experiment.own_measures import is_own
from orchestrator.experiment.yaml_lines import Problem
from orchestrator.sentences import worded
from orchestrator.statistics.scopes import FEWEST_DATASETS


def stranger(axis: Axis, label: str | None, info: ValidationInfo) -> str | None:
    """The error message if a label is not on its axis; None if the axis itself is invalid."""
    choices = info.data.get(AXES[axis])
    if label is None or choices is None:
        return None
    return unknown(label, [choice.label for choice in choices], worded(f"{axis} in this experiment is"))


def strangers(where: Where, info: ValidationInfo) -> list[Problem]:
    """The labels in `where` that are not on their axis."""
    complaints = {axis: stranger(axis, getattr(where, axis), info) for axis in AXES}
    return [((axis,), complaint) for axis, complaint in complaints.items() if complaint]


def deciding(claim: Claim, info: ValidationInfo, measures: Collection[str]) -> Claim:
    """Return the claim if its measures, losses and settings exist."""
    strange = [unknown(metric, measures, "measure") for metric in claim.metrics if not is_own(metric)]
    found: list[Problem] = [(("metric",), complaint) for complaint in strange if complaint]
    found += [(("where", *rest), text) for rest, text in strangers(claim.where, info)]
    for field in ("challenger", "baseline"):
        complaint = stranger("loss", getattr(claim, field), info)
        found += [((field,), complaint)] if complaint else []
    if claim.challenger == claim.baseline and claim.baseline_metric in (None, claim.metric):
        found.append((("challenger",), worded("Claim '{id}' compares a loss with itself.").format(id=claim.id)))
    found += [*_strange_effects(claim, info), *_out_of_scope(claim, info)]
    if found:
        raise yaml_lines.nested(found)
    return claim


def _strange_effects(claim: Claim, info: ValidationInfo) -> Iterator[Problem]:
    """The labels in 'than' and 'trend' that do not exist."""
    if than := claim.than:
        axes: dict[str, Axis] = {"challenger": "loss", "baseline": "loss", "backbone": "backbone", "dataset": "dataset"}
        for field, axis in axes.items():
            if complaint := stranger(axis, getattr(than, field), info):
                yield ("than", field), complaint
        if than.baseline is not None and claim.baseline is None:
            yield ("than", "baseline"), "The claim itself has no baseline."
    if trend := claim.trend:
        for label in trend.positions:
            if complaint := stranger(trend.axis, label, info):
                yield ("trend", trend.axis, label), complaint


def _out_of_scope(claim: Claim, info: ValidationInfo) -> Iterator[Problem]:
    """Why a claim about a population of data sets cannot be judged."""
    if not claim.population or info.data.get("datasets") is None:
        return
    matching = [choice for choice in info.data["datasets"] if claim.where.dataset in (None, choice.label)]
    if (count := len({identity(choice) for choice in matching})) < FEWEST_DATASETS:
        yield (
            ("population",),
            (
                f"A claim about a population needs at least {FEWEST_DATASETS} data sets; this claim has {count}. "
                "Entries with the same images count once; backbones do not count. Leave out 'population' to make a "
                "claim about exactly these settings."
            ),
        )
