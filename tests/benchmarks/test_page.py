"""A block of a document gets other content, and nothing else changes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.page import PERFORMANCE, filled

PAGE = "above\n<!-- x: begin -->\nold\n<!-- x: end -->\nbelow\n"


def test_only_what_stands_in_the_block_changes() -> None:
    assert filled(PAGE, "x", "new") == PAGE.replace("old", "new")
    assert filled(PAGE, "x", "old") == PAGE


@pytest.mark.parametrize("mark", ["begin", "end"])
def test_without_a_mark_nothing_is_lost_but_the_block_is_refused(mark: str) -> None:
    with pytest.raises(ValueError, match="no block"):
        filled(PAGE.replace(f"<!-- x: {mark} -->\n", ""), "x", "new")


@pytest.mark.parametrize("name", ["tables", "price", "predicted", "cluster", "filling MLflow"])
def test_the_page_on_speed_has_the_blocks_that_benchmarks_write(name: str) -> None:
    text = PERFORMANCE.read_text(encoding="utf-8")
    assert "a new figure" in filled(text, name, "a new figure")


def test_what_measures_the_memory_of_steps_imports_no_torch() -> None:
    asked = "import sys, benchmarks.growth; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", asked], check=True)
