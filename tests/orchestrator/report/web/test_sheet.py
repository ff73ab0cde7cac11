"""What a manager prints: the decision on one sheet of A4, and the statistics after it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.decision.decide import Decision, Deployable
from orchestrator.decision.guideline import Broken, Guideline, OtherSeeds, Tail
from orchestrator.decision.per_class import OneOrEach, OwnThreshold
from orchestrator.decision.promise import Promise, Promised
from orchestrator.experiment.operation import Operation
from orchestrator.experiment.plan import Cell
from orchestrator.statistics.intervals import Interval

CLASSES = tuple(f"a kind of part with a long name, number {label}" for label in range(1000))
EVERYWHERE = tuple(range(1000))
OPERATION = {
    "good": CLASSES[:900],
    "prices": {"false_accept": 100, "false_reject": 5, "review": 1},
    "limits": {"false_accept_rate": 0.001, "false_reject_rate": 0.001},
    "shares": dict.fromkeys(CLASSES[900:], 0.001),
    "review": 0.05,
}
RATES = (
    Promised("false_accept_rate", 2, 4200, 0.000476, 0.00172, 0.001, False, 10239),
    Promised("false_reject_rate", 0, 4200, 0.0, 0.001, 0.001, True),
    Promised("review_share", 75, 8400, 0.0109, 0.0163),
)
ONE_OR_EACH = OneOrEach(
    3.676,
    0.9,
    0.95,
    Interval(0.05, 0.02, 0.08, 8400),
    0.99,
    tuple(OwnThreshold(label, 2.5, 30, 2, 0.001) for label in EVERYWHERE),
    EVERYWHERE,
)
GUIDELINE = Guideline(
    Broken("gaussian_noise", 1, 0.812, 0.997, 19),
    Tail(EVERYWHERE, (0.7, 0.6, 0.8), (0.95, 0.94, 0.96), 512),
    OtherSeeds(seeds=2, low=2.679, high=3.676, own=0.004, worst=0.012),
)


def longest(cells: tuple[Cell, ...]) -> Decision:
    """A decision with everything to say that a decision can have, about as many classes as ImageNet has."""
    deployed = Deployable(cells[-1], 0.01, Promise(3.676, 0.0114, 0.188, RATES, 8400))
    baseline = Deployable(cells[0], 0.02, Promise(6.842, 0.0723, 0.209, RATES, 8400))
    gain = Interval(0.01, 0.005, 0.02, 8400)
    operation = Operation.model_validate(OPERATION)
    lost = ("one is left out: why",) * 3
    return Decision(operation, "digits", deployed, baseline, 12, 12, CLASSES, ONE_OR_EACH, gain, GUIDELINE, True, lost)


def pages(tab: Any) -> int:
    """Sheets of paper that the page takes."""
    return len(re.findall(rb"/Type\s*/Page\b", tab.pdf(prefer_css_page_size=True, print_background=True)))


@pytest.mark.parametrize("locale", ["en-GB", "ja-JP"])
def test_the_decision_is_one_printed_sheet_and_the_statistics_begin_on_the_next(
    locale: str, done: Callable[..., Any], small: dict[str, Any], opened: Callable[..., Any]
) -> None:
    question = "Which model should sort these parts, and how seldom can it be promised to err? " * 4
    finished = done(small | {"question": question})
    with opened(finished, decided=longest(finished.plan.cells), locale=locale) as tab:
        assert tab.get_attribute("html", "lang") == locale[:2]
        tab.evaluate("window.print = () => { window.asked = true; }")
        tab.click("#print-sheet")
        assert tab.evaluate("window.asked") is True
        tab.emulate_media(media="print")
        assert tab.locator("section:visible").count() == 1
        assert tab.locator(".decision > *:visible").count() == tab.locator(".decision > *").count()
        assert tab.locator(".facts").is_visible()
        assert tab.locator(".claims").is_hidden()
        assert pages(tab) == 1
        assert tab.locator(".claims").is_visible()
        tab.evaluate("document.querySelectorAll('section:not(#verdicts)').forEach((each) => each.remove())")
        every = pages(tab)
        tab.evaluate("document.querySelector('.sheet').style.display = 'none'")
        assert every == 1 + pages(tab)


def test_a_decision_stays_in_its_place_on_a_phone(
    done: Callable[..., Any], small: dict[str, Any], opened: Callable[..., Any], tmp_path: Path
) -> None:
    finished = done(small)
    with opened(finished, decided=longest(finished.plan.cells), width=390, height=844) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        assert tab.locator("#print-sheet").is_visible()
        tab.locator(".sheet").screenshot(path=tmp_path / "phone.png")


def test_a_report_without_a_decision_has_no_sheet(
    done: Callable[..., Any], small: dict[str, Any], opened: Callable[..., Any]
) -> None:
    with opened(done(small)) as tab:
        assert tab.locator(".sheet").count() == 0
        assert tab.locator("#print-sheet").count() == 0
