"""Images are divided by class, and what belongs together stays together."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainers.datasets.grouped import divided, merged, numbered, order, part


def test_images_that_belong_to_nothing_are_divided_exactly() -> None:
    labels = [0] * 10 + [1] * 25 + [2] * 2
    chosen = part(labels, list(range(37)), 0.2)
    assert Counter(labels[place] for place in chosen) == {0: 2, 1: 5, 2: 1}
    assert chosen == sorted(chosen)


def test_the_first_images_are_taken() -> None:
    assert part([0, 0, 0, 0, 1, 1, 1, 1], list("abcdefgh"), 0.5) == [0, 1, 4, 5]


def test_a_group_that_overshoots_by_more_than_it_helps_is_passed_over() -> None:
    # Of ten images two are wanted: the group of seven would leave 5 too many, the group of two fits.
    assert part([0] * 10, ["seven"] * 7 + ["two"] * 2 + ["one"], 0.2) == [7, 8]


def test_a_class_without_a_fitting_group_gives_its_best_one() -> None:
    # Of each class one image is wanted, and all groups are larger than twice that.
    labels = [0] * 7
    assert part(labels, list("aaaabbb"), 0.1) == [4, 5, 6]


def test_a_class_of_one_group_stays_whole() -> None:
    assert part([0, 0, 0, 1, 1], ["one", "one", "one", "b", "c"], 0.4) == [3]


def test_a_group_of_two_classes_takes_neither_class_away() -> None:
    # 'both' has all images of class 1, so it has to stay, whatever class 0 would gain.
    assert part([0, 1, 0, 0], ["both", "both", "x", "y"], 0.3) == [2]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=60),
    st.sampled_from([0.1, 0.3, 0.5, 0.9]),
)
def test_no_group_is_on_both_sides_and_no_class_vanishes(images: list[tuple[int, int]], share: float) -> None:
    labels = [label for label, _ in images]
    groups = [group for _, group in images]
    chosen = set(part(labels, groups, share))
    rest = set(range(len(images))) - chosen
    assert not {groups[place] for place in chosen} & {groups[place] for place in rest}
    assert {labels[place] for place in rest} == set(labels)


def test_the_order_depends_on_the_seed_alone_and_added_keys_change_no_pair() -> None:
    few = order(["a", "b", "c", "d"], 0)
    more = order(["e", "d", "c", "f", "b", "a"], 0)
    assert [key for key in more if key in few] == few
    assert {tuple(order(["a", "b", "c", "d"], seed)) for seed in range(9)} != {tuple(few)}


def test_both_sides_hold_all_images_between_them() -> None:
    labels = np.array([0, 1] * 20)
    train, test = divided(labels, [f"image {place}" for place in range(40)], 0.25, 0)
    assert sorted([*train, *test]) == list(range(40))
    assert np.bincount(labels[test]).tolist() == [5, 5]
    again, other = (divided(labels, [f"image {place}" for place in range(40)], 0.25, seed)[1] for seed in (0, 1))
    assert again.tolist() == test.tolist() != other.tolist()


def test_groups_that_share_an_image_are_one() -> None:
    assert merged(["a", "b", "c", "d", "e"], ["1", "2", "1", "3", "3"]) == ["a", "b", "a", "d", "d"]
    assert merged(["x", "y", "y", "z"], ["1", "1", "2", "2"]) == ["x", "x", "x", "x"]


def test_groups_of_one_image_each_need_no_numbers() -> None:
    assert numbered(["b", "a", "c"]) is None
    found = numbered(["b", "a", "b"])
    assert found is not None
    assert found.tolist() == [1, 0, 1]
