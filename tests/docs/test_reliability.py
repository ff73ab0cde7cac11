"""The table of faults has a row for what a test does today, and for nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECK = "as_if_nothing_had_happened"
"""The function by which a chaos test notes its fault, the second argument."""


def _noted() -> Iterator[str]:
    """A pattern of each fault that a chaos test notes; what is filled in matches anything."""
    for file in sorted((ROOT / "tests" / "chaos").glob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == CHECK:
                yield _pattern(node.args[1])


def _pattern(fault: ast.expr) -> str:
    parts = fault.values if isinstance(fault, ast.JoinedStr) else [fault]
    return "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+" for part in parts)


def _rows() -> list[str]:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    table = text.split("<!-- table -->")[1].split("<!-- end -->")[0]
    return [line.split("|")[1].strip() for line in table.strip().splitlines()[2:]]


def test_each_row_is_of_a_fault_that_a_test_makes() -> None:
    patterns = [*_noted()]
    assert len(patterns) > 15
    assert [row for row in _rows() if not any(re.fullmatch(pattern, row) for pattern in patterns)] == []


def test_each_fault_that_a_test_makes_has_a_row() -> None:
    assert [pattern for pattern in _noted() if not any(re.fullmatch(pattern, row) for row in _rows())] == []
