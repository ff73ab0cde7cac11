"""A pair is of one environment; which cells are trained again so that it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, plan
from orchestrator.pairing.blocks import POOLS, met, replicas, together, unpaired

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


ALL = ("old", "new", "x", "y", "z", "here", "sent")
"""Environments, of which any may be pooled with any other unless a test says otherwise."""


def row(loss: str, seed: int, environment: str, started: float = 0.0, **more: Any) -> dict[str, Any]:
    where = {"dataset": "digits", "backbone": "resnet8", "environment": environment, "started": started, POOLS: ALL}
    return {"loss": loss, "seed": seed, "state": "finished", **where, **more}


def found(mine: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> list[tuple[int, str]]:
    pairs = list(zip(*met(mine, theirs), strict=True))
    assert all(own["seed"] == other["seed"] for own, other in pairs)
    assert all(own["environment"] == other["environment"] for own, other in pairs)
    return [(own["seed"], own["environment"]) for own, _ in pairs]


def test_of_blocks_with_as_many_losses_that_with_most_rows_of_the_setting_counts_and_then_the_older() -> None:
    many = [row(loss, seed, "x", 9.0) for loss in "ab" for seed in range(3)]
    few = [row(loss, 2, "new", 1.0) for loss in "ab"]
    assert {(each["seed"], each["environment"]) for each in together([*few, *many])} == {(0, "x"), (1, "x"), (2, "x")}
    older = [row(loss, 2, "z", 1.0) for loss in "ab"]
    later = [row(loss, 2, "new", 2.0) for loss in "ab"]
    assert {each["environment"] for each in together([*later, *older])} == {"z"}


def test_a_pair_is_of_one_environment() -> None:
    mine = [row("b", 0, "old"), row("b", 1, "new")]
    theirs = [row("a", 0, "old"), row("a", 1, "old")]
    assert found(mine, theirs) == [(0, "old")]
    assert unpaired(mine, theirs) == 1


def test_a_replica_makes_the_pair_that_the_cell_does_not() -> None:
    theirs = [row("a", 0, "old"), row("a", 0, "new")]
    assert found([row("b", 0, "new")], theirs) == [(0, "new")]
    assert unpaired([row("b", 0, "new")], theirs) == 0


def test_of_several_blocks_that_with_most_pairs_counts() -> None:
    mine = [row("b", 0, "old"), row("b", 0, "new", 9), row("b", 1, "new", 9)]
    theirs = [row("a", 0, "old"), row("a", 0, "new", 9), row("a", 1, "new", 9)]
    assert found(mine, theirs) == [(0, "new"), (1, "new")]


def test_of_equally_full_blocks_the_older_counts() -> None:
    for older, newer in (("x", "y"), ("y", "x")):
        mine = [row("b", 0, newer, 5), row("b", 0, older, 4)]
        theirs = [row("a", 0, newer, 5), row("a", 0, older, 6)]
        assert found(mine, theirs) == [(0, older)]


@pytest.mark.parametrize(
    ("licensed", "seeds"),
    [({}, [0, 1, 2]), ({"here": ["there"]}, [0, 1, 2, 3, 4]), ({"there": ["here"]}, [0, 1, 2, 3, 4])],
)
def test_blocks_that_nothing_allows_to_pool_do_not_mix_over_seeds(
    licensed: Mapping[str, Sequence[str]], seeds: Sequence[int]
) -> None:
    """All cells of one loss are here, all of the other there, and replicas on both sides bring the pairs together."""

    def rows(loss: str, own: str, again: str, seeds: Collection[int]) -> list[dict[str, Any]]:
        cells = [row(loss, seed, own, pools=licensed.get(own, ())) for seed in range(5)]
        return [*cells, *(row(loss, seed, again, pools=licensed.get(again, ())) for seed in seeds)]

    mine = rows("b", "here", "there", {3, 4})
    theirs = rows("a", "there", "here", {0, 1, 2})
    assert [seed for seed, _ in found(mine, theirs)] == seeds
    assert unpaired(mine, theirs) == 5 - len(seeds)
    assert {each["seed"] for each in together([*mine, *theirs])} <= set(range(5))
    blocks = {each["environment"] for each in together([*mine, *theirs])}
    assert len(blocks) == 1 or licensed


def test_a_block_with_unverified_rows_comes_last() -> None:
    foreign: dict[str, Any] = {"origin": "unverified"}
    mine = [row("b", 0, "here", 9), row("b", 0, "sent", **foreign), row("b", 1, "sent", **foreign)]
    theirs = [row("a", 0, "here", 9), row("a", 0, "sent", **foreign), row("a", 1, "sent")]
    assert found(mine, theirs) == [(0, "here"), (1, "sent")]


def test_cells_without_an_environment_are_of_one_block() -> None:
    rows = [{name: value for name, value in row(loss, 0, "").items() if name != "environment"} for loss in "ab"]
    assert len(met(rows[:1], rows[1:])[0]) == 1


blocks_of_rows = st.lists(st.tuples(st.integers(0, 4), st.sampled_from("xyz"), st.integers(0, 9)), max_size=12)


@given(blocks_of_rows, blocks_of_rows)
def test_every_seed_with_a_common_block_pairs_once_whatever_the_order(mine: Any, theirs: Any) -> None:
    challenger, baseline = ([row(loss, *each) for each in rows] for loss, rows in (("b", mine), ("a", theirs)))
    common = {seed for seed, block, _ in mine if any(each[:2] == (seed, block) for each in theirs)}
    assert [seed for seed, _ in found(challenger, baseline)] == sorted(common)
    swapped = met(baseline, challenger)
    assert found(challenger, baseline) == [(each["seed"], each["environment"]) for each in swapped[0]]


@given(blocks_of_rows, blocks_of_rows)
def test_what_cells_came_to_does_not_choose_their_block(mine: Any, theirs: Any) -> None:
    challenger, baseline = ([row(loss, *each) for each in rows] for loss, rows in (("b", mine), ("a", theirs)))
    lost = [{**each, "state": "diverged"} for each in challenger]
    assert found(challenger, baseline) == found(lost, baseline)


def test_all_losses_of_a_seed_are_of_the_block_that_has_most_of_them() -> None:
    rows = [row("a", 0, "old"), row("b", 0, "old"), row("c", 0, "new", 9), row("a", 0, "new", 9), row("b", 0, "new", 9)]
    assert {(each["loss"], each["environment"]) for each in together(rows)} == {
        ("a", "new"),
        ("b", "new"),
        ("c", "new"),
    }


def test_a_loss_that_is_not_in_the_seeds_block_has_no_row_there() -> None:
    rows = [row("a", 0, "old"), row("b", 0, "old"), row("c", 0, "new")]
    assert {each["loss"] for each in together(rows)} == {"a", "b"}


# Replicas


def asked(*losses: str, seeds: int = 1, claims: Sequence[Mapping[str, Any]] = ()) -> Experiment:
    entries = [{"name": "bce_unified", "as": label, "bias_init": number} for number, label in enumerate(losses)]
    axes = {"losses": entries, "backbones": ["resnet8"], "datasets": ["digits"], "seeds": seeds}
    return Experiment.model_validate({"name": "x", **axes, "baseline": losses[0], "claims": claims})


def owed(experiment: Experiment, there: Mapping[str, Collection[str]], *can: str) -> set[str]:
    """The replicas, as `LOSS@ENVIRONMENT`, where the losses' cells of every seed are in these environments."""
    cells = plan(experiment).cells
    blocks = {cell.id: there[cell.loss] for cell in cells if cell.loss in there}
    names = [f"{cell.loss}@{cell.environment}" for cell in replicas(experiment, cells, blocks, lambda _: can)]
    assert len(names) == len(set(names)) * len(experiment.seeds)
    return set(names)


