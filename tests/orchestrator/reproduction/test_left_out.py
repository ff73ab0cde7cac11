"""Cells of other code or another environment are in no figure, unless anchors or the user say so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.analysis.comparison import Comparison, compare
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import plan
from orchestrator.provenance.environment import Environment, LossCode, Origin
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.report import paragraphs
from orchestrator.report.markdown import markdown
from orchestrator.report.web import page
from orchestrator.report.web.translations import words
from orchestrator.reproduction import left_out
from orchestrator.reproduction.anchor_log import Anchor, AnchorEntry, Ledger, Measures
from orchestrator.reproduction.pooling import pooled
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CODES = ("loss", "backbone", "dataset", "loop")
SETTING = ("digits", "resnet8")


def asked(seeds: int = 5) -> Experiment:
    axes = {"losses": ["softmax", "bce_unified"], "backbones": ["resnet8"], "datasets": ["digits"], "seeds": seeds}
    claim = {"metric": "uniform_accuracy", "challenger": "bce_unified", "baseline": "softmax", "direction": "higher"}
    return Experiment.model_validate({"name": "x", **axes, "baseline": "softmax", "claims": [{"id": "c", **claim}]})


def row(loss: str, seed: int, value: float, code: Any = "aa", torch: Any = "2.14.0", **more: Any) -> dict[str, Any]:
    recorded = {"torch_version": torch, **{f"{axis}_sha256": "aa" for axis in CODES}, "loss_sha256": code}
    measures = dict.fromkeys(("uniform_accuracy", "sample_wise_accuracy", "accuracy_at_validation_threshold"), value)
    named = {"cell_id": f"{loss}{seed}", "loss": loss, "backbone": "resnet8", "dataset": "digits", "seed": seed}
    rest = {"state": "finished", "samples": 100, "started": float(seed), "origin": "here"}
    return {**named, **rest, **recorded, **measures, "environment": Environment.of(recorded).id, **more}


def table(*ours: dict[str, Any], seeds: int = 5, torch: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Softmax at all seeds, each under its torch, beside some rows of the other loss."""
    versions = torch or ["2.14.0"] * seeds
    return [*(row("softmax", seed, 0.5, torch=versions[seed]) for seed in range(seeds)), *ours]


def compared(rows: Sequence[dict[str, Any]], ledger: Ledger, replicas: Sequence[dict[str, Any]] = ()) -> Comparison:
    return compare(asked(), rows, replicas=replicas, pool=pooled(asked(), rows, ledger, replicas=replicas))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Workspace.at(str(tmp_path)).drift("x"))


def entry(old: Origin, new: Origin, shift: float, *, trusted: bool = False) -> AnchorEntry:
    then: Measures = {"uniform_accuracy": 0.5}
    now: Measures = {"uniform_accuracy": 0.5 + shift}
    tried = [
        Anchor(str(seed), f"bce_unified/resnet8/digits/s{seed}", SETTING, then, now, identical=False)
        for seed in range(3)
    ]
    return AnchorEntry(time.time(), old, new, new, (SETTING,), () if trusted else tuple(tried), trusted=trusted)


OLD = LossCode("bce_unified", "aa")
NEW = LossCode("bce_unified", "bb")
EDITED = table(*(row("bce_unified", seed, *((0.9, "aa") if seed < 3 else (0.6, "bb"))) for seed in range(5)))


def test_cells_of_other_code_of_their_loss_are_in_no_figure(ledger: Ledger) -> None:
    found = compared(EDITED, ledger)
    softmax, own = found.lines
    assert (softmax.finished, own.finished, own.planned) == (5, 2, 5)
    assert found.missing == 3
    assert own.means["uniform_accuracy"].estimate == pytest.approx(0.6)
    assert own.differences is not None
    assert own.differences["uniform_accuracy"].n == 2
    assert found.findings[0].difference.n == 2


@pytest.mark.parametrize(
    ("about", "counted"),
    [
        (entry(OLD, NEW, 0.0), 5),
        (entry(NEW, OLD, 0.0), 5),
        (entry(OLD, NEW, 0.2, trusted=True), 5),
        (entry(OLD, NEW, 0.2), 2),
        (entry(LossCode("softmax", "aa"), NEW, 0.0), 2),
    ],
)
def test_they_count_where_anchors_or_the_user_say_so(ledger: Ledger, about: AnchorEntry, counted: int) -> None:
    ledger.add([about])
    assert compared(EDITED, ledger).lines[1].finished == counted


