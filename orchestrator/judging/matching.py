"""Brings runs together: their splits, their files, and the samples of each setting, which are matched by id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from orchestrator.judging.columns import Columns
from orchestrator.judging.runs import Book, Codes, RunName, ScoredRun
from orchestrator.judging.source import ScoresError, rows
from orchestrator.judging.table import parts


def runs_of(
    tables: Iterable[Columns], wrong: Iterable[str] = (), *, shared: bool = False
) -> tuple[list[ScoredRun], list[str]]:
    """The runs of all tables on samples that are the same for all systems of a setting; and sentences to show.

    Args:
        tables: With their columns known.
        wrong: What is known to be wrong with other tables.
        shared: Whether to compare on the samples that all have, where some lack some.

    Raises:
        ScoresError: With every problem of every table.
    """
    book = Book.empty()
    problems = list(wrong)
    found = list[tuple[ScoredRun, str]]()
    for columns in tables:
        own, complaints = parts(columns, book)
        found += own
        problems += complaints
    if problems:
        raise ScoresError(problems)
    runs = _joined(found)
    problems = [sentence for run in runs for sentence in _repeated(run, book)]
    if problems:
        raise ScoresError(problems)
    return _matched(runs, book, shared=shared)


def _joined(runs_by_split: Iterable[tuple[ScoredRun, str]]) -> list[ScoredRun]:
    """Runs on the test split, each with its validation split; what several files have of one run is one."""
    found = defaultdict[tuple[RunName, str, str], list[ScoredRun]](list)
    for run, split in runs_by_split:
        found[run.place, run.account.get("cell_id", ""), split].append(run)
    whole = {key: _concatenated(runs) for key, runs in found.items()}
    lacking = [place for place, cell, split in whole if split == "validation" and (place, cell, "test") not in whole]
    if lacking:
        raise ScoresError([f"{place} has a validation split, but no test split." for place in lacking])
    return [
        replace(run, held_out=whole.get((place, cell, "validation")))
        for (place, cell, split), run in whole.items()
        if split == "test"
    ]


def _concatenated(runs: Sequence[ScoredRun]) -> ScoredRun:
    first, *rest = runs
    if not rest:
        return first
    groups = [run.group for run in runs if run.group is not None]
    if any(run.values.keys() != first.values.keys() or (run.group is None) == bool(groups) for run in rest):
        names = ", ".join(dict.fromkeys(run.origin for run in runs))
        raise ScoresError([f"{first.place} is in several files with other columns: {names}."])
    return replace(
        first,
        row=np.concatenate([run.row for run in runs]),
        sample=np.concatenate([run.sample for run in runs]),
        label=np.concatenate([run.label for run in runs]),
        values={name: np.concatenate([run.values[name] for run in runs]) for name in first.values},
        group=np.concatenate(groups) if groups else None,
    )


def _repeated(run: ScoredRun, book: Book) -> Iterator[str]:
    if "similarity" in run.values:
        return
    order = np.argsort(run.sample, kind="stable")
    ordered = run.sample[order]
    again = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(again):
        sample = book.sample.text(int(ordered[again[0]]))
        places = np.sort(run.row[run.sample == ordered[again[0]]])
        yield f"{run.origin}: {rows(places)}: sample '{sample}' is there {len(places)} times for {run.place}."


def _matched(runs: Sequence[ScoredRun], book: Book, *, shared: bool) -> tuple[list[ScoredRun], list[str]]:
    """The runs of each setting on the same samples, in the same order; and which run lacks what.

    Raises:
        ScoresError: A run lacks samples and nobody asked to leave them out; or a sample has two labels or groups.
    """
    settings = defaultdict[tuple[str, str], list[ScoredRun]](list)
    for run in runs:
        settings[run.place.setting].append(run)
    found = list[ScoredRun]()
    problems = list[str]()
    lacking = list[str]()
    for own in settings.values():
        of_pairs = any("similarity" in run.values for run in own)
        if of_pairs:
            problems += _other_pairs(own)
            found += own
            continue
        common, lacks = _common(own, book)
        lacking += lacks
        aligned = [_aligned(run, common) for run in own]
        problems += _disagreements([run for run in aligned if len(run.sample)], book)
        if not len(common) and lacks:
            problems.append(f"{' on '.join(filter(None, reversed(own[0].place.setting)))}: no sample is there for all.")
        found += aligned
    if lacking and not shared:
        problems += [*lacking, "--shared compares on the samples that all systems have."]
    if problems:
        raise ScoresError(problems)
    return found, lacking


def _common(runs: Sequence[ScoredRun], book: Book) -> tuple[Codes, list[str]]:
    """The samples that all runs of a setting have; and a sentence on each run that lacks some."""
    tested = [run for run in runs if len(run.sample)]
    common = every = tested[0].sample if tested else np.empty(0, np.int64)
    for run in tested[1:]:
        if not np.array_equal(run.sample, every) or len(common) < len(every):
            common = np.intersect1d(common, run.sample)
            every = np.union1d(every, run.sample)
    return np.sort(common), [_lacks(run, every, book) for run in tested if len(run.sample) < len(every)]


def _lacks(run: ScoredRun, every: Codes, book: Book) -> str:
    missing = np.setdiff1d(every, run.sample)
    first = book.sample.text(int(missing[0]))
    return (
        f"{run.origin}: {run.place} lacks {len(missing)} of {len(every)} samples that others have, such as '{first}'."
    )


def _aligned(run: ScoredRun, common: Codes) -> ScoredRun:
    if not len(run.sample):
        return run
    order = np.argsort(run.sample, kind="stable")
    return run.at(order[np.searchsorted(run.sample[order], common)])


def _disagreements(runs: Sequence[ScoredRun], book: Book) -> Iterator[str]:
    """Where runs on the same samples say otherwise of a sample than the first one."""
    for run in runs[1:]:
        first = runs[0]
        if "value" not in {*run.values, *first.values} and len(odd := np.flatnonzero(run.label != first.label)):
            mine, theirs = (book.label.text(int(each.label[odd[0]])) for each in (run, first))
            yield f"{_of(run, odd, book)} has label '{mine}', but '{theirs}' in {first.origin}."
        if run.group is None or first.group is None:
            if run.group is not first.group:
                yield f"{run.origin}: either all systems have a column 'group', or none: unlike {first.origin}."
        elif len(odd := np.flatnonzero(run.group != first.group)):
            yield f"{_of(run, odd, book)} is in another group than in {first.origin}."


def _of(run: ScoredRun, places: Codes, book: Book) -> str:
    first = places[0]
    return f"{run.origin}: {rows(run.row[places])}: sample '{book.sample.text(int(run.sample[first]))}'"


def _other_pairs(runs: Sequence[ScoredRun]) -> Iterator[str]:
    """Which runs of a setting are on other pairs of images than the first."""
    first = runs[0]
    for run in runs[1:]:
        if _pairs(run) != _pairs(first):
            yield f"{run.origin}: {run.place} is on other pairs than {first.place}: both numbers of pairs must agree."


def _pairs(run: ScoredRun) -> tuple[int, int] | None:
    """How many pairs are genuine, and how many are not."""
    if "genuine" not in run.values:
        return None
    genuine = int(run.values["genuine"].sum())
    return genuine, len(run.sample) - genuine
