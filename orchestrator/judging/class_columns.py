"""Which column holds the scores of which class: called `score_CLASS`, named by the user, or named after the labels."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from orchestrator.judging.source import Source, numbers, texts

PER_CLASS = re.compile(r"(?:scores?|prob|proba|probability|logit)_(?P<name>.+)", re.IGNORECASE)

ROW_NUMBERS = re.compile(r"|unnamed: ?\d+|__index_level_\d+__", re.IGNORECASE)
"""The names that pandas gives to a column of row numbers."""

CLOSE = 0.01
"""How far a sum of probabilities may be from 1: files often have two or three digits."""


class ClassColumns(NamedTuple):
    """The column of each class."""

    by_class: Mapping[str, str] = {}
    is_partial: bool = False
    """Whether some labels have no column."""
    unclear: tuple[str, ...] = ()
    """Columns of numbers that may be classes without a sample, or something else."""
    unused: tuple[str, ...] = ()
    """Columns of numbers that were taken for no class, where names were guessed from labels."""


def class_name(column: str) -> str:
    """The class whose scores a column holds: `score_cat` and `cat` are both of class `cat`."""
    match = PER_CLASS.fullmatch(column)
    return match["name"] if match else column


def listed(given: Mapping[str, str]) -> list[str]:
    """The columns that `--map scores=A,B,C` lists; none where it names one column."""
    names = [name.strip() for name in given.get("scores", "").split(",")]
    return names if len(names) > 1 else []


def mapped(source: Source, given: Mapping[str, str]) -> dict[str, str]:
    """The columns that `--map` names for classes, by the class."""
    single = {class_name(name): column for name, column in given.items() if PER_CLASS.fullmatch(name)}
    every = {**{class_name(column): column for column in listed(given)}, **single}
    return {name: column for name, column in every.items() if column in source.columns}


def found(source: Source, label: str | None, known: Mapping[str, str], roles: Collection[str]) -> ClassColumns:
    """The columns of classes, where the table has no column of lists.

    Args:
        source: The table.
        label: The column of its labels.
        known: Columns that the user named, by the class.
        roles: Columns that are something else, unless a label has their name.
    """
    labels = _labels(source, label)
    called = {
        class_name(name): name
        for name in source.columns
        if PER_CLASS.fullmatch(name) and name not in {*roles, *known.values()}
    }
    every = {**called, **known}
    if len(every) > 1 and not (labels and labels <= source.columns.keys()):
        return ClassColumns(every)
    return _after_labels(source, labels, known, roles)


def _after_labels(source: Source, labels: set[str], known: Mapping[str, str], roles: Collection[str]) -> ClassColumns:
    """The columns that are named after labels, and what is to be thought of other columns of numbers.

    Where every label is a whole number, so is the name of every class. Otherwise a class that no sample belongs to
    cannot be told from other numbers by its name; it can where the scores of a sample sum to 1 with it, or without it.
    """
    if (named := _named_classes(source)) is not None:
        return ClassColumns(named)
    own = {name: name for name in source.columns if name in labels and name not in known}
    found = {**known, **own}
    if not own or not labels <= found.keys():
        return ClassColumns(found, is_partial=not labels <= found.keys())
    free = [name for name in source.columns if name not in {*found.values(), *roles}]
    others = [name for name in free if not ROW_NUMBERS.fullmatch(name) and _is_numeric(source, name)]
    if all(name.isdecimal() for name in labels):
        more = {name: name for name in others if name.isdecimal()}
        return ClassColumns({**found, **more}, unused=tuple(name for name in others if name not in more))
    if not others:
        return ClassColumns(found)
    every = {**found, **{name: name for name in others}}
    if _sum_to_one(source, every.values()):
        return ClassColumns(every)
    if _sum_to_one(source, found.values()):
        return ClassColumns(found, unused=tuple(others))
    return ClassColumns(found, unclear=tuple(others))


def _labels(source: Source, column: str | None) -> set[str]:
    if column is None:
        return {str(source.told["label"])} if "label" in source.told else set()
    return {name for name in texts(source, column)[1] if name}


def _named_classes(source: Source) -> dict[str, str] | None:
    """The columns of the classes that the file names, under their names or their numbers."""
    classes = source.classes or ()
    numbered = list(map(str, range(len(classes))))
    for names in (classes, numbered):
        if classes and source.columns.keys() >= set(names):
            return dict(zip(classes, names, strict=True))
    return None


def _is_numeric(source: Source, column: str) -> bool:
    values = source.columns[column]
    if values.dtype.kind not in "OUS":
        return values.dtype.kind in "iuf"
    return len(values) > 0 and not numbers(source, column, finite=False)[1]


def _sum_to_one(source: Source, columns: Collection[str]) -> bool:
    """Whether these are the probabilities of all classes; rows with an empty entry do not count."""
    found = np.stack([numbers(source, column, finite=False)[0] for column in columns], axis=1)
    whole = found[np.isfinite(found).all(axis=1)]
    return len(whole) > 0 and bool((whole >= 0).all() and (np.abs(whole.sum(axis=1) - 1) <= CLOSE).all())
