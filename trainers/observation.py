"""Everything that is measured on a trained model: passes over all splits, and the temperature search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from trainers.classifier import Classifier
from trainers.data import Resident, Splits, Verify, shifted
from trainers.division import drawn_from
from trainers.evaluation import Evaluation
from trainers.inference import (
    Rule,
    TemperatureSearch,
    Witness,
    claiming,
    counting,
    evaluate,
    keeping,
    measuring,
    spreading,
)
from trainers.metrics import Observed
from trainers.metrics.chance import Spread, collapse, looked_at
from trainers.metrics.claimed import Claimed, joined
from trainers.metrics.collapse import Moments
from trainers.metrics.features import Geometry
from trainers.metrics.score_kinds import Temperatures
from trainers.metrics.uniform import sample_wise_accuracy
from trainers.metrics.verification import cosine
from trainers.recipe import Recipe
from trainers.seeds import stable_random


class Trained(NamedTuple):
    """A model's performance on its training images, without augmentation, with the labels used in training."""

    moments: Moments
    accuracy: float
    """Sample-wise accuracy."""
    collapse: str | None
    """Why the model is no better than chance on them; None if it is better."""


def look_back(model: Classifier, recipe: Recipe, train: Resident) -> Trained:
    """One pass over all training images."""
    spread = Spread()
    moments = Moments(model.classes, model.width)
    rule = _before_temperature(_rule(model, recipe, train))
    found = evaluate(model, train, rule=rule, witnesses=[spreading(spread), counting(moments)])
    rows = looked_at(found.label, stable_random("chance", drawn_from(recipe.dataset), recipe.seed))
    why = collapse(found.label[rows], found.prediction[rows], constant_features=spread.is_constant)
    return Trained(moments, sample_wise_accuracy(found.positive, found.rival), why)


def observe(model: Classifier, recipe: Recipe, splits: Splits, trained: Trained) -> tuple[Observed, Evaluation | None]:
    """Everything the measures need, and the scores of the test images that are kept apart from them, if there are any.

    One pass per split, and two over validation, to find T and to use it. A tuning trial is scored on its validation
    split, so it has no other split to find a threshold or T on.
    """
    geometry = Geometry(splits.classes, model.width)
    told = list[Claimed]()
    bias = _bias_of_rows(model, recipe)
    rule = _rule(model, recipe, splits.test)
    witnesses = [measuring(geometry), claiming(told, bias)]
    is_trial = recipe.scored_on == "validation"
    found = Temperatures() if is_trial else _temperatures(model, rule, splits.validation)
    rule = replace(rule, temperature=found.best())
    is_tuned = rule.by != "calibrated" and found.samples > 0
    look = partial(evaluate, model, rule=rule, temperature=found.best() if is_tuned else 1.0)
    if is_trial and rule.by == "calibrated":
        test = _by_halves(model, rule, splits.test, witnesses)
    else:
        test = look(splits.test, ranks=True, witnesses=witnesses)
    observed = Observed(
        test=test,
        learned_bias=model.learned_bias(),
        bias=bias,
        sigmoid=recipe.loss.is_sigmoid and bool(bias),
        decide_by=rule.by,
        validation=look(splits.validation, ranks=True) if found.samples else None,
        temperature=found.best(),
        is_at_edge=found.is_at_edge,
        claimed=joined(told),
        geometry=geometry,
        trained=trained.moments,
        training_accuracy=trained.accuracy,
        weight=model.class_weights().detach().double().cpu().numpy(),
        unknown=look(_unlabelled(splits.unknown), ranks=True) if len(splits.unknown) else None,
        similarity=None if splits.verify is None else _similarity(model, splits.verify),
        genuine=None if splits.verify is None else splits.verify.genuine,
        identities=None if splits.verify is None else splits.verify.identities,
        fold=None if splits.verify is None else splits.verify.fold,
        shifted={name: look(copy) for name, copy in shifted(splits.test, recipe)},
    )
    return observed, look(splits.certification, ranks=True) if len(splits.certification) else None


def _rule(model: Classifier, recipe: Recipe, split: Resident) -> Rule:
    known = torch.tensor(known_bias(model, recipe) or [0.0], dtype=torch.float64, device=split.labels.device)
    return Rule(recipe.loss.decide_by, math.nan, known)


def _before_temperature(rule: Rule) -> Rule:
    """The rule for the temperature search: raw scores instead of probabilities; predictions are the same."""
    return replace(rule, by="raw") if rule.by in {"probability", "calibrated"} else rule


def known_bias(model: Classifier, recipe: Recipe) -> list[float]:
    """The bias that scores are compared with, learnt or fixed: none, one, or one per class."""
    learned = model.learned_bias()
    return [recipe.loss.initial_bias(model.classes)] if recipe.loss.one_vs_rest and not learned else learned


def _bias_of_rows(model: Classifier, recipe: Recipe) -> list[float]:
    """The bias on the scale of the evaluated scores: 0 if already subtracted, none for probabilities."""
    known = known_bias(model, recipe)
    if recipe.loss.decide_by == "raw" or not known:
        return known
    return [0.0] if recipe.loss.decide_by == "sigmoid" else []


def _temperatures(model: Classifier, rule: Rule, split: Resident) -> Temperatures:
    search = TemperatureSearch()
    if len(split):
        evaluate(model, split, rule=_before_temperature(rule), witnesses=[search])
    return search.temperatures


def _by_halves(model: Classifier, rule: Rule, split: Resident, witnesses: Sequence[Witness]) -> Evaluation:
    """Evaluate each half of the samples, stratified by class, at the temperature found on the other half."""
    order = np.argsort(split.labels.cpu().numpy(), kind="stable")
    halves = [np.sort(order[start::2]) for start in (0, 1)]
    found: list[Evaluation] = []
    for half, other in (halves, halves[::-1]):
        temperature = _temperatures(model, rule, split.take(other)).best()
        at = replace(rule, temperature=1.0 if math.isnan(temperature) else temperature)
        if len(half):
            found.append(evaluate(model, split.take(half), rule=at, ranks=True, witnesses=witnesses))
    place = np.argsort(np.concatenate(halves))
    columns = {field.name: [getattr(rows, field.name) for rows in found] for field in fields(Evaluation)}
    whole: dict[str, Any] = {
        name: np.concatenate(parts)[place] for name, parts in columns.items() if parts[0] is not None
    }
    return Evaluation(**whole)


def _similarity(model: Classifier, verify: Verify) -> NDArray[np.float64]:
    kept: list[NDArray[np.float32]] = []
    evaluate(model, _unlabelled(verify.images), witnesses=[keeping(kept)])
    return cosine(np.concatenate(kept), verify.pairs)


def _unlabelled(unknown: Resident) -> Resident:
    """Label held-out classes 0: the model has no score for them, and only their highest scores are meaningful."""
    return replace(unknown, labels=torch.zeros_like(unknown.labels))
