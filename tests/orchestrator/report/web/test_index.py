"""The index of a workspace: every experiment, with the verdicts of its report, safe from names, in both languages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.report.web.index import IndexRow, entries, index
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "</td><script>alert(1)</script>"


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """A workspace with an experiment that has a report, one with results, and one that was only launched."""
    for folder in ("results", "experiments", "reports/one"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("one", "one.replicas", "two"):
        pq.write_table(pa.table({"cell_id": ["a", "b"]}), tmp_path / "results" / f"{name}.parquet")
    asked = {"experiment": {"question": "Is it so?"}}
    (tmp_path / "experiments" / "one.json").write_text(json.dumps(asked))
    (tmp_path / "experiments" / "one.additions.json").write_text("{}")
    (tmp_path / "experiments" / "three.json").write_text("not JSON")
    (tmp_path / "reports" / "one" / "index.html").write_text("")
    claims = [{"verdict": verdict} for verdict in ("undecided", "supported", "undecided")]
    (tmp_path / "reports" / "one" / "comparison.json").write_text(json.dumps({"claims": claims}))
    return Workspace.at(str(tmp_path))


def test_every_experiment_is_listed_with_what_is_known_of_it(place: Workspace) -> None:
    one, three, two = entries(place)
    assert (one.name, one.question, one.finished, one.link) == ("one", "Is it so?", 2, "one/index.html")
    assert one.verdicts == {"supported": 1, "undecided": 2}
    assert (two.name, two.finished, two.link, two.verdicts) == ("two", 2, None, {})
    assert three == IndexRow("three")


def test_names_and_questions_are_shown_as_they_are() -> None:
    told = index([IndexRow(HOSTILE, HOSTILE, link="a%22b/index.html")], HOSTILE)
    assert HOSTILE not in told
    assert told.count("<script>") == 1
    assert 'href="a%22b/index.html"' in told


@pytest.mark.parametrize(("locale", "language"), [("en-GB", "en"), ("ja-JP", "ja")])
def test_the_index_speaks_the_browsers_language_and_axe_finds_nothing(
    place: Workspace, chromium: Any, tmp_path: Path, locale: str, language: str
) -> None:
    from axe_playwright_python import sync_playwright as axe

    (tmp_path / "index.html").write_text(index(entries(place), "runs"), encoding="utf-8")
    context = chromium.new_context(locale=locale, viewport={"width": 390, "height": 844})
    tab = context.new_page()
    complaints = list[str]()
    tab.on("console", lambda message: complaints.append(message.text))
    tab.goto((tmp_path / "index.html").as_uri())
    assert tab.get_attribute("html", "lang") == language
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    found = axe.Axe().run(tab).response["violations"]
    assert [each["id"] for each in found if each["impact"] in {"serious", "critical"}] == []
    context.close()
    assert complaints == []
