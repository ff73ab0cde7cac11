"""From a table to runs: its columns are read as names and numbers, and every wrong entry is told with its row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from orchestrator.judging.columns import Columns
from orchestrator.judging.runs import ALONE, Book, Codes, Floats, Names, RunName, ScoredRun
from orchestrator.judging.source import Array, numbers, rows, texts
from orchestrator.privacy import visible

MOST_CLASSES = 10
"""Classes that a sentence names."""

ANYWHERE = RunName("", "", "", 0)
"""Before rows are divided into runs."""


def parts(columns: Columns, book: Book) -> tuple[list[tuple[ScoredRun, str]], list[str]]:
    """The runs of one table with their splits, and what is wrong with it."""
    table = Table(columns)
    n = len(columns.source)
    keys = [table.names(name) for name in ("system", table.of_data(), "backbone", "split")]
    seeds = table.seeds()
    samples = table.names("sample")
    table.check_splits(keys[-1])
    if not n and not columns.source.account:
        table.problems.append(f"{columns.source.name}: the table has no row.")
    which, firsts = _combined([*(codes for codes, _ in keys), np.unique(seeds, return_inverse=True)[1].ravel()])
    if not table.problems and columns.kind != "pairs":
        table.check_repeats(which, samples)
    values = table.values()
    labels = book.label.of(*table.names("label"))
    groups = book.group.of(*table.names("group")) if table.has("group") else None
    if table.problems:
        return [], table.problems
    whole = ScoredRun(ANYWHERE, columns.source.name, np.arange(n), book.sample.of(*samples), labels, values, groups)
    whole = replace(whole, account=columns.source.account)
    if not n:  # of a cell that diverged, there is no row
        told = columns.source.told
        place = RunName(told["dataset"], told["backbone"], told["system"], told["seed"])
        return [(replace(whole, place=place), "test")], []
    order = np.argsort(which, kind="stable")
    found = list[tuple[ScoredRun, str]]()
    for first, chosen in zip(firsts, np.split(order, np.cumsum(np.bincount(which))[:-1]), strict=True):
        system, dataset, backbone, split = (visible(names[codes[first]]) for codes, names in keys)
        place = RunName(dataset, backbone, system, int(seeds[first]))
        found.append((replace(whole.at(chosen), place=place), split))
    return found, []


def _combined(codes: Sequence[Codes]) -> tuple[Codes, Codes]:
    """One code for each combination of codes, and the first row of each."""
    found = np.zeros(len(codes[0]), np.int64)
    for each in codes:
        found = found * (1 + each.max(initial=0)) + each
        found = np.unique(found, return_inverse=True)[1].ravel() if each.max(initial=0) else found
    _, firsts, which = np.unique(found, return_index=True, return_inverse=True)
    return which.ravel(), firsts


class Table:
    """Reads the columns of one table and keeps what is wrong with them."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.source = columns.source
        self.problems = list[str]()

    def complain(self, wrong: Array, name: str, text: str) -> None:
        """Keep what is wrong with one of our columns in these rows."""
        column = self.columns.ours.get(name, name)
        self.problems.append(f"{self.source.name}: {rows(wrong)}, column '{column}': {text}")

    def has(self, name: str) -> bool:
        """Whether there is such a column, or the file tells it of all rows."""
        return name in self.columns.ours or name in self.source.told

    def of_data(self) -> str:
        """The column that says on which data a system was tested."""
        return "dataset" if self.has("dataset") else "setting"

    def names(self, name: str) -> tuple[Codes, list[str]]:
        """Codes and texts of a column; where there is none, of what stands for it."""
        if name in self.columns.ours:
            codes, found, wrong = texts(self.source, self.columns.ours[name])
            self.problems += wrong
            return codes, found
        if name == "sample":
            return np.arange(len(self.source)), [str(row) for row in range(len(self.source))]
        defaults = {"split": "test", "dataset": ALONE, "setting": ALONE, "system": _stem(self.source.name)}
        return np.zeros(len(self.source), np.int64), [str(self.source.told.get(name, defaults.get(name, "")))]

    def seeds(self) -> Codes:
        """Whole numbers; 0 where the table has no column of them."""
        if "seed" not in self.columns.ours:
            told = self.source.told.get("seed", 0)
            if not isinstance(told, int) or told < 0:
                self.problems.append(f"{self.source.name}: the seed '{told}' is not a whole number from 0.")
                told = 0
            return np.full(len(self.source), told)
        column = self.columns.ours["seed"]
        found, wrong = numbers(self.source, column, finite=True)
        self.problems += wrong
        if not wrong:
            odd = np.flatnonzero((found < 0) | (found != np.floor(found)) | (found >= 2**31))
            if len(odd):
                self.complain(odd, "seed", f"{found[odd[0]]:g} is not a whole number from 0.")
        return np.where(np.isfinite(found), found, 0).astype(np.int64)

    def values(self) -> dict[str, Floats]:
        """What each sample or pair has, by the kind of the table."""
        match self.columns.kind:
            case "scores":
                return self._of_scores()
            case "positive and rival":
                return {name: self._numbers(name) for name in ("positive", "rival")}
            case "prediction":
                return {"right": self._right()}
            case "value":
                return {"value": self._numbers("value", finite=True)}
            case _:
                return self._of_pairs()

    def _numbers(self, name: str, *, finite: bool = False) -> Floats:
        found, wrong = numbers(self.source, self.columns.ours[name], finite=finite)
        self.problems += wrong
        return found

    def _right(self) -> Floats:
        codes, names = self.names("prediction")
        labels, own = self.names("label")
        known = {name: code for code, name in enumerate(own)}
        return (np.array([known.get(name, -1) for name in names], np.int64)[codes] == labels).astype(np.float64)

    def labels(self, classes: list[str]) -> Codes:
        """The place of each row's label among the classes that have scores; -1, of which it complains, where none."""
        codes, names = self.names("label")
        place = {name: column for column, name in enumerate(classes)}
        column = np.array([place.get(name, -1) for name in names], np.int64)[codes]
        if len(wrong := np.flatnonzero(column < 0)):
            listed = ", ".join(classes[:MOST_CLASSES]) + (", …" if len(classes) > MOST_CLASSES else "")
            strange = names[codes[wrong[0]]]
            self.complain(wrong, "label", f"there are no scores of a class '{strange}', but of {listed}.")
        return column

    def _of_scores(self) -> dict[str, Floats]:
        """The score of the true class, and the highest of any other."""
        scores, classes = self.scores()
        column = self.labels(classes)
        if (column < 0).any():
            return {}
        each = np.arange(len(scores))
        positive = scores[each, column]
        others = scores.copy()
        others[each, column] = -np.inf
        return {"positive": positive, "rival": others.max(axis=1, initial=-np.inf)}

    def scores(self) -> tuple[Floats, list[str]]:
        """The scores of all classes, (n, K), and the names of the classes."""
        if "scores" in self.columns.ours:
            column = self.columns.ours["scores"]
            found = self.source.matrix[column].astype(np.float64)
            if len(wrong := np.flatnonzero(np.isnan(found).any(axis=1))):
                self.complain(wrong, "scores", "a score is empty.")
            classes = self.source.classes or tuple(map(str, range(found.shape[1])))
            if len(classes) != found.shape[1]:
                text = f"{self.source.name}: column '{column}' has {found.shape[1]} scores per row,"
                self.problems.append(f"{text} but {len(classes)} classes are named.")
            return found, list(classes)
        parts = list[Floats]()
        for column in self.columns.per_class.values():
            found, wrong = numbers(self.source, column, finite=False)
            self.problems += wrong
            parts.append(found)
        names = list(self.columns.per_class)
        if self.source.classes and sorted(names) == sorted(map(str, range(len(self.source.classes)))):
            names = [self.source.classes[int(name)] for name in names]
        return np.stack(parts, axis=1), names

    def _of_pairs(self) -> dict[str, Floats]:
        similarity = self._numbers("similarity")
        codes, names = self.names("genuine")
        known = {"1": 1.0, "0": 0.0, "true": 1.0, "false": 0.0}
        genuine = np.array([known.get(name.lower(), np.nan) for name in names])[codes]
        if len(wrong := np.flatnonzero(np.isnan(genuine))):
            self.complain(wrong, "genuine", f"'{names[codes[wrong[0]]]}' is neither 1 (true) nor 0 (false).")
        people = Names()
        identities = {name: people.of(*self.names(name)).astype(np.float64) for name in ("identity_a", "identity_b")}
        odd = np.flatnonzero((identities["identity_a"] == identities["identity_b"]) != (genuine == 1))
        if len(odd) and not len(wrong):
            self.complain(odd, "genuine", "a pair is genuine exactly if its two identities are the same.")
        return {"similarity": similarity, "genuine": genuine, **identities}

    def check_repeats(self, which: Codes, samples: tuple[Codes, list[str]]) -> None:
        """Complain of samples that a run has twice."""
        codes, names = samples
        each = which * (1 + codes.max(initial=0)) + codes
        order = np.argsort(each, kind="stable")
        again = np.flatnonzero(each[order][1:] == each[order][:-1])
        if len(again):
            twice = order[again + 1]
            first = order[again[0]] + 1
            text = f"sample '{names[codes[twice[0]]]}' is there in row {first}, too, with the same system and seed."
            self.complain(np.sort(twice), "sample", text)

    def check_splits(self, splits: tuple[Codes, list[str]]) -> None:
        """Complain of splits that are neither for testing nor for validation."""
        codes, names = splits
        for code, name in enumerate(names):
            if name not in {"test", "validation"}:
                self.complain(np.flatnonzero(codes == code), "split", f"'{name}' is neither 'test' nor 'validation'.")


def _stem(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[0]
