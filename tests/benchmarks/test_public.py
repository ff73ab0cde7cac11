"""Our losses against what the published code gave on the same numbers, kept in `benchmarks/public.json`."""

from __future__ import annotations

import json

import pytest

from benchmarks.public import CASES, KEPT, PAGE, Case, Result, difference, ours, page

PUBLIC = json.loads(KEPT.read_text())
ALIKE = [case for case in CASES if not case.note]
APART = [case for case in CASES if case.note]


@pytest.mark.parametrize("case", ALIKE, ids=lambda case: case.key)
def test_losses_and_gradients_are_the_published_ones(case: Case) -> None:
    mine = ours(case)
    theirs = Result(**PUBLIC[case.key])
    for part in Result._fields:
        assert difference(getattr(mine, part), getattr(theirs, part)) < 1e-6


@pytest.mark.parametrize("case", APART, ids=lambda case: case.key)
def test_where_they_differ_the_page_says_why(case: Case) -> None:
    mine = ours(case)
    theirs = Result(**PUBLIC[case.key])
    assert max(difference(getattr(mine, part), getattr(theirs, part)) for part in Result._fields) > 0.1


def test_arcface_within_reach_of_the_margin_differs_in_its_gradient_alone() -> None:
    (case,) = (case for case in APART if case.loss["name"] == "arcface" and not case.opposite)
    assert difference(ours(case).losses, PUBLIC[case.key]["losses"]) < 1e-6


def test_every_loss_of_face_recognition_is_compared() -> None:
    assert {"normface", "cosface", "arcface", "uniface"} <= {case.loss["name"] for case in ALIKE + APART}


def test_the_page_says_what_is_so_now() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text, PUBLIC) == text
