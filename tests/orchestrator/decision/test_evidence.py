"""What a promise can rest on is known from labels, before anything is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orchestrator.decision.evidence import Evidence, evidence
from orchestrator.errors import RequestError
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import plan
from orchestrator.report.wording.decision import provable
from trainers.datasets import Labels

LIMITS = {"false_accept_rate": 0.05, "false_reject_rate": 0.01}


def known(small: dict[str, Any], operation: dict[str, Any], labels: Labels | None) -> list[Evidence]:
    planned = plan(Experiment.model_validate({**small, "operation": operation}))
    return evidence(planned, lambda _: labels)


def drawn(*counts: int, **more: Any) -> Labels:
    label = np.repeat(np.arange(len(counts)), counts)
    return Labels(label, label, len(counts), names=("nut", "bolt", "dent")[: len(counts)], **more)


def test_defects_and_good_parts_are_counted_against_what_their_limits_take(small: dict[str, Any]) -> None:
    found = known(small, {"good": ["nut", "bolt"], "limits": LIMITS}, drawn(200, 168, 71))
    accept, reject = found
    assert (accept.units, accept.needed, accept.suffices) == (71, 72, False)
    assert (reject.units, reject.needed, reject.suffices) == (368, 368, True)
    assert (
        provable(accept) == "false_accept_rate of at most 5 %: 71 defects are tested, and 72 without an error show it."
    )


def test_of_images_kept_apart_only_these_count(small: dict[str, Any]) -> None:
    operation = {"good": ["nut", "bolt"], "limits": LIMITS, "certify": 0.5}
    accept, reject = known(small, operation, drawn(400, 400, 144))
    assert (accept.units, reject.units) == (72, 400)
    assert accept.suffices
    assert reject.suffices
    assert "400 good parts are kept apart" in provable(reject)


def test_groups_are_the_units(small: dict[str, Any]) -> None:
    labels = drawn(200, 168, 72, test_groups=np.arange(440) // 2)
    accept, reject = known(small, {"good": ["nut", "bolt"], "limits": LIMITS}, labels)
    assert (accept.units, reject.units) == (36, 184)


def test_classes_with_shares_of_their_own_need_images_each(small: dict[str, Any]) -> None:
    operation = {"good": ["nut", "bolt"], "limits": {"false_reject_rate": 0.02}, "shares": {"nut": 0.9, "bolt": 0.05}}
    (few,) = known(small, operation, drawn(400, 5, 20))
    assert (few.needed, few.suffices) == (None, False)
    assert "too few" in provable(few)
    (enough,) = known(small, operation, drawn(400, 400, 20))
    assert enough.suffices


@pytest.mark.parametrize("operation", [{}, {"good": ["nut"]}])
def test_without_a_limit_nothing_is_asked(small: dict[str, Any], operation: dict[str, Any]) -> None:
    assert known(small, operation, drawn(20, 20)) == []


def test_without_labels_nothing_is_said(small: dict[str, Any]) -> None:
    assert known(small, {"limits": LIMITS}, None) == []


def test_a_class_that_there_is_not_is_said_before_anything_is_trained(small: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=r"there is no class 'screw'\. Known: nut, bolt"):
        known(small, {"good": ["screw"], "limits": LIMITS}, drawn(20, 20))
