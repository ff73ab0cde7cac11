"""A table of scores as it was read, before anything is known of its columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.errors import RequestError

Array = NDArray[Any]


class ScoresError(RequestError):
    """Scores cannot be judged.

    Args:
        problems: One sentence for each problem, with its file, row and column.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True, eq=False)
class Source:
    """Columns of equal length, under the names that they have there."""

    name: str
    """The file, as people know it."""
    columns: Mapping[str, Array]
    """Numbers, booleans or texts, shape (n,); `None` among objects, and NaN among numbers, is an empty entry."""
    matrix: Mapping[str, Array] = field(default_factory=dict)
    """Columns that hold a list of scores in each row, as arrays (n, k)."""
    classes: tuple[str, ...] | None = None
    """The names of the classes, in the order of the scores."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What the file says of all of its rows at once, such as `system`, under our names."""
    account: Mapping[str, Any] = field(default_factory=dict)
    """What a cell's own file says of the cell: state, environment, start."""

    @property
    def names(self) -> list[str]:
        """Of all columns."""
        return [*self.columns, *self.matrix]

    def __len__(self) -> int:
        every = [*self.columns.values(), *self.matrix.values()]
        return len(every[0]) if every else 0


MOST_TOLD = 3
"""Rows that a sentence names, where many have the same fault."""


def rows(places: Array) -> str:
    """`row 4`, or `rows 4, 7, 9 and 12 more`; rows are counted from 1, without a header."""
    named = ", ".join(str(1 + int(place)) for place in places[:MOST_TOLD])
    more = f" and {len(places) - MOST_TOLD} more" if len(places) > MOST_TOLD else ""
    return f"{'row' if len(places) == 1 else 'rows'} {named}{more}"


def numbers(source: Source, column: str, *, finite: bool) -> tuple[NDArray[np.float64], list[str]]:
    """A column as numbers, and what is wrong with it.

    Args:
        source: The table.
        column: Its name there.
        finite: Whether infinity is wrong, too.
    """
    values = source.columns[column]
    found = _parsed(values) if values.dtype.kind in "OUS" else values.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(found) if finite else np.isnan(found))
    return found, _complaints(source, column, values, wrong, "a number")


def _parsed(values: Array) -> NDArray[np.float64]:
    """Texts as numbers; NaN where one is none."""
    distinct, places = np.unique(values.astype(str), return_inverse=True)
    return np.array([_number(text) for text in distinct.tolist()], np.float64)[places]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def texts(source: Source, column: str) -> tuple[NDArray[np.int64], list[str], list[str]]:
    """A column of names: a code for each row, the name of each code, and what is wrong with it.

    Whole numbers are names, too: 7 and '7' are one.
    """
    values = source.columns[column]
    if values.dtype.kind == "f":
        wrong = np.flatnonzero(~(values == np.floor(values)))
        whole = np.where(np.isfinite(values), values, 0).astype(np.int64)
        distinct, places = np.unique(whole, return_inverse=True)
        return places, [str(each) for each in distinct.tolist()], _complaints(source, column, values, wrong, "a name")
    codes, found = _coded(values)
    empty = [code for code, name in enumerate(found) if not name]
    wrong = np.flatnonzero(np.isin(codes, empty)) if empty else np.empty(0, np.int64)
    return codes, found, _complaints(source, column, values, wrong, "a name")


def _coded(values: Array) -> tuple[NDArray[np.int64], list[str]]:
    """A code for each entry, and the text of each code; an empty entry has an empty text."""
    if values.dtype.kind not in "OU":
        distinct, places = np.unique(values, return_inverse=True)
        return places, [str(each) for each in distinct.tolist()]
    try:
        encoded = pa.array(values, pa.string()).fill_null("").dictionary_encode()
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # objects other than texts
        known = dict[str, int]()
        codes = [known.setdefault("" if each is None else _text(each), len(known)) for each in values.tolist()]
        return np.array(codes, np.int64), list(known)
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _complaints(source: Source, column: str, values: Array, wrong: Array, what: str) -> list[str]:
    return list(_told(source, column, values, wrong, what))


def _told(source: Source, column: str, values: Array, wrong: Array, what: str) -> Iterator[str]:
    if not len(wrong):
        return
    value = values[int(wrong[0])]
    is_empty = value is None or value == "" or value != value  # noqa: PLR0124 - the test for NaN
    shown = "empty" if is_empty else f"'{value}'"
    yield f"{source.name}: {rows(wrong)}, column '{column}': {shown} is not {what}."
