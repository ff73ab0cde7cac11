"""The file of rates that rehearsals write and plans read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import DamagedFileError, NewerFormatError
from orchestrator.pricing.rates import CellRate, Rates
from orchestrator.workspace import Workspace

RATE = CellRate(
    backbone="resnet8",
    dataset="digits",
    shape=(1, 8, 8),
    classes=10,
    device="a processor",
    cpus=1,
    gpus=0,
    precision="float32",
    batch_size=128,
    images_per_second=600.0,
    fixed_seconds=2.5,
    when=1.0,
)


@pytest.fixture
def rates(tmp_path: Path) -> Rates:
    return Rates(Workspace(tmp_path).rates)


def test_a_workspace_without_a_rehearsal_has_no_rates(rates: Rates) -> None:
    assert rates.read() == ()


def test_rates_are_read_as_they_were_added_and_later_ones_stand_behind(rates: Rates) -> None:
    later = replace(RATE, memory_bytes=10**9, row_bytes=66.5, when=2.0)
    rates.add([RATE])
    rates.add([later])
    assert rates.read() == (RATE, later)


@pytest.mark.parametrize("content", ["", "[]", '{"version": 1}', '{"version": 1, "rates": [{"backbone": "resnet8"}]}'])
def test_a_file_that_holds_no_rates_is_named_with_what_to_do(rates: Rates, content: str) -> None:
    Path(str(rates.place)).write_text(content)
    with pytest.raises(DamagedFileError, match=r"rates\.json does not hold rates: remove it"):
        rates.read()


def test_rates_of_a_later_version_are_refused_and_kept(rates: Rates) -> None:
    text = json.dumps({"version": 2, "rates": []})
    Path(str(rates.place)).write_text(text)
    with pytest.raises(NewerFormatError, match="upgrade"):
        rates.add([RATE])
    assert Path(str(rates.place)).read_text() == text
