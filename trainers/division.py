"""Which images are for training, validation and test, and whether they suffice. Needs labels only, no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainers import selection
from trainers.datasets import Dataset, Labels, grouped
from trainers.recipe import Recipe
from trainers.seeds import permutation, stable_random

TRAINING_ONLY = ("train_fraction", "imbalance", "shift", "unknowns")
"""Modifiers of a data set that leave its test rows as they are."""


class Rows(NamedTuple):
    """Positions in the dataset's splits (m,)."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    unknown: NDArray[np.int64]
    certification: NDArray[np.int64]
    """Test images that are kept apart."""


def rows(labels: Labels, recipe: Recipe) -> Rows:
    """Assign the images: apply the dataset's modifiers, then split off validation, stratified by class.

    Raises:
        ValueError: A modifier cannot be applied to these labels.
    """
    dataset = recipe.dataset
    about = (drawn_from(recipe.dataset), recipe.seed)
    train = selection.without_classes(labels.train, dataset.hold_out)
    if dataset.train_fraction < 1:
        draw = stable_random("train fraction", *about)
        train = train[selection.fraction(labels.train[train], dataset.train_fraction, draw)]
    if dataset.imbalance > 1:
        draw = stable_random("long tail", *about)
        train = train[selection.long_tail(labels.train[train], dataset.imbalance, draw)]
    # In random order, because `held_out` takes the first images of each class.
    train = train[permutation(len(train), "validation split", *about)]
    count = round(len(train) * recipe.training.validation_fraction)
    if labels.groups is None:
        chosen = selection.held_out(labels.train[train], count)
    else:
        chosen = selection.whole_groups(labels.groups[train], labels.train[train], count)
    validation = train[chosen]
    train = np.delete(train, chosen)
    if recipe.scored_on == "validation":
        return Rows(train, validation, *(train[:0],) * 3)  # a tuning trial never sees the test split
    test, apart = tested(labels, recipe)
    unknown = np.setdiff1d(np.arange(len(labels.test)), [*test, *apart])
    return Rows(train, validation, test, unknown, apart)


def tested(labels: Labels, recipe: Recipe) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The test images of known classes: those that all figures are of, and those that are kept apart."""
    known = selection.without_classes(labels.test, recipe.dataset.hold_out)
    apart = _kept_apart(labels, recipe, known)
    return np.setdiff1d(known, apart), apart


def _kept_apart(labels: Labels, recipe: Recipe, known: NDArray[np.int64]) -> NDArray[np.int64]:
    """The test images that are kept apart, of those of known classes: about a share of each class, in whole groups.

    They depend on nothing that leaves the test images as they are: cells of other seeds keep the same.
    """
    if not recipe.certify:
        return known[:0]
    dataset = recipe.dataset.model_dump(mode="json", exclude=set(TRAINING_ONLY))
    draw = stable_random("certification split", dataset)
    own = labels.test[known]
    if labels.test_groups is None:
        return known[selection.set_aside(own, recipe.certify, draw)]
    order = draw.permutation(len(known))
    chosen = grouped.part(own[order].tolist(), labels.test_groups[known][order].tolist(), recipe.certify)
    return np.sort(known[order[chosen]])


def faults(labels: Labels, recipe: Recipe) -> Iterator[str]:
    """Reasons why the recipe cannot be trained on images with these labels; empty if it can."""
    dataset = recipe.dataset
    training = recipe.training
    if dataset.vectors and (needless := _for_images(recipe)):
        yield f"'{dataset.key}' has vectors, not images: leave out {', '.join(needless)}"
        return
    if dataset.vectors and recipe.backbone.weights:
        yield f"'{dataset.key}' has vectors, not images, which the weights of {recipe.backbone.key} expect"
        return
    try:
        selection.relabel(labels.train, dataset.hold_out, labels.classes)
    except ValueError as error:
        yield str(error)
        return
    known = np.setdiff1d(labels.train, dataset.hold_out)
    if len(known) < 2:  # noqa: PLR2004
        left = " after hold_out" if dataset.hold_out else ""
        yield f"'{dataset.key}' has only {len(known)} known class{'' if len(known) == 1 else 'es'}{left}; 2 are needed"
        return
    try:
        chosen = rows(labels, recipe)
    except ValueError as error:
        yield str(error)
        return
    if len(chosen.train) < training.batch_size:
        yield (
            f"batch_size {training.batch_size} is larger than the {len(chosen.train)} training images of "
            f"'{dataset.key}'; choose a smaller batch_size"
        )
    if recipe.scored_on == "test" and not len(chosen.test):
        yield f"'{dataset.key}' has no test image of a known class"
    if recipe.certify and recipe.scored_on == "test" and not len(chosen.certification):
        yield f"'{dataset.key}' has too few test images to keep some apart ('certify: {recipe.certify:g}')"
    need = "a trial is scored on it" if recipe.scored_on == "validation" else None
    if need := "a calibrated loss needs it" if recipe.loss.decide_by == "calibrated" else need:
        yield from no_validation(labels, recipe, need)


def misfits(dataset: Dataset, known: Labels | None, unknown: Labels | None) -> Iterator[str]:
    """Reasons why samples of `unknowns` cannot count as unknown, as far as labels tell; empty if they can.

    Args:
        dataset: A data set that has `unknowns`.
        known: Its labels; None where they are not known.
        unknown: Those of its `unknowns`.
    """
    if (others := dataset.unknowns) is None:
        return
    own, theirs = _shape(dataset, known), _shape(others, unknown)
    if not (dataset.any_size or own is None or theirs is None or own == theirs):
        remedy = "choose vectors of one length" if dataset.vectors else "give both the same 'size' and 'channels'"
        found, wanted = ("x".join(map(str, shape)) for shape in (theirs, own))
        yield f"the samples of 'unknowns: {others.key}' have {found} numbers, and its own {wanted}: {remedy}"
    names = {name.casefold() for name in (known.names if known else ())}
    if shared := [name for name in (unknown.names if unknown else ()) if name.casefold() in names]:
        yield (
            f"'unknowns: {others.key}' has classes that are known by the same name: {', '.join(shared)}; take them "
            "out, or rename those that are something else"
        )


def _shape(dataset: Dataset, labels: Labels | None) -> tuple[int, int, int] | None:
    """Channels, height and width of the samples; None if nothing told them."""
    if labels is not None and labels.shape is not None:
        return labels.shape
    extent = dataset.extent(labels)
    return extent and extent.shape


def _for_images(recipe: Recipe) -> list[str]:
    """What the recipe asks for that can be done to images only."""
    training = recipe.training
    mixing = [kind for kind in training.mixing if kind == "cutmix"]
    return [*training.augmentation, *mixing, *(["shift"] if recipe.dataset.shift else [])]


def no_validation(labels: Labels | None, recipe: Recipe, need: str) -> Iterator[str]:
    """Says that validation is empty although the recipe needs it; without labels, judged from what is known so far."""
    share = recipe.training.validation_fraction
    if not share:
        yield f"the validation split is empty ('validation_fraction' is 0), and {need}: set it above 0"
    elif labels is not None and not len((chosen := rows(labels, recipe)).validation):
        count = len(chosen.train)
        yield f"the validation split is empty ('validation_fraction' {share:g} of {count} images), and {need}: raise it"


def drawn_from(dataset: Dataset) -> dict[str, object]:
    """The part of a dataset that its draws depend on: all but shifts and unknowns, which do not affect training."""
    return dataset.model_dump(mode="json", exclude={"shift", "unknowns"})
