"""A table in Markdown."""

from __future__ import annotations

from orchestrator.report.markdown import _table


def test_cells_keep_their_column_whatever_is_in_them_and_read_as_text_too() -> None:
    assert _table([["a|b", "1"], ["two\nlines", "–"]], ["loss", "difference"]) == (
        "| loss      | difference   |\n"
        "|-----------|--------------|\n"
        "| a\\|b      | 1            |\n"
        "| two lines | –            |"
    )


def test_a_table_without_rows_has_its_heading() -> None:
    assert _table([], ["a"]) == "| a   |\n|-----|"
