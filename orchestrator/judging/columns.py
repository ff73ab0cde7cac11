"""Which column of a table is which: guessed by name, shown before use, corrected with `--map OURS=THEIRS`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.judging.source import Source
from trainers.catalogue import nearest

NAMES: Mapping[str, tuple[str, ...]] = {
    "system": ("model", "method", "classifier", "estimator", "algorithm", "loss"),
    "seed": ("run", "repeat", "repetition", "trial"),
    "setting": ("task",),
    "dataset": ("data_set",),
    "backbone": ("network", "architecture"),
    "sample": (
        "sample_id",
        "id",
        "example",
        "example_id",
        "doc_id",
        "item",
        "index",
        "image",
        "path",
        "file",
        "filename",
    ),
    "label": ("true_label", "target", "y_true", "truth", "true", "gold", "class"),
    "prediction": ("predicted", "pred", "y_pred", "predicted_label"),
    "positive": (),
    "rival": (),
    "value": ("score",),
    "group": ("cluster", "patient", "subject"),
    "split": ("subset",),
    "similarity": ("sim", "cosine"),
    "genuine": ("same", "is_same", "is_genuine"),
    "identity_a": ("id_a", "identity_1", "person_a"),
    "identity_b": ("id_b", "identity_2", "person_b"),
    "scores": ("probabilities", "logits", "probs", "y_score"),
}
"""Our columns, each with other names by which it goes."""

PER_CLASS = re.compile(r"(?:scores?|prob|proba|probability|logit)_(?P<name>.+)", re.IGNORECASE)

Kind = tuple[str, ...]

KINDS: Mapping[str, Kind] = {
    "pairs": ("similarity", "genuine", "identity_a", "identity_b"),
    "scores": ("sample", "label"),
    "positive and rival": ("sample", "label", "positive", "rival"),
    "prediction": ("sample", "label", "prediction"),
    "value": ("sample", "value"),
}
"""What a table can hold, the most telling first, and which columns that needs."""


@dataclass(frozen=True)
class Columns:
    """Which column of a table is which."""

    source: Source
    ours: Mapping[str, str]
    """The names there by ours."""
    per_class: Mapping[str, str]
    """The column of each class's scores, by the class; empty where there is none."""
    kind: str
    """One of `KINDS`."""

    def told(self) -> str:
        """A line for people: `scores.csv: value; system = model, sample = id`."""
        used = [f"{ours} = {theirs}" for ours, theirs in self.ours.items() if ours != "scores" or self.kind == "scores"]
        if self.per_class:
            first, *_, last = [*self.per_class.values(), ""] if len(self.per_class) == 1 else self.per_class.values()
            used.append(f"scores = {first} … {last}")
        fixed = [f"{name} is {value}" for name, value in self.source.told.items() if name not in self.ours]
        return f"{self.source.name}: {self.kind}; {', '.join([*used, *fixed])}"


def understand(source: Source, given: Mapping[str, str]) -> tuple[Columns | None, list[str]]:
    """Which column is which, and what is wrong.

    Args:
        source: The table.
        given: Names there by ours, as the user has them; they come before guesses.
    """
    ours = {**_guessed(source, given), **{name: column for name, column in given.items() if column in source.names}}
    taken = set(ours.values())
    per_class = {} if "scores" in ours else dict(_per_class(source, taken))
    kind = _kind(source, ours, per_class)
    if kind is None:
        return None, [_unknown(source, ours)]
    return Columns(source, ours, per_class if kind == "scores" else {}, kind), []


def misnamed(sources: Sequence[Source], given: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the names that the user gives: each must be in some table."""
    there = list(dict.fromkeys(name for source in sources for name in source.names))
    for name, column in given.items():
        if name not in NAMES:
            known = ", ".join(NAMES)
            yield f"--map {name}={column}: '{name}' is none of our columns.{nearest(name, [*NAMES])} Known: {known}."
        elif column not in there:
            listed = ", ".join(there) or "none"
            nearby = nearest(column, there)
            yield f"--map {name}={column}: no table has a column '{column}'.{nearby} There are: {listed}."


def _guessed(source: Source, given: Mapping[str, str]) -> dict[str, str]:
    by_name = {name.strip().lower(): name for name in source.names if name not in given.values()}
    found = dict[str, str]()
    for ours, others in NAMES.items():
        if given.get(ours) in source.names:
            continue
        for name in (ours, *others):
            if name in by_name and (ours != "scores" or by_name[name] in source.matrix):
                found[ours] = by_name.pop(name)
                break
    if "scores" not in {*found, *given} and len(source.matrix) == 1:
        found["scores"] = next(iter(source.matrix))
    if "value" not in {*found, *given} and (column := _only_number(source, {*found.values(), *given.values()})):
        found["value"] = column
    return found


def _only_number(source: Source, taken: set[str]) -> str | None:
    """The first column of numbers that is nothing else, where a log's metrics have names of their own."""
    is_log = source.name.endswith((".jsonl", ".json", ".eval"))
    return next((name for name in source.columns if name not in taken), None) if is_log else None


def _per_class(source: Source, taken: set[str]) -> Iterator[tuple[str, str]]:
    for name in source.columns:
        match = PER_CLASS.fullmatch(name)
        if match and name not in taken:
            yield match["name"], name


def _kind(source: Source, ours: Mapping[str, str], per_class: Mapping[str, str]) -> str | None:
    known = {*ours, *source.told}
    for kind, needed in KINDS.items():
        if kind == "scores" and "scores" not in ours and len(per_class) < 2:  # noqa: PLR2004 - a choice takes two
            continue
        if known.issuperset(needed):
            return kind
    return None


def _unknown(source: Source, ours: Mapping[str, str]) -> str:
    """What a table lacks, by the kind that it comes closest to."""
    kind = min(KINDS.values(), key=lambda needed: len(set(needed) - ours.keys()))
    lacking = [name for name in kind if name not in ours] or ["scores"]
    there = ", ".join(source.names) or "none"
    return (
        f"{source.name}: cannot be judged without a column '{lacking[0]}'. There are: {there}. "
        f"Say which it is, as in --map {lacking[0]}=NAME; `judge --help` lists what is needed."
    )
