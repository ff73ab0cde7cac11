"""Our measures against what public code gave on the same numbers, kept in `benchmarks/public_measures.json`."""

from __future__ import annotations

import json

import pytest

from benchmarks.public_measures import CASES, KEPT, PAGE, UNKNOWN, Case, ours, page

PUBLIC = json.loads(KEPT.read_text())
OURS = ours()


@pytest.mark.parametrize("case", [case for case in CASES if not case.note], ids=lambda case: case.key)
def test_measures_are_those_of_public_code(case: Case) -> None:
    assert OURS[case.name] == pytest.approx(PUBLIC[case.key], abs=1e-7)


@pytest.mark.parametrize("case", [case for case in CASES if case.note], ids=lambda case: case.key)
def test_where_one_differs_it_is_by_little_and_the_page_says_why(case: Case) -> None:
    value = OURS[case.name]
    assert value is not None
    assert 1e-6 < abs(value - PUBLIC[case.key]) < 2 / UNKNOWN


def test_the_page_says_what_is_so_now() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text, PUBLIC) == text
