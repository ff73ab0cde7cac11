"""What `decide` says of a launch: kept as its JSON in `tables/`, and written as the paragraphs of a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.decision.decide import Decision, Deployable
from orchestrator.decision.guideline import Broken, Guideline, OtherSeeds, Tail
from orchestrator.decision.per_class import OneOrEach, OwnThreshold
from orchestrator.decision.promise import Promise, Promised
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import plan
from orchestrator.report.wording.decision import costs, grounds, guideline, headline, rates, threshold_advice
from orchestrator.sentences import filled
from orchestrator.statistics.intervals import Interval


def paragraphs(told: Mapping[str, Any], asked: Experiment) -> Iterator[str]:
    """A decision, as Markdown.

    Args:
        told: The decision as `decide --json` prints it.
        asked: The experiment.
    """
    found = _decision(told, asked)
    yield "## Decision"
    yield f"**{filled(headline(found))}** {' '.join(map(filled, costs(found)))}"
    yield "\n".join(f"- {filled(seen)} {filled(promised)}" for seen, promised in rates(found))
    yield " ".join(map(filled, [*threshold_advice(found), *guideline(found), *grounds(found)]))


def _decision(told: Mapping[str, Any], asked: Experiment) -> Decision:
    assert asked.operation is not None  # noqa: S101 - for the type checker; otherwise there is no decision
    gain = told["calibration_gain"]
    return Decision(
        asked.operation,
        told["dataset"],
        _deployable(told["deployed"], told["dataset"], asked),
        _deployable(told["baseline"], told["dataset"], asked) if told["baseline"] else None,
        told["candidates"],
        told["looked"],
        tuple(told["classes"]),
        _one_or_each(told["one_or_each"], told["classes"]) if told["one_or_each"] else None,
        Interval(**gain) if gain else None,
        _guideline(told["guideline"]),
        told["grouped"],
        tuple(told["left_out"]),
    )


def _guideline(told: Mapping[str, Any]) -> Guideline:
    shift, tail, seeds = (told[name] for name in ("shift", "tail", "seeds"))
    rare = Tail(tuple(tail["classes"]), tuple(tail["rare"]), tuple(tail["rest"]), tail["n"]) if tail else None
    return Guideline(Broken(**shift) if shift else None, rare, OtherSeeds(**seeds) if seeds else None)


def _deployable(told: Mapping[str, Any], dataset: str, asked: Experiment) -> Deployable:
    labels = told["loss"], told["backbone"], dataset, told["seed"]
    cells = (cell for cell in plan(asked).cells if (cell.loss, cell.backbone, cell.dataset, cell.seed) == labels)
    seen = tuple(Promised(**rate) for rate in told["rates"])
    promise = Promise(told["threshold"], told["expected_cost"], told["expected_cost_bound"], seen, told["units"])
    return Deployable(replace(next(cells), id=told["cell_id"]), told["validation_cost"], promise)


def _one_or_each(told: Mapping[str, Any], classes: list[str]) -> OneOrEach:
    own = [{name: value for name, value in each.items() if name != "class"} for each in told["differing"]]
    return OneOrEach(
        told["threshold"],
        told["one"],
        told["each"],
        Interval(**told["gain"]),
        told["oracle"],
        tuple(OwnThreshold(**each) for each in own),
        tuple(classes.index(name) for name in told["sparse"]),
    )
