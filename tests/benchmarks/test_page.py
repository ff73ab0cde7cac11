"""A block of a document gets other content, and nothing else changes."""

from __future__ import annotations

import pytest

from benchmarks.page import filled

PAGE = "above\n<!-- x: begin -->\nold\n<!-- x: end -->\nbelow\n"


def test_only_what_stands_in_the_block_changes() -> None:
    assert filled(PAGE, "x", "new") == PAGE.replace("old", "new")
    assert filled(PAGE, "x", "old") == PAGE


@pytest.mark.parametrize("mark", ["begin", "end"])
def test_without_a_mark_nothing_is_lost_but_the_block_is_refused(mark: str) -> None:
    with pytest.raises(ValueError, match="no block"):
        filled(PAGE.replace(f"<!-- x: {mark} -->\n", ""), "x", "new")
