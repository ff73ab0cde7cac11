"""Blocks: what one environment has trained. A difference between two losses is taken within a block, or not at all.

Losses pair by seed, and a pair is of one block. Where two cells of a seed come from different environments, one is
trained again where the other was: a replica. Which cells need one follows from where the others are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import AT, Cell

Row = Mapping[str, Any]
"""Of the results table, or of the table of replicas; without a column `environment`, all rows are of one block."""

Group = tuple[str, str, int]
"""Dataset, backbone and seed: the cells that losses are compared by."""

POOLS = "pools"
"""A row's key for the environments whose rows may be pooled with it, because anchors or the user say so."""

Found = defaultdict[str, dict[int, Row]]
"""Rows by environment and seed."""


def is_cell(row: Row) -> bool:
    """Whether a result is a cell's own, and no replica's."""
    return AT not in (row.get("cell_id") or "")


def met(challenger: Iterable[Row], baseline: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The pairs of two losses in one setting.

    All pairs are of one block, and of those that may be pooled with it (`pools`): it is the block that has the most
    pairs of these two losses, and of equal ones the older; a block with imported rows that are unverified comes after
    all others. Where several of them have a pair of the same seed, the first in this order counts. What the cells came
    to has no part in this choice.

    Args:
        challenger: The results of one loss, cells and replicas.
        baseline: Those of the other.

    Returns:
        The rows of both, a pair at each place, in the order of their seeds.
    """
    mine = _found(challenger)
    theirs = _found(baseline)
    paired = {block: mine[block].keys() & theirs[block].keys() for block in mine.keys() & theirs.keys()}

    def rank(block: str) -> tuple[bool, int, float, str]:
        both = (mine[block], theirs[block])
        return _is_unverified(*both), -len(paired[block]), _began(*both), block

    order = sorted((block for block, seeds in paired.items() if seeds), key=rank)
    counted = _pooled([(block, [*mine[block].values(), *theirs[block].values()]) for block in order])
    chosen = {seed: block for block in reversed(counted) for seed in paired[block]}
    pairs = [(mine[block][seed], theirs[block][seed]) for seed, block in sorted(chosen.items())]
    return [own for own, _ in pairs], [other for _, other in pairs]


def _pooled(order: Sequence[tuple[str, Iterable[Row]]]) -> list[str]:
    """The first of some blocks, and those after it whose rows may be pooled with its own."""
    if not order:
        return []
    (first, rows), *rest = order
    allowed = {block for row in rows for block in row.get(POOLS) or ()}
    return [
        first,
        *(block for block, own in rest if block in allowed or any(first in (row.get(POOLS) or ()) for row in own)),
    ]


def together(rows: Iterable[Row]) -> list[Row]:
    """Of the results of all losses, those of one block for each setting and seed.

    It is the block with the most losses; of equal ones that with the most rows in the setting, then the older one. All
    blocks of a setting are such as may be pooled with the one that has the most rows.
    """
    settings = defaultdict[tuple[str, str], list[Row]](list)
    for row in rows:
        settings[row["dataset"], row["backbone"]].append(row)
    return [row for found in settings.values() for row in _together(found)]


def _together(rows: Sequence[Row]) -> Iterator[Row]:
    blocks = defaultdict[str, list[Row]](list)
    seeds = defaultdict[int, defaultdict[str, dict[str, Row]]](lambda: defaultdict(dict))
    for row in rows:
        blocks[_block(row)].append(row)
        seeds[row["seed"]][_block(row)].setdefault(row["loss"], row)
    order = sorted(blocks, key=lambda block: (-len(blocks[block]), min(map(_start, blocks[block])), block))
    rank = _pooled([(block, blocks[block]) for block in order])
    for every in seeds.values():
        if found := {block: rows for block, rows in every.items() if block in rank}:
            yield from found[max(found, key=lambda block: (len(found[block]), -rank.index(block)))].values()


def unpaired(challenger: Collection[Row], baseline: Collection[Row]) -> int:
    """How many seeds both losses have results of, but none in the same block, or in one that may be pooled."""
    shared = {row["seed"] for row in challenger} & {row["seed"] for row in baseline}
    return len(shared) - len(met(challenger, baseline)[0])


def _found(rows: Iterable[Row]) -> Found:
    found: Found = defaultdict(dict)
    for row in rows:
        found[_block(row)].setdefault(row["seed"], row)
    return found


def _block(row: Row) -> str:
    return row.get("environment") or ""


def _start(row: Row) -> float:
    return row.get("started") or 0.0


def _began(*losses: Mapping[int, Row]) -> float:
    return min(_start(row) for found in losses for row in found.values())


def _is_unverified(*losses: Mapping[int, Row]) -> bool:
    return any(row.get("origin") == "unverified" for found in losses for row in found.values())


class Compared(NamedTuple):
    """Two losses that an experiment compares in one setting."""

    dataset: str
    backbone: str
    challenger: str
    baseline: str


def comparisons(experiment: Experiment) -> Iterator[Compared]:
    """Every loss against the baseline, and every two that a claim is about, in each setting."""
    axes = product(experiment.datasets, experiment.backbones)
    settings = [(dataset.label, backbone.label) for dataset, backbone in axes]
    found = [
        Compared(*setting, loss.label, experiment.baseline)
        for setting in settings
        for loss in experiment.losses
        if loss.label != experiment.baseline
    ]
    claimed = [
        Compared(dataset, backbone, claim.challenger, claim.baseline)
        for dataset, backbone in settings
        for claim in experiment.claims
        if claim.baseline not in (None, claim.challenger) and claim.where.matches(claim.challenger, backbone, dataset)
    ]
    yield from dict.fromkeys([*found, *claimed])


def replicas(
    experiment: Experiment,
    cells: Iterable[Cell],
    blocks: Mapping[str, Collection[str]],
    can: Callable[[Cell], Sequence[str]],
) -> list[Cell]:
    """The cells to train again so that every comparison has its pair in one block; as few as will do.

    Args:
        experiment: What is compared.
        cells: The cells of its plan.
        blocks: The environments of the cells that are done, by id; of those with replicas, more than one each.
        can: The environments in which a cell can be trained now, the best one first.

    Returns:
        Replicas; none for pairs that no environment can bring together.
    """
    groups = defaultdict[Group, dict[str, Cell]](dict)
    for cell in cells:
        if blocks.get(cell.id):
            groups[cell.dataset, cell.backbone, cell.seed][cell.loss] = cell
    wanted = defaultdict[tuple[str, str], list[tuple[str, str]]](list)
    for dataset, backbone, challenger, baseline in comparisons(experiment):
        wanted[dataset, backbone].append((challenger, baseline))
    found = list[Cell]()
    for (dataset, backbone, _), done in groups.items():
        pairs = [pair for pair in wanted[dataset, backbone] if done.keys() >= set(pair)]
        found += _of_group(pairs, done, blocks, can)
    return found


def _of_group(
    pairs: Sequence[tuple[str, str]],
    done: Mapping[str, Cell],
    blocks: Mapping[str, Collection[str]],
    can: Callable[[Cell], Sequence[str]],
) -> Iterator[Cell]:
    """One after the other, each the one that brings the most pairs together."""
    have = {loss: set(blocks[cell.id]) for loss, cell in done.items()}
    while apart := [pair for pair in pairs if have[pair[0]].isdisjoint(have[pair[1]])]:
        # The later one of a pair is the baseline, which others may need there, too.
        losses = dict.fromkeys(loss for pair in apart for loss in reversed(pair))
        offers = [again for loss in losses for again in _again(done[loss], done.values(), can)]
        fresh = [again for again in offers if again.environment not in have[again.loss]]
        if not fresh:
            return
        best = max(fresh, key=lambda again: _gain(again, apart, have))
        have[best.loss].add(best.environment or "")
        yield best


def _again(cell: Cell, group: Iterable[Cell], can: Callable[[Cell], Sequence[str]]) -> Iterator[Cell]:
    """The replicas of a cell that are to be had, with its own resources or those of another cell of its group."""
    for resources in dict.fromkeys([cell.resources, *(other.resources for other in group)]):
        like = replace(cell, resources=resources)
        yield from (like.again_in(block) for block in can(like))


def _gain(again: Cell, apart: Sequence[tuple[str, str]], have: Mapping[str, Collection[str]]) -> int:
    """How many pairs a replica brings together."""
    pairs = [pair for pair in apart if again.loss in pair]
    return sum(again.environment in have[other] for pair in pairs for other in pair if other != again.loss)
