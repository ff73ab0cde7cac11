"""Text files in which datasets list their images, one row per line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.datasets import MissingDataError

if TYPE_CHECKING:
    from pathlib import Path


def rows(path: Path, columns: int) -> list[list[str]]:
    """The fields of each line, separated by blanks or tabs, at least `columns`; empty lines are skipped.

    Raises:
        MissingDataError: A line has fewer fields; the message says which one.
    """
    found = [(number, line.split()) for number, line in enumerate(lines(path), 1)]
    for number, fields in found:
        if 0 < len(fields) < columns:
            raise wrong(path, number, f"expected {columns} fields, found {len(fields)}")
    return [fields for _, fields in found if fields]


def lines(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        MissingDataError: It cannot be read, or is not text.
    """
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MissingDataError(f"The list {path} cannot be read: {error}.") from error


def wrong(path: Path, number: int, reason: str) -> MissingDataError:
    """An error about a line, counted from 1."""
    return MissingDataError(f"{path}:{number}: {reason}.")
