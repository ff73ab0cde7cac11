"""What `plan` shows of an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

EXPERIMENT = (
    "name: few\nlosses: [softmax, bce]\nbackbones: [resnet8]\ndatasets: [digits]\nseeds: {seeds}\nbaseline: softmax\n"
)


@pytest.mark.parametrize(
    ("seeds", "shown"),
    [
        (range(10), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        (range(3, 14), "3 to 13 (11 seeds)"),
        ([*range(10), 11], "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11"),
    ],
    ids=["few", "many in a row", "many with a gap"],
)
def test_many_seeds_in_a_row_are_shown_by_the_first_and_the_last(
    seeds: Sequence[int], shown: str, tmp_path: Path
) -> None:
    file = tmp_path / "few.yaml"
    file.write_text(EXPERIMENT.format(seeds=list(seeds)), encoding="utf-8")
    out = program.run("plan", str(file), folder=tmp_path).stdout
    [line] = [line for line in out.splitlines() if line.startswith("seeds")]
    assert line.removeprefix("seeds").strip() == shown
