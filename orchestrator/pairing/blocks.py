"""Blocks: a block is what one environment has trained, and differences between losses are taken only within blocks.

Losses are paired by seed, and both cells of a pair are from one block. If the cells of a seed come from different
environments, one of them is retrained in the environment of the other; the result is called a replica.
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
"""A row of the results table or of the table of replicas; without `environment`, all rows are of one block."""

Group = tuple[str, str, int]
"""Dataset, backbone and seed: the cells within which losses are compared."""

POOLS = "pools"
"""The key of a row for the environments with which it may be pooled, because anchors or the user allow it."""

Found = defaultdict[str, dict[int, Row]]
"""Rows by environment and seed."""


def is_cell(row: Row) -> bool:
    """Whether a result belongs to a cell rather than to a replica."""
    return AT not in (row.get("cell_id") or "")


def met(challenger: Iterable[Row], baseline: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The pairs of two losses in one setting.

    Pairs come from one block and those that may be pooled with it (`pools`). It is the block with the most pairs of
    these two losses; if several have as many, the oldest. Blocks with unverified imported rows come after all others.
    If several blocks have a pair of the same seed, the first in this order counts. The choice does not depend on
    results.

    Args:
        challenger: The results of one loss, cells and replicas.
        baseline: Those of the other loss.

    Returns:
        The rows of both losses, paired by position, in the order of their seeds.
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
    """The first block, and the later ones that may be pooled with it."""
    if not order:
        return []
    (first, rows), *rest = order
    allowed = {block for row in rows for block in row.get(POOLS) or ()}
    return [
        first,
        *(block for block, own in rest if block in allowed or any(first in (row.get(POOLS) or ()) for row in own)),
    ]


def together(rows: Iterable[Row]) -> list[Row]:
    """The results of all losses, reduced to one block for each setting and seed.

    The block with the most losses counts; among equals the one with the most rows in the setting, then the oldest. In
    each setting, only blocks that may be pooled with the one with the most rows are used.
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
    """The number of seeds for which both losses have results, but no pair in a block that counts."""
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


class LossPair(NamedTuple):
    """Two losses that an experiment compares in one setting."""

    dataset: str
    backbone: str
    challenger: str
    baseline: str


def comparisons(experiment: Experiment) -> Iterator[LossPair]:
    """Every loss against the baseline, and every pair of losses in a claim, in each setting."""
    axes = product(experiment.datasets, experiment.backbones)
    settings = [(dataset.label, backbone.label) for dataset, backbone in axes]
    found = [
        LossPair(*setting, loss.label, experiment.baseline)
        for setting in settings
        for loss in experiment.losses
        if loss.label != experiment.baseline
    ]
    claimed = [
        LossPair(dataset, backbone, claim.challenger, claim.baseline)
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
    """The fewest cells to retrain so that every comparison has its pair in one block.

    Args:
        experiment: The experiment.
        cells: The cells of its plan.
        blocks: The environments of done cells, by id; cells with replicas have several.
        can: Returns the environments in which a cell can be trained now, the best first.

    Returns:
        Replicas; none for pairs that cannot be trained in one environment.
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
    """Replicas of one group, chosen greedily: each completes the most pairs."""
    have = {loss: set(blocks[cell.id]) for loss, cell in done.items()}
    while apart := [pair for pair in pairs if have[pair[0]].isdisjoint(have[pair[1]])]:
        # The second loss of a pair is the baseline: its replica may serve other pairs, too, so it is offered first.
        losses = dict.fromkeys(loss for pair in apart for loss in reversed(pair))
        offers = [again for loss in losses for again in _again(done[loss], done.values(), can)]
        fresh = [again for again in offers if again.environment not in have[again.loss]]
        if not fresh:
            return
        best = max(fresh, key=lambda again: _gain(again, apart, have))
        have[best.loss].add(best.environment or "")
        yield best


def _again(cell: Cell, group: Iterable[Cell], can: Callable[[Cell], Sequence[str]]) -> Iterator[Cell]:
    """The possible replicas of a cell, with its own resources or those of another cell of its group."""
    for resources in dict.fromkeys([cell.resources, *(other.resources for other in group)]):
        like = replace(cell, resources=resources)
        yield from (like.again_in(block) for block in can(like))


def _gain(again: Cell, apart: Sequence[tuple[str, str]], have: Mapping[str, Collection[str]]) -> int:
    """The number of pairs that a replica completes."""
    pairs = [pair for pair in apart if again.loss in pair]
    return sum(again.environment in have[other] for pair in pairs for other in pair if other != again.loss)