def test_the_environment_with_most_cells_counts_and_of_equal_ones_the_newest(ledger: Ledger) -> None:
    for foreign, seeds in ((1, {0, 1, 2, 3}), (3, {2, 3, 4})):
        versions = ["2.14.0"] * (5 - foreign) + ["2.15.0"] * foreign
        rows = table(*(row("bce_unified", seed, 0.6, torch=versions[seed]) for seed in range(5)), torch=versions)
        pool = pooled(asked(), rows, ledger)
        assert pool is not None
        assert {each["seed"] for each in rows if each["cell_id"] not in pool.left_out} == seeds
    rows = [row(loss, seed, 0.5, torch=f"2.{seed}") for loss in ("softmax", "bce_unified") for seed in range(2)]
    pool = pooled(asked(), rows, ledger)
    assert pool is not None
    assert pool.left_out == {"softmax0", "bce_unified0"}


def test_imported_cells_of_another_environment_leave_none_of_ours_out(ledger: Ledger) -> None:
    sent = {"torch": "2.15.0", "origin": "unverified", "started": 9e9}
    ours = [row(loss, seed, 0.5) for loss in ("softmax", "bce_unified") for seed in range(2)]
    theirs = [row(loss, seed, 0.9, **sent) for loss in ("softmax", "bce_unified") for seed in (2, 3)]
    found = compared([*theirs, *ours], ledger)
    assert [line.finished for line in found.lines] == [2, 2]
    assert found.lines[1].means["uniform_accuracy"].estimate == pytest.approx(0.5)
    assert found.left_out == {each["cell_id"] for each in theirs}
    assert found.imported is not None
    assert found.imported.unverified == 4


def test_a_diverged_cell_of_other_code_is_left_out_as_well(ledger: Ledger) -> None:
    lost = [
        {**each, "state": "diverged"} if each["seed"] == 0 else each for each in EDITED if each["loss"] != "softmax"
    ]
    assert compared(table(*lost), ledger).lines[1].diverged == 0


def test_a_replica_of_other_code_makes_no_pair(ledger: Ledger) -> None:
    rows = table(*(row("bce_unified", seed, 0.5, torch="2.13.0") for seed in range(5)))
    again = [row("bce_unified", 0, 0.9, code=code, cell_id=f"bce_unified0@{code}") for code in ("aa", "bb")]
    one, other = (compared(rows, ledger, [each]).lines[1].differences for each in again)
    assert one is not None
    assert other is not None
    assert (one["uniform_accuracy"].n, other["uniform_accuracy"].n) == (1, 0)


def test_imported_replicas_are_told_of(ledger: Ledger) -> None:
    again = [row("softmax", 0, 0.9, cell_id="softmax0@x", origin="unverified")]
    found = compared(table(), ledger, again).imported
    assert found is not None
    assert (found.cells, found.of, found.unverified) == (1, 6, 1)


def test_every_form_says_how_many_are_left_out(ledger: Ledger, tmp_path: Path) -> None:
    versions = ["2.13.0"] + 4 * ["2.14.0"]
    rows = [*table(torch=versions), *(each for each in EDITED if each["loss"] != "softmax")]
    found = compared(rows, ledger)
    code = "Left out of every figure and verdict: 3 of the cells of loss 'bce_unified', trained with different code."
    elsewhere = "1 of the cells, trained in a different environment (torch 2.13.0 → 2.14.0)."
    told = " ".join(paragraphs.conditions(found))
    assert code in told
    assert elsewhere in told
    assert code in markdown(found)
    left = {len(each["cells"]) for each in found.to_json()["pool"]["left"]}
    assert left == {1, 3}
    planned = plan(asked())
    text = page.render(found, [], Evaluations(Workspace.at(str(tmp_path)).evaluations), planned)
    assert words()[left_out.ELSEWHERE].format(count=1, change="torch 2.13.0 → 2.14.0") in text
    assert "trained with different code" in text


def test_cells_of_one_code_and_environment_are_compared_as_ever(ledger: Ledger) -> None:
    rows = table(*(row("bce_unified", seed, 0.6) for seed in range(5)))
    assert pooled(asked(), rows, ledger) is None
