"""What thresholds do to samples, against a rule written out sample by sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.experiment.operation import Operation
from orchestrator.thresholds.consequences import Samples, Use, consequences

UNHURRIED = settings(deadline=None)
NAMES = ["bolt", "nut", "dented", "scratched"]


def samples(scores: Sequence[Sequence[float]], label: Sequence[int], unit: list[int] | None = None) -> Samples:
    """Samples with the scores of all classes (n, K)."""
    table = np.array(scores, float)
    truth = np.array(label, np.int32)
    ordered = np.sort(table, axis=1)
    rivals = table.copy()
    rivals[np.arange(truth.size), truth] = -np.inf
    return Samples(
        truth,
        table.argmax(1).astype(np.int32),
        ordered[:, -1],
        ordered[:, -2],
        table[np.arange(truth.size), truth],
        rivals.max(1),
        None if unit is None else np.array(unit),
    )


def use(names: list[str] = NAMES, **fields: Any) -> Use:
    return Use.of(Operation.model_validate(fields), names)


SCORES = [
    [3.0, 0.0, 0.0, 0.0],  # a bolt, seen as one
    [0.0, 0.0, 3.0, 0.0],  # a nut, seen as dented
    [3.0, 0.0, 2.5, 0.0],  # dented, seen as a bolt, and as dented too at a low threshold
    [0.0, 0.0, 0.0, 0.5],  # scratched, hardly seen
]
LABELS = [0, 1, 2, 3]


class TestGoodAndDefects:
    def test_exactly_one_class_above_the_threshold_decides_and_a_person_looks_at_the_rest(self) -> None:
        found = consequences(
            samples(SCORES, LABELS), use(good=["bolt", "nut"], review=0.5), np.array([0.25, 1.0, 2.75])
        )
        assert found.units.tolist() == [1, 1, 1, 1]
        assert found.false_accept.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]]
        assert found.false_reject.tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0], [0, 0, 0]]
        assert found.review.tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 0], [0, 1, 1]]

    def test_where_nobody_looks_all_others_are_rejected(self) -> None:
        scores = [[3.0, 2.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [3.0, 0.0, 2.0, 0.0]]
        found = consequences(samples(scores, [0, 1, 2]), use(good=["bolt", "nut"]), np.array([1.0, 2.5]))
        assert found.false_reject[0].tolist() == [1, 0]  # two classes above 1
        assert found.false_reject[1].tolist() == [0, 1]  # none above 2.5
        assert found.false_accept[2].tolist() == [0, 1]
        assert not found.review.any()

    def test_one_good_class_taken_for_another_is_no_error(self) -> None:
        found = consequences(samples([[0.0, 3.0, 0.0, 0.0]], [0]), use(good=["bolt", "nut"]), np.array([1.0]))
        assert found.costs().tolist() == [0.0]

    def test_a_score_at_the_threshold_is_not_above_it(self) -> None:
        at = np.array([1.0])
        chosen = use(good=["bolt", "nut"], review=0.5)
        assert consequences(samples([[1.0, 0.0, 0.0, 0.0]], [2]), chosen, at).review[2].tolist() == [1]
        assert consequences(samples([[2.0, 1.0, 0.0, 0.0]], [2]), chosen, at).review[2].tolist() == [1]


class TestStatedClasses:
    def test_any_wrong_class_above_is_a_false_accept_and_the_true_one_below_a_false_reject(self) -> None:
        found = consequences(samples([[3.0, 2.0, 0.0, 0.0]], [1]), use(), np.array([-1.0, 1.0, 2.5, 4.0]))
        assert found.false_accept[1].tolist() == [1, 1, 1, 0]
        assert found.false_reject[1].tolist() == [0, 0, 1, 1]
        assert found.both[1].tolist() == [0, 0, 1, 0]
        assert found.costs().tolist() == [1, 1, 2, 1]

    @UNHURRIED
    @given(st.integers(0, 2**32 - 1), st.floats(-2, 2))
    def test_with_prices_of_one_images_without_an_error_are_those_that_are_uniformly_right(
        self, seed: int, threshold: float
    ) -> None:
        rng = np.random.default_rng(seed)
        scores = rng.normal(size=(30, 4))
        label = rng.integers(0, 4, 30)
        found = consequences(samples(scores.tolist(), label.tolist()), use(), np.array([threshold]))
        right = sum(
            scores[i, label[i]] > threshold and all(scores[i, k] < threshold for k in range(4) if k != label[i])
            for i in range(30)
        )
        wrong = found.false_accept.sum() + found.false_reject.sum() - found.both.sum()
        assert 30 - wrong == right

    @pytest.mark.parametrize("side", ["positive", "rival"])
    def test_a_score_that_is_not_a_number_is_an_error_at_every_threshold(self, side: str) -> None:
        told = samples([[3.0, 0.0, 0.0, 0.0]], [0])._replace(**{side: np.array([math.nan])})
        found = consequences(told, use(), np.array([-100.0, 1.0, 100.0]))
        counts = found.false_reject if side == "positive" else found.false_accept
        assert counts[0].tolist() == [1, 1, 1]


class TestParts:
    def test_a_part_errs_where_one_of_its_images_does_and_counts_once(self) -> None:
        scores = [[3.0, 0, 0, 0], [0, 0, 3.0, 0], [3.0, 0, 0, 0], [0, 0, 0, 0]]
        found = consequences(
            samples(scores, [0, 0, 2, 0], [7, 7, 8, 9]), use(good=["bolt", "nut"], review=0.5), np.array([1.0])
        )
        assert found.units.tolist() == [2, 0, 1, 0]
        assert found.false_reject[0].tolist() == [1]
        assert found.false_accept[2].tolist() == [1]
        assert found.review[0].tolist() == [1]

    def test_a_part_that_is_rejected_by_one_image_is_not_reviewed_for_another(self) -> None:
        scores = [[0, 0, 3.0, 0], [0.0, 0, 0, 0]]
        found = consequences(samples(scores, [0, 0], [1, 1]), use(good=["bolt", "nut"], review=0.5), np.array([1.0]))
        assert (found.false_reject.sum(), found.review.sum()) == (1, 0)


class TestRates:
    def test_false_accepts_are_per_defect_and_false_rejects_per_good_part(self) -> None:
        found = consequences(samples(SCORES, LABELS), use(good=["bolt", "nut"], review=0.5), np.array([2.75]))
        accepted, rejected, reviewed = (
            found.rate(name, 0) for name in ("false_accept_rate", "false_reject_rate", "review_share")
        )
        assert accepted is not None
        assert rejected is not None
        assert reviewed is not None
        assert (accepted.errors, accepted.n) == (1, 2)
        assert (rejected.errors, rejected.n) == (1, 2)
        assert (reviewed.errors, reviewed.n) == (1, 4)

    def test_without_defects_among_the_images_there_is_no_rate_of_false_accepts(self) -> None:
        found = consequences(samples(SCORES[:2], [0, 1]), use(good=["bolt", "nut"]), np.array([1.0]))
        assert found.rate("false_accept_rate", 0) is None
        assert found.rate("review_share", 0) is None

    def test_expected_shares_reweight_rates_and_costs(self) -> None:
        """Of 10 bolts 1 is rejected, of 5 nuts 2, of 4 dented parts 1 is accepted; in production 1 % are dented."""
        good = [3.0, 0, 0, 0]
        bad = [0, 0, 3.0, 0]
        scores = [bad] + [good] * 9 + [bad] * 2 + [good] * 3 + [good] + [bad] * 3
        label = [0] * 10 + [1] * 5 + [2] * 4
        prices = {"false_accept": 100, "false_reject": 2}
        at = np.array([1.0])
        chosen = use(good=["bolt", "nut"], shares={"dented": 0.01, "scratched": 0}, prices=prices)
        found = consequences(samples(scores, label), chosen, at)
        assert found.shares.tolist() == pytest.approx([0.99 * 10 / 15, 0.99 * 5 / 15, 0.01, 0])
        expected = 0.99 * 10 / 15 * 2 * 1 / 10 + 0.99 * 5 / 15 * 2 * 2 / 5 + 0.01 * 100 * 1 / 4
        assert found.costs().tolist() == pytest.approx([expected])
        rejected = found.rate("false_reject_rate", 0)
        assert rejected is not None
        assert rejected.strata == [(1.0, 3, 15)]  # bolts and nuts are as in the test images, and count together
        assert [stratum.n for stratum in found.strata(0)] == [4, 15]
        assert sum(stratum.weight for stratum in found.strata(0)) == pytest.approx(1)

    def test_classes_with_shares_of_their_own_have_bounds_of_their_own(self) -> None:
        scores = [[3.0, 0, 0, 0]] * 6
        found = consequences(
            samples(scores, [0, 0, 2, 2, 3, 3]),
            use(good=["bolt", "nut"], shares={"dented": 0.03, "scratched": 0.01}),
            np.array([1.0]),
        )
        rate = found.rate("false_accept_rate", 0)
        assert rate is not None
        assert [(round(weight, 6), errors, n) for weight, errors, n in rate.strata] == [(0.75, 2, 2), (0.25, 2, 2)]

    def test_the_share_of_defects_reweights_them_as_a_whole(self) -> None:
        good = [3.0, 0, 0, 0]
        bad = [0, 0, 3.0, 0]
        scores = [good, good, good, bad, good, bad, bad, bad, bad]
        label = [0, 0, 1, 1, 2, 2, 2, 3, 3]
        chosen = use(good=["bolt", "nut"], defects=0.01, prices={"false_accept": 100, "false_reject": 2})
        found = consequences(samples(scores, label), chosen, np.array([1.0]))
        assert found.shares.tolist() == pytest.approx([0.99 / 2, 0.99 / 2, 0.01 * 3 / 5, 0.01 * 2 / 5])
        assert found.costs().tolist() == pytest.approx([0.99 * 2 * 1 / 4 + 0.01 * 100 * 1 / 5])
        accepted = found.rate("false_accept_rate", 0)
        assert accepted is not None
        assert accepted.strata == [(1.0, 1, 5)]
        assert [(round(stratum.weight, 9), stratum.n) for stratum in found.strata(0)] == [(0.99, 4), (0.01, 5)]

    def test_a_class_expected_in_production_and_never_tested_leaves_the_cost_unknown(self) -> None:
        found = consequences(
            samples(SCORES[:2], [0, 1]), use(good=["bolt", "nut"], shares={"dented": 0.1}), np.array([1.0])
        )
        assert math.isnan(found.costs()[0])


class TestNames:
    def test_classes_are_meant_by_name_or_number(self) -> None:
        by_name = use(good=["bolt", "nut"]).good
        by_number = use(good=[0, 1]).good
        assert by_name is not None
        assert by_number is not None
        assert by_name.tolist() == by_number.tolist() == [True, True, False, False]

    def test_a_name_that_looks_like_a_number_is_a_name_first_if_written_as_text(self) -> None:
        found = use(["7", "8", "9"], good=["8"]).good
        assert found is not None
        assert found.tolist() == [False, True, False]

    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({"good": ["blot"]}, "no class 'blot'. Known: bolt, nut, dented, scratched"),
            ({"good": [4]}, "no class '4'"),
            ({"good": NAMES}, "nothing to reject"),
            ({"good": ["bolt"], "shares": {"rusty": 0.1}}, "no class 'rusty'"),
        ],
    )
    def test_what_cannot_be_meant_is_said(self, fields: dict[str, Any], told: str) -> None:
        with pytest.raises(ValueError, match=told):
            use(**fields)
