"""Divide images in two, about the same share of each class, and never what belongs together."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Sequence

    import numpy as np
    from numpy.typing import NDArray


def divided(
    labels: NDArray[np.int64], groups: Sequence[str], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows to train on and those to test on, each ascending.

    Args:
        labels: The class of each image (n,).
        groups: What each image belongs to, n in all.
        share: Of the images of each class, to test on.
        seed: Another one tests on other groups.
    """
    import numpy as np

    place = {group: rank for rank, group in enumerate(order(set(groups), seed))}
    rows = np.argsort([place[group] for group in groups], kind="stable")
    chosen = part(labels[rows].tolist(), [groups[row] for row in rows.tolist()], share)
    test = np.sort(rows[chosen])
    return np.setdiff1d(np.arange(len(labels)), test), test


def part(labels: Sequence[int], groups: Sequence[Hashable], share: float) -> list[int]:
    """Places, ascending, of about a share of each class, made of whole groups.

    Groups are taken in the order in which they first occur, each if it brings the classes closer to their share. Every
    class keeps a group on both sides, if it has two or more that may go; a class whose images are all in one group has
    none in the part.

    Args:
        labels: The class of each image, n in all.
        groups: What each image belongs to, n in all.
        share: Of the images of each class, in (0, 1).
    """
    taking = _Taking(labels, groups, share)
    for group in taking.content:
        if taking.may_go(group) and taking.gain(group) > 0:
            taking.take(group)
    for label in dict.fromkeys(labels):
        able = [] if label in taking.covered else taking.able(label)
        if able:
            taking.take(max(able, key=taking.gain))
    return [place for place, group in enumerate(groups) if group in taking.taken]


class _Taking:
    """Which groups are taken so far, and how many images each class lacks."""

    def __init__(self, labels: Sequence[int], groups: Sequence[Hashable], share: float) -> None:
        self.content: dict[Hashable, Counter[int]] = defaultdict(Counter)
        for label, group in zip(labels, groups, strict=True):
            self.content[group][label] += 1
        sizes = Counter(labels)
        self.lacking = {label: min(max(1, round(share * size)), size - 1) for label, size in sizes.items()}
        self.left = Counter(label for counts in self.content.values() for label in counts)
        self.taken: set[Hashable] = set()
        self.covered: set[int] = set()

    def gain(self, group: Hashable) -> int:
        """By how many images a group would bring its classes closer to their share."""
        counts = self.content[group].items()
        return sum(abs(self.lacking[label]) - abs(self.lacking[label] - count) for label, count in counts)

    def may_go(self, group: Hashable) -> bool:
        """Whether each of its classes has another group left."""
        return group not in self.taken and all(self.left[label] > 1 for label in self.content[group])

    def able(self, label: int) -> list[Hashable]:
        """The groups with images of a class that may go."""
        return [group for group, counts in self.content.items() if label in counts and self.may_go(group)]

    def take(self, group: Hashable) -> None:
        self.taken.add(group)
        for label, count in self.content[group].items():
            self.lacking[label] -= count
            self.left[label] -= 1
            self.covered.add(label)


def order(keys: Collection[str], seed: int) -> list[str]:
    """Keys in an order that depends on a seed and on nothing else; an added key moves no other before or after one."""
    return sorted(keys, key=lambda key: hashlib.sha256(f"{seed} {key}".encode(errors="surrogateescape")).digest())


def numbered(groups: Sequence[str]) -> NDArray[np.int64] | None:
    """The groups as numbers from 0, in the order of their names (n,); None where each image is one of its own."""
    import numpy as np

    number = {group: place for place, group in enumerate(sorted(set(groups)))}
    return np.array([number[group] for group in groups], np.int64) if len(number) < len(groups) else None


def merged(groups: Sequence[str], digests: Sequence[str]) -> list[str]:
    """The groups, where those that share an image are one, called by the first of their names.

    Args:
        groups: What each image belongs to.
        digests: Of the content of each image.
    """
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    first: dict[str, str] = {}
    for group, digest in zip(groups, digests, strict=True):
        one, other = sorted((root(group), root(first.setdefault(digest, group))))
        parent[other] = one
    return [root(group) for group in groups]
