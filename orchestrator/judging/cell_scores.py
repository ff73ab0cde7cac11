"""Reads the scores that a command wrote for one cell: as `judge` reads them, and kept whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.judging import formats
from orchestrator.judging.columns import Columns, understand
from orchestrator.judging.source import ScoresError, rows
from orchestrator.judging.table import Table

ENDINGS = ("", ".parquet", ".csv", ".tsv", ".npz")

LARGEST = 2**31
"""Samples are kept as 32-bit numbers."""


class SplitScores(NamedTuple):
    """The scores of one split, in the order of the samples."""

    sample: NDArray[np.int32]
    """Its number, where all names are whole numbers; else its place among the sorted names."""
    label: NDArray[np.int32]
    scores: NDArray[np.float32]
    """Of all classes, (n, K)."""


class CellScores(NamedTuple):
    """What a command found."""

    test: SplitScores | None
    validation: SplitScores | None
    classes: tuple[str, ...]
    fingerprint: str
    """16 hex digits of the names and labels of all samples."""


ScoreReader = Callable[[Path, Mapping[str, str]], CellScores]


def read(out: Path, told: Mapping[str, str]) -> CellScores:
    """The scores of one cell.

    Args:
        out: The path that the command was given; it may have added an ending.
        told: What `system` and `seed` are in this cell, for tables that say so.

    Raises:
        ScoresError: There are none, or something is wrong with them; every problem with its row and column.
    """
    path = _file(out)
    try:
        return _read(path, told)
    except ScoresError as error:
        raise ScoresError([text.replace(f"{out.parent}/", "") for text in error.problems]) from None


def _file(out: Path) -> Path:
    """The file that was written, with an ending that says what it is."""
    found = [path for ending in ENDINGS if (path := out.with_name(f"{out.name}{ending}")).is_file()]
    if not found:
        raise ScoresError([f"No scores were written to {{out}}: expected {out.name}, or with .parquet, .csv or .npz."])
    if len(found) > 1:
        raise ScoresError([f"Scores were written more than once: {', '.join(path.name for path in found)}."])
    if found[0].suffix in ENDINGS[1:]:
        return found[0]
    with out.open("rb") as content:
        start = content.read(4)
    return out.rename(out.with_name(out.name + {b"PAR1": ".parquet", b"PK\x03\x04": ".npz"}.get(start, ".csv")))


def _read(path: Path, told: Mapping[str, str]) -> CellScores:
    (source,) = formats.sources(path)
    columns, wrong = understand(source, {})
    if columns is None:
        raise ScoresError(wrong)
    if columns.kind != "scores":
        text = f"{path}: a launch needs the scores of all classes (score_0, score_1, … or a list in 'scores');"
        raise ScoresError([f"{text} found only {columns.kind}. `judge` reads that, too."])
    table = Table(columns)
    samples = table.names("sample")
    splits = table.names("split")
    table.check_splits(splits)
    _check_place(table, told)
    scores, names = table.scores()
    label = table.labels(names)
    if not len(source):
        table.problems.append(f"{path}: the table has no row.")
    if not table.problems:
        table.check_repeats(splits[0], samples)
    _check_finite(table, columns, scores)
    if table.problems:
        raise ScoresError(table.problems)
    order = sorted(range(len(names)), key=lambda place: _key(names[place]))
    rank = np.argsort(order)
    parts = {
        split: _split(samples, rank[label], scores[:, order], np.flatnonzero(splits[0] == code))
        for code, split in enumerate(splits[1])
    }
    classes = tuple(names[place] for place in order)
    fingerprint = _fingerprint(samples, splits, [names[place] for place in label])
    numbered = classes == tuple(map(str, range(len(classes))))
    return CellScores(parts.get("test"), parts.get("validation"), () if numbered else classes, fingerprint)


def _key(name: str) -> tuple[int, str]:
    """Whole numbers in their order, before other names in theirs."""
    return (int(name), "") if name.isdecimal() and len(name) < len(str(LARGEST)) else (LARGEST, name)


def _split(
    samples: tuple[NDArray[np.int64], list[str]],
    label: NDArray[np.int64],
    scores: NDArray[np.float64],
    rows: NDArray[np.int64],
) -> SplitScores | None:
    if not len(rows):
        return None
    codes, names = samples
    own = [names[code] for code in codes[rows]]
    are_numbers = all(name.isdecimal() and int(name) < LARGEST for name in own)
    order = np.array(sorted(range(len(own)), key=lambda row: _key(own[row]) if are_numbers else (0, own[row])))
    number = [int(own[row]) for row in order] if are_numbers else range(len(own))
    chosen = rows[order]
    return SplitScores(np.array(number, np.int32), label[chosen].astype(np.int32), scores[chosen].astype(np.float32))


def _check_place(table: Table, told: Mapping[str, str]) -> None:
    """Complain of rows that say they are another system's or seed's: a command may have overlooked an argument."""
    for name, expected in told.items():
        if name not in table.columns.ours:
            continue
        codes, names = table.names(name)
        wrong = [code for code, text in enumerate(names) if text != expected]
        if wrong:
            place = np.flatnonzero(np.isin(codes, wrong))
            table.complain(place, name, f"'{names[codes[place[0]]]}', but this cell's {name} is '{expected}'.")


def _check_finite(table: Table, columns: Columns, scores: NDArray[np.float64]) -> None:
    if table.problems:
        return
    with np.errstate(over="ignore"):
        wrong = np.argwhere(~np.isfinite(scores.astype(np.float32)))
    if len(wrong):
        row, place = wrong[0]
        listed = [*columns.per_class.values()] or [columns.ours["scores"]] * scores.shape[1]
        text = f"{scores[row, place]:g} is not a finite number of 32 bits."
        told = rows(np.unique(wrong[:, 0]))
        table.problems.append(f"{table.source.name}: {told}, column '{listed[place]}': {text}")


def _fingerprint(
    samples: tuple[NDArray[np.int64], list[str]], splits: tuple[NDArray[np.int64], list[str]], labels: list[str]
) -> str:
    lines = sorted(
        f"{splits[1][split]}\t{samples[1][sample]}\t{label}"
        for split, sample, label in zip(splits[0], samples[0], labels, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
