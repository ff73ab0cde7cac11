"""README and docs/results say what today's rules find in the committed results, to the letter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.experiment.plan import PROTOCOL

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"


@pytest.fixture(scope="module")
def write() -> Any:
    """The script that writes the pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RESULTS))
        import write

        yield write
        for name in ("write", "decided", "kept", "machine", "spreads", "study", "forest"):
            sys.modules.pop(name, None)


def test_every_page_is_what_write_makes_of_the_committed_tables(write: Any) -> None:
    pages = write.pages()
    outdated = [path.relative_to(ROOT).as_posix() for path, content in pages.items() if path.read_text() != content]
    assert outdated == [], "run `python docs/results/write.py`, and `make results` where ids or numbers changed"


def test_the_tables_are_of_todays_protocol(write: Any) -> None:
    protocols = {row["protocol"] for file in write.TABLES.glob("*.parquet") for row in write.Kept.read(file.stem).table}
    assert protocols == {PROTOCOL}


def test_a_changed_rule_changes_a_page(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.statistics import intervals

    name = next(path for path in sorted(write.TABLES.glob("*.parquet")) if not path.stem.startswith("machine")).stem
    before = write.page(write.Kept.read(name))
    monkeypatch.setattr(intervals.mean_interval, "__defaults__", (0.5, 0.0))  # intervals of 50 %
    assert write.page(write.Kept.read(name)) != before


class TestACellThatWasTrainedAgain:
    """Beside the committed one."""

    @pytest.fixture
    def kept(self, write: Any) -> dict[str, Any]:
        """Two experiments."""
        return {name: write.Kept.read(name) for name in ("openset", "tuned")}

    @pytest.fixture
    def again(self, kept: dict[str, Any]) -> list[dict[str, Any]]:
        """Two cells, one without a uniform accuracy."""
        moved: list[dict[str, Any]] = [
            {**row, "experiment": "openset", "instruction_set": "AVX2", "then": row["started"]}
            for row in kept["openset"].of("cell")[:2]
        ]
        moved[0]["uniform_accuracy"] += 0.0125
        moved[1] |= {"uniform_accuracy": None, "sample_wise_accuracy": moved[1]["sample_wise_accuracy"] - 0.03}
        return moved

    def test_says_how_far_it_moved(self, write: Any, kept: dict[str, Any], again: list[dict[str, Any]]) -> None:
        told = write.machine.sampled(kept, again)
        *_, found, everything = told.split("\n")
        assert told.startswith("2 cells, ")
        assert found.startswith("| openset | 2 | AVX512 | AVX2 | -1.50, at most 3.00 | +1.25, at most 1.25 |")
        assert everything.startswith("| all | 2 | | | -1.50, at most 3.00 | +1.25, at most 1.25 |")

    @pytest.mark.parametrize("other", [{"experiment": "scratch"}, {"then": 1.0}, {"instruction_set": "AVX512"}])
    def test_is_not_read_beside_another_cell_another_training_or_the_same_machine(
        self, write: Any, kept: dict[str, Any], again: list[dict[str, Any]], other: dict[str, Any]
    ) -> None:
        stale = [{**row, **other, "uniform_accuracy": 0.0} for row in again]
        assert write.machine.sampled(kept, [*again, *stale]) == write.machine.sampled(kept, again)
        assert write.machine.sampled(kept, stale) == ""


HERE = {"origin": "here"}


@pytest.mark.parametrize(
    ("rows", "one_environment", "said"),
    [([HERE, {"origin": "verified"}], True, "were imported"), ([HERE], False, "several environments")],
)
def test_no_table_is_kept_of_cells_that_a_page_would_pool_unsaid(
    write: Any, rows: list[dict[str, str]], one_environment: bool, said: str
) -> None:
    refuse_others = sys.modules["kept"].refuse_others
    with pytest.raises(SystemExit, match=said):
        refuse_others("x", rows, one_environment=one_environment)
    refuse_others("x", [HERE], one_environment=True)


def test_a_page_without_its_block_is_refused(write: Any) -> None:
    with pytest.raises(SystemExit, match="has no block"):
        write._filled("A page.", "index", "")


def test_no_page_states_results_without_a_table(write: Any) -> None:
    assert {*RESULTS.glob("*.md")} <= write.pages().keys()
