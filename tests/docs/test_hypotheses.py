"""Every hypothesis of the papers, and against them, is stated in an experiment that comes with the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.experiment.reading import load

ROOT = Path(__file__).parents[2]
IDS = [*(f"P{number}" for number in range(1, 10)), *(f"C{number}" for number in range(1, 10))]
ROWS = {
    cells[0]: cells[2]
    for line in (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8").splitlines()
    if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 3 and cells[0] in IDS
}
SHIPPED = {path.stem: path for path in (ROOT / "experiments").glob("*.yaml")}


@pytest.mark.parametrize("hypothesis", IDS)
def test_a_hypothesis_is_stated_where_the_docs_say(hypothesis: str) -> None:
    named = [name for name in SHIPPED if re.search(rf"\b{name}\b", ROWS[hypothesis])]
    texts = [SHIPPED[name].read_text(encoding="utf-8") for name in named]
    assert any(re.search(rf"\b{hypothesis}\b", text) for text in texts), ROWS[hypothesis]
    claims = {claim.id for name in named for claim in load(SHIPPED[name]).claims}
    assert set(re.findall(r"`([\w-]+)`", ROWS[hypothesis])) <= claims | {"relative_bias_gap"}
