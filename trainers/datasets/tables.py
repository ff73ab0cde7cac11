"""Text files of one row a line, with which datasets list their images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.datasets import MissingDataError

if TYPE_CHECKING:
    from pathlib import Path


def rows(path: Path, columns: int) -> list[list[str]]:
    """The fields between blanks or tabs of each line, as many as `columns` at least; empty lines are left out.

    Raises:
        MissingDataError: A line has fewer fields; the message says which.
    """
    found = [(number, line.split()) for number, line in enumerate(lines(path), 1)]
    for number, fields in found:
        if 0 < len(fields) < columns:
            raise wrong(path, number, f"expected {columns} fields, found {len(fields)}")
    return [fields for _, fields in found if fields]


def lines(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        MissingDataError: It cannot be read, or is no text.
    """
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MissingDataError(f"The list {path} cannot be read: {error}.") from error


def wrong(path: Path, number: int, reason: str) -> MissingDataError:
    """What is wrong with a line, counted from 1."""
    return MissingDataError(f"{path}:{number}: {reason}.")
