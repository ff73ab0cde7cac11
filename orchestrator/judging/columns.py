"""Which column of a table is which: guessed by name, shown before use, corrected with `--map OURS=THEIRS`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.judging import class_columns
from orchestrator.judging.class_columns import ClassColumns
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

EVERY_NAME = frozenset(name for ours, others in NAMES.items() for name in (ours, *others))

MOST_NAMED = 10
"""Columns that a sentence names."""

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
    unused: tuple[str, ...] = ()
    """Columns of numbers that were taken for no class, where classes were guessed from labels."""

    def told(self) -> str:
        """A line for people: `scores.csv: value; system = model, sample = id`."""
        used = [f"{ours} = {theirs}" for ours, theirs in self.ours.items() if ours != "scores" or self.kind == "scores"]
        if self.per_class:
            first, *_, last = self.per_class.values()
            used.append(f"scores = {first} … {last} ({len(self.per_class)} classes)")
        used += [f"{name} is not used" for name in self.unused]
        fixed = [f"{name} is {value}" for name, value in self.source.told.items() if name not in self.ours]
        return f"{self.source.name}: {self.kind}; {', '.join([*used, *fixed])}"


def understand(source: Source, given: Mapping[str, str]) -> tuple[Columns | None, list[str]]:
    """Which column is which, and what is wrong.

    Args:
        source: The table.
        given: Names there by ours, as the user has them; they come before guesses.
    """
    if lacking := _lacking(source, given):
        return None, lacking
    known = class_columns.mapped(source, given)
    ours = _roles(source, given, known.values())
    if known:
        ours.pop("scores", None)
    classes = ClassColumns(known)
    if "scores" not in ours and not class_columns.listed(given):
        roles = {name for name in source.columns if name.strip().lower() in EVERY_NAME}
        classes = class_columns.found(source, ours.get("label"), known, roles.union(ours.values()))
    return _settled(source, given, ours, classes)


def _settled(
    source: Source, given: Mapping[str, str], ours: Mapping[str, str], classes: ClassColumns
) -> tuple[Columns | None, list[str]]:
    """The columns, unless the classes are doubtful and the table holds nothing else."""
    if (classes.is_partial or classes.unclear) and (kind := _kind(source, ours, {})):
        return Columns(source, ours, {}, kind), []
    if classes.unclear:
        return None, [_unclear(source, classes)]
    roles = _roles(source, given, classes.by_class.values())
    kind = _kind(source, roles, classes.by_class)
    if kind is None:
        return None, [_unknown(source, roles)]
    if kind != "scores":
        return Columns(source, roles, {}, kind), []
    return Columns(source, roles, classes.by_class, kind, classes.unused), []


def misnamed(sources: Sequence[Source], given: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the names that the user gives: each must be in some table."""
    there = list(dict.fromkeys(name for source in sources for name in source.names))
    for name, text in given.items():
        columns = class_columns.listed(given) if name == "scores" and text not in there else [text]
        if name not in NAMES and not class_columns.PER_CLASS.fullmatch(name):
            known = ", ".join(NAMES)
            yield f"--map {name}={text}: '{name}' is none of our columns.{nearest(name, [*NAMES])} Known: {known}."
        for column in columns or [text]:
            if column not in there:
                hint = f"{nearest(column, there)} There are: {', '.join(there) or 'none'}."
                yield f"--map {name}={text}: no table has a column '{column}'.{hint}"
    yield from _named_twice(given)


def _named_twice(given: Mapping[str, str]) -> Iterator[str]:
    """Which columns are named for two classes."""
    single = [column for name, column in given.items() if class_columns.PER_CLASS.fullmatch(name)]
    for column, count in Counter([*class_columns.listed(given), *single]).items():
        if count > 1:
            yield f"--map: the column '{column}' is named for {count} classes."


def _lacking(source: Source, given: Mapping[str, str]) -> list[str]:
    """What is wrong with a table that has some of the columns that `--map scores=A,B,C` lists, or one of numbers."""
    listed = class_columns.listed(given)
    if listed and not source.columns.keys().isdisjoint(listed):
        return [
            f"{source.name}: there is no column '{column}', which --map scores={','.join(listed)} lists."
            for column in listed
            if column not in source.columns
        ]
    if (single := given.get("scores")) in source.columns:
        text = f"{source.name}: --map scores={single}: scores are a column of lists, or the columns of all classes,"
        return [f"{text} as in --map scores=cat,dog,bird."]
    return []


def _roles(source: Source, given: Mapping[str, str], classes: Collection[str]) -> dict[str, str]:
    """Names there by ours: those that the user gives, and guesses for others."""
    told = {name: column for name, column in given.items() if name in NAMES and column in source.names}
    return {**_guessed(source, told, classes), **told}


def _guessed(source: Source, given: Mapping[str, str], classes: Collection[str]) -> dict[str, str]:
    by_name = {name.strip().lower(): name for name in source.names if name not in {*given.values(), *classes}}
    found = dict[str, str]()
    for ours, others in NAMES.items():
        if ours in given:
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


def _kind(source: Source, ours: Mapping[str, str], per_class: Mapping[str, str]) -> str | None:
    known = {*ours, *source.told}
    for kind, needed in KINDS.items():
        if kind == "scores" and "scores" not in ours and len(per_class) < 2:  # noqa: PLR2004 - a choice takes two
            continue
        if known.issuperset(needed):
            return kind
    return None


def _unclear(source: Source, classes: ClassColumns) -> str:
    """That it takes a word about columns of numbers beside those that are named after labels."""
    named = list(classes.by_class.values())
    shown = [*named[:MOST_NAMED], *(["…"] if len(named) > MOST_NAMED else [])]
    others = " or ".join(f"'{name}'" for name in classes.unclear[:MOST_NAMED])
    asked = "is that a class, too?" if len(classes.unclear) == 1 else "are these classes, too?"
    return (
        f"{source.name}: columns are named after labels ({', '.join(shown)}), but no label is {others}: {asked} "
        f"List the columns of all classes, as in --map scores={','.join(shown)}, or call them score_CLASS."
    )


def _unknown(source: Source, ours: Mapping[str, str]) -> str:
    """What a table lacks, by the kind that it comes closest to."""
    kind = min(KINDS.values(), key=lambda needed: len(set(needed) - ours.keys()))
    lacking = [name for name in kind if name not in ours]
    there = ", ".join(source.names) or "none"
    how = f"--map {lacking[0]}=NAME" if lacking else "--map scores=NAME, or --map score_CLASS=NAME for each class"
    return (
        f"{source.name}: cannot be judged without a column '{(lacking or ['scores'])[0]}'. There are: {there}. "
        f"Say which it is, as in {how}; `judge --help` lists what is needed."
    )
