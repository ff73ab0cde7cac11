"""Which cells a launch trains again, as it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, Plan, plan
from orchestrator.outcome import Adopted, Attempt, Diverged, Failed, Finished, Lost
from orchestrator.pairing.replicas import Pairing, foreseen

if TYPE_CHECKING:
    from collections.abc import Mapping

ATTEMPT = Attempt("n", 0.0, 1.0)


def asked(seeds: int = 1) -> Plan:
    losses = [{"name": "bce_unified", "as": label, "bias_init": number} for number, label in enumerate("abc")]
    axes = {"losses": losses, "backbones": ["resnet8"], "datasets": ["digits"], "seeds": seeds}
    return plan(Experiment.model_validate({"name": "x", **axes, "baseline": "a"}))


PLAN = asked()
CELLS = {cell.loss: cell for cell in PLAN.cells}


def pairing(can: tuple[str, ...] = ("new",), recalled: str | None = None, **blocks: str) -> Pairing:
    done = {CELLS[loss].id: found.split() for loss, found in blocks.items()}
    return Pairing(PLAN, done, lambda _: can, lambda _: recalled)


def finished(cell: Cell, environment: str) -> Finished:
    return Finished(cell, ATTEMPT, {}, environment=environment)


def names(cells: list[Cell]) -> list[str]:
    return [f"{cell.loss}@{cell.environment}" for cell in cells]


def test_nothing_is_trained_again_in_one_environment() -> None:
    rule = pairing()
    assert not rule.first()
    assert not [again for cell in PLAN.cells for again in rule.heard(finished(cell, "new"))]


def test_the_baseline_is_trained_again_once_for_all_losses_that_come_beside_it() -> None:
    rule = pairing(a="old")
    assert not rule.first()
    assert names(rule.heard(finished(CELLS["b"], "new"))) == ["a@new"]
    assert not rule.heard(finished(CELLS["c"], "new")), "it is under way"


def test_what_may_be_asked_for_is_known_before_it_is() -> None:
    rule = pairing(can=("old", "new"), a="old")
    assert names(rule.possible({CELLS["b"].id})) == ["a@new"]
    assert not pairing(can=("old",), a="old").possible({CELLS["b"].id})
    assert not rule.possible(set())
    assert names(rule.heard(finished(CELLS["b"], "new"))) == ["a@new"], "it is still to be asked for"


def test_what_earlier_launches_left_apart_is_brought_together_at_once() -> None:
    assert names(pairing(a="old", b="new").first()) == ["a@new"]
    assert not pairing(a="old new", b="new").first()


def test_what_diverged_has_an_environment_too() -> None:
    rule = pairing(a="old")
    assert names(rule.heard(Diverged(CELLS["b"], ATTEMPT, 1, environment="new"))) == ["a@new"]


def test_what_another_launch_settled_is_looked_up() -> None:
    assert names(pairing(a="old", recalled="new").heard(Adopted(CELLS["b"], "finished"))) == ["a@new"]
    assert not pairing(a="old", recalled="old").heard(Adopted(CELLS["b"], "diverged"))


def test_what_failed_or_was_lost_asks_for_nothing() -> None:
    rule = pairing(a="old")
    assert not rule.heard(Failed(CELLS["b"], ATTEMPT, "", ""))
    assert not rule.heard(Lost(CELLS["b"], ATTEMPT, "node", "", ""))


def test_a_replica_that_failed_is_not_asked_for_again_but_another_may_be() -> None:
    rule = pairing(can=("new", "old"), a="old", b="new")
    (again,) = rule.first()
    assert names([again]) == ["a@new"]
    (other,) = rule.heard(Failed(again, ATTEMPT, "", ""))
    assert names([other]) == ["b@old"]
    assert not rule.heard(Failed(other, ATTEMPT, "", ""))


@pytest.mark.parametrize(
    ("blocks", "waiting", "replicas"),
    [
        ({}, "abc", []),
        ({"a": "here", "b": "here"}, "c", []),
        ({"a": "old", "b": "old"}, "c", ["a@here"]),
        ({"a": "old"}, "bc", ["a@here"]),
        ({"b": "old"}, "ac", ["b@here"]),
        ({"a": "old", "b": "here"}, "", ["a@here"]),
        ({"a": "old", "b": "old", "c": "old"}, "", []),
    ],
)
def test_a_plan_foresees_what_a_launch_trains(blocks: Mapping[str, str], waiting: str, replicas: list[str]) -> None:
    done = {CELLS[loss].id: [found] for loss, found in blocks.items()}
    expected = foreseen(PLAN, done, {CELLS[loss].id for loss in waiting}, lambda _: "here")
    assert names(expected) == replicas
    rule = Pairing(PLAN, done, lambda _: ["here"], lambda _: None)
    trained = rule.first() + [again for loss in waiting for again in rule.heard(finished(CELLS[loss], "here"))]
    assert sorted(names(trained)) == sorted(replicas)


def test_new_cells_at_other_seeds_need_no_replica() -> None:
    two = asked(seeds=2)
    done = {cell.id: ["old"] for cell in two.cells if cell.seed == 0}
    waiting = {cell.id for cell in two.cells if cell.seed == 1}
    assert not foreseen(two, done, waiting, lambda _: "here")
