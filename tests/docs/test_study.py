"""The page of the study says what verdicts say, each counted on the side that it speaks for."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.experiment.looks import NOT_KNOWN
from orchestrator.experiment.reading import load
from orchestrator.report.web.translations import words

ROOT = Path(__file__).resolve().parents[2]
IDS = [*(f"P{number}" for number in range(1, 10)), *(f"C{number}" for number in range(1, 10))]


@pytest.fixture(scope="module")
def study() -> Any:
    """The script that writes the page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs" / "results"))
        import study

        yield study
        for name in ("study", "forest", "kept"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def kept(study: Any) -> dict[str, Any]:
    """The committed results of one experiment."""
    return {"frozen": sys.modules["kept"].Kept.read("frozen")}


def test_every_hypothesis_is_there_and_its_claims_are_stated(study: Any) -> None:
    found = study.hypotheses()
    assert set(IDS) <= {each.id for each in found}
    for hypothesis in found:
        for name, ids in hypothesis.claims.items():
            claims = {claim.id: claim for claim in load(ROOT / "experiments" / f"{name}.yaml").claims}
            assert set(ids) <= claims.keys(), hypothesis.id


@pytest.mark.parametrize(
    ("entry", "verdict", "side"),
    [
        ({}, "supported", "for"),
        ({}, "refuted", "against"),
        ({}, "equivalent", "against"),
        ({}, "undecided", "open"),
        ({"inverse": True}, "supported", "against"),
        ({"inverse": True}, "refuted", "for"),
        ({"inverse": True}, "equivalent", "for"),
        ({"inverse": True}, "undecided", "open"),
    ],
)
def test_a_verdict_speaks_for_one_side(
    study: Any, kept: dict[str, Any], entry: dict[str, Any], verdict: Any, side: str
) -> None:
    texts = dict.fromkeys(("says", "ja", "holds", "holds_ja", "fails", "fails_ja"), "text")
    hypothesis = study.Hypothesis.of({"id": "P0", "claims": {}, **texts, **entry})
    finding = replace(kept["frozen"].comparison.findings[0], verdict=verdict)
    assert study._side(finding, hypothesis, "before") == side


@pytest.mark.parametrize(("low", "high", "side"), [(-3.0, -1.0, "for"), (1.0, 3.0, "against"), (-3.0, 1.0, "against")])
def test_a_gain_that_became_a_loss_is_gone(
    study: Any, kept: dict[str, Any], low: float, high: float, side: str
) -> None:
    hypothesis = next(each for each in study.hypotheses() if each.id == "C5")
    finding = kept["frozen"].comparison.findings[0]
    refuted = replace(finding, verdict="refuted", difference=finding.difference._replace(low=low, high=high))
    assert study._side(refuted, hypothesis, "before") == side
    other = next(each for each in study.hypotheses() if each.id == "C1")
    assert study._side(refuted, other, "before") == "against"


@pytest.mark.parametrize("stated", ["after", "unknown"])
def test_a_claim_that_was_not_stated_before_its_cells_decides_nothing(
    study: Any, kept: dict[str, Any], stated: str
) -> None:
    hypothesis = next(each for each in study.hypotheses() if each.id == "P1")
    finding = kept["frozen"].comparison.findings[0]
    assert finding.verdict == "supported"
    assert study._side(finding, hypothesis, "before") == "for"
    assert study._side(finding, hypothesis, stated) == "open"


def test_a_verdict_after_a_look_decides_nothing(study: Any, kept: dict[str, Any]) -> None:
    hypothesis = next(each for each in study.hypotheses() if each.id == "P1")
    finding = kept["frozen"].comparison.findings[0]
    unknown = replace(finding, looks=NOT_KNOWN)
    assert unknown.looks.standing == "unknown"
    assert study._side(unknown, hypothesis, "before") == "open"


def test_what_diverged_or_collapsed_and_what_was_tuned_is_counted(study: Any, kept: dict[str, Any]) -> None:
    rows = [dict(row) for row in kept["frozen"].table]
    for row, state in zip(rows, ("diverged", "collapsed", "collapsed"), strict=False):
        row["state"] = state
    rows += [{**rows[-1], "kind": "trial", "cell_id": f"trial {number}"} for number in range(4)]
    name, seeds, cells, diverged, collapsed, *_, tuning, _, _ = study._checked(
        type(kept["frozen"])("frozen", rows), "en"
    )
    assert (name, seeds, cells, diverged, collapsed, tuning) == ("frozen", "20", "360", "1", "2", "4 trials")


def _answer(study: Any, id_: str, *sides: str) -> Any:
    hypothesis = next(each for each in study.hypotheses() if each.id == id_)
    return study.Answer(hypothesis, [study.Evidence(None, None, side) for side in sides], [])


@pytest.mark.parametrize(
    ("id_", "sides", "outcome", "place"),
    [
        ("P1", ("for", "for", "open"), "holds", 2),
        ("P1", ("against", "open"), "fails", 0),
        ("P1", ("for", "against"), "depends", 1),
        ("P1", ("open",), "open", 3),
        ("P1", (), "open", 3),
        ("C1", ("for",), "holds", 0),
        ("C1", ("against",), "fails", 2),
    ],
)
def test_an_outcome_needs_every_decided_verdict(
    study: Any, id_: str, sides: tuple[str, ...], outcome: str, place: int
) -> None:
    answer = _answer(study, id_, *sides)
    assert (answer.outcome, answer.place) == (outcome, place)


def test_what_depends_names_the_few_settings_that_say_otherwise(study: Any, kept: dict[str, Any]) -> None:
    hypothesis = next(each for each in study.hypotheses() if each.id == "P1")
    one, two = (
        replace(kept["frozen"].comparison.findings[0], backbone="mlp", dataset=name) for name in ("letters", "parts")
    )

    def follows(*evidence: tuple[Any, str]) -> str:
        found = [study.Evidence(kept["frozen"], finding, side) for finding, side in evidence]
        return study._summary(study.Answer(hypothesis, found, []), "en")[-1]

    mostly = [(one, "for")] * 3 + [(one, "open")]
    assert follows(*mostly, (two, "against")) == (
        "It depends on the setting. Against it: mlp on parts (frozen). The other 3 decided verdicts are for it."
    )
    assert follows((one, "for"), (two, "for"), *[(two, "against")] * 9) == (
        "It depends on the setting. For it: mlp on letters (frozen), mlp on parts (frozen). "
        "The other 9 decided verdicts are against it."
    )
    assert follows(*[(one, "for")] * 9, *[(one, "against"), (two, "against")] * 3) == (
        "It depends on the setting. Against it: mlp on letters (frozen), mlp on parts (frozen). "
        "The other 9 decided verdicts are for it."
    )
    other = replace(two, claim=two.claim.model_copy(update={"id": "P1-deployable"}))
    assert follows(*mostly, (two, "for"), (other, "against")) == (
        "It depends on the setting. Against it: mlp on parts (frozen P1-deployable). "
        "The other 4 decided verdicts are for it."
    )
    several = [(replace(one, dataset=f"parts{number}"), "against") for number in range(5)]
    assert follows(*[(one, "for")] * 6, *several) == "It depends on the setting: see its table."


def test_contradictions_to_the_papers_come_first(study: Any, kept: dict[str, Any]) -> None:
    places = [answer.place for answer in study.answers(kept)]
    assert places == sorted(places)
    assert places[0] == 0


def test_what_was_not_trained_is_named_and_is_no_verdict(study: Any, kept: dict[str, Any]) -> None:
    answer = next(each for each in study.answers(kept) if each.hypothesis.id == "P9")
    assert (answer.outcome, answer.missing) == ("open", ["imbalance"])
    page = study.pages(kept)[study.FILES["en"]]
    section = page.split("## P9:")[1].split("\n## ")[0]
    assert "`experiments/imbalance.yaml`" in section


def test_an_open_verdict_has_its_price(study: Any, kept: dict[str, Any]) -> None:
    finding = next(each for each in kept["frozen"].comparison.findings if each.dataset == "fashion_lite0")
    opened = replace(finding, verdict="undecided", seeds_needed=30)
    cells = [row for row in kept["frozen"].of("cell") if row["dataset"] == "fashion_lite0"]
    seconds = [row["seconds"] for row in cells if row["loss"] in {"bce_unified", "softmax"}]
    price = study._price(study.Evidence(kept["frozen"], opened, "open"), "en")
    hours = 10 * 2 * sum(seconds) / len(seconds) / 3600
    assert 0.1 < hours < 0.15
    assert price == "about 30 seeds, at most 0.2 more core hours"
    unknown = replace(opened, seeds_needed=None)
    assert study._price(study.Evidence(kept["frozen"], unknown, "open"), "en") == "no practical number of seeds"
    assert study._price(study.Evidence(kept["frozen"], finding, "for"), "en") == "–"


def test_both_pages_have_the_same_numbers(study: Any, kept: dict[str, Any]) -> None:
    pages = study.pages(kept)
    english, japanese = (pages[study.FILES[language]] for language in ("en", "ja"))
    figure = re.compile(r"[+-]\d+\.\d+")
    assert figure.findall(english) == figure.findall(japanese)
    assert len(figure.findall(english)) > 50
    assert words()["supported"] in japanese


def test_a_picture_has_a_mark_for_each_effect_where_it_lies(study: Any) -> None:
    from orchestrator.statistics.intervals import Interval

    bars = [
        sys.modules["forest"].Bar("one", "a <b>", Interval(0.10, 0.05, 0.15, 5), "for"),
        sys.modules["forest"].Bar("other", "c", Interval(-0.10, -0.20, 0.0, 5), "against"),
    ]
    drawn = sys.modules["forest"].effects(bars)
    right, left = (float(x) for x in re.findall(r'<circle cx="([\d.]+)" cy="[\d.]+" r="4"', drawn))
    assert right > left
    assert "a &lt;b&gt;" in drawn