def test_one_environment_needs_no_replica() -> None:
    assert not owed(asked("a", "b", "c", seeds=3), {"a": ["x"], "b": ["x"], "c": ["x"]}, "x", "y")


def test_a_loss_beside_old_ones_takes_a_replica_of_the_baseline_alone() -> None:
    assert owed(asked("a", "b", "c", seeds=3), {"a": ["old"], "b": ["old"], "c": ["new"]}, "new") == {"a@new"}


def test_several_losses_share_the_baselines_replica() -> None:
    assert owed(asked("a", "b", "c", "d"), {"a": ["old"], "b": ["old"], "c": ["new"], "d": ["new"]}, "new") == {"a@new"}


def test_a_baseline_beside_old_losses_goes_where_they_are_if_that_can_be_had() -> None:
    there = {"a": ["new"], "b": ["old"], "c": ["old"]}
    assert owed(asked("a", "b", "c"), there, "new", "old") == {"a@old"}
    assert owed(asked("a", "b", "c"), there, "new") == {"b@new", "c@new"}


def test_two_that_cannot_be_had_again_meet_in_a_third() -> None:
    assert owed(asked("a", "b", "c"), {"a": ["gone"], "b": ["sent"], "c": ["sent"]}, "here") == {
        "a@here",
        "b@here",
        "c@here",
    }


def test_the_pair_of_a_claim_counts_as_well() -> None:
    claim = {"id": "x", "metric": "uniform_accuracy", "challenger": "c", "baseline": "b", "direction": "higher"}
    there = {"a": ["old", "new"], "b": ["old"], "c": ["new"]}
    assert not owed(asked("a", "b", "c"), there, "new")
    assert owed(asked("a", "b", "c", claims=[claim]), there, "new") == {"b@new"}


def test_what_has_a_replica_takes_no_second_one() -> None:
    assert not owed(asked("a", "b"), {"a": ["old", "new"], "b": ["new"]}, "new")


def test_what_is_not_done_takes_no_replica() -> None:
    assert not owed(asked("a", "b"), {"a": ["old"]}, "new")


def test_where_nothing_can_be_had_nothing_is_asked_for() -> None:
    assert not owed(asked("a", "b"), {"a": ["old"], "b": ["new"]})


def test_a_replica_has_the_cells_recipe_and_a_name_of_its_own() -> None:
    (cell,) = plan(asked("a")).cells
    copy = cell.again_in("0a1b2c3d")
    assert (copy.id, copy.environment) == (f"{cell.id}@0a1b2c3d", "0a1b2c3d")
    assert copy.name == f"{cell.name}@0a1b2c3d"
    assert replace(copy, id=cell.id) == cell
    assert cell.environment is None
    assert copy.again_in("ffffffff").id == f"{cell.id}@ffffffff"


@pytest.mark.parametrize("losses", [2, 4])
def test_replicas_leave_nothing_apart(losses: int) -> None:
    experiment = asked(*"abcd"[:losses], seeds=2)
    cells: tuple[Cell, ...] = plan(experiment).cells
    blocks = {cell.id: {f"e{index % 3}"} for index, cell in enumerate(cells)}
    for again in replicas(experiment, cells, blocks, lambda _: ["e0"]):
        blocks[again.id.partition("@")[0]].add(again.environment or "")
    assert not replicas(experiment, cells, blocks, lambda _: ["e0"])
