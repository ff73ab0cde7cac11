"""Every measure in the catalogue of measures, through the same situations."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from trainers.evaluation import Evaluation
from trainers.metrics import MEASURES, Observed, measure
from trainers.metrics.collapse import Moments
from trainers.metrics.features import Geometry

K = 5
N = 1000
D = 8
T = 1.7
BOUNDED = [
    name
    for name in MEASURES
    if ("accuracy" in name or name.startswith(("open_", "true_accept", "unknown_", "verification_", "calibration_")))
]
LEVEL = {"unified_threshold", "threshold_low", "threshold_high", "validation_threshold", "learned_bias"}
"""Measures that are themselves scores, and move with them."""


def _evaluation(draw: np.random.Generator, samples: int = N, shift: float = 0.0) -> Evaluation:
    label = np.sort(draw.integers(0, K, samples))
    scores = draw.normal(size=(samples, K)) + shift
    scores[np.arange(samples), label] += 2
    others = scores.copy()
    first = scores.argmax(axis=1)
    others[np.arange(samples), label] = -np.inf
    below = np.where(np.arange(K) == first[:, None], -np.inf, scores)
    return Evaluation(
        sample=np.arange(samples, dtype=np.int32),
        label=label.astype(np.int32),
        prediction=scores.argmax(axis=1).astype(np.int32),
        positive=scores[np.arange(samples), label].astype(np.float32),
        rival=others.max(axis=1).astype(np.float32),
        logsumexp=np.logaddexp.reduce(scores, axis=1).astype(np.float32),
        logsumexp_tuned=np.logaddexp.reduce(scores / T, axis=1).astype(np.float32),
        log_odds=scores.max(axis=1) - np.logaddexp.reduce(below, axis=1),
        log_odds_tuned=scores.max(axis=1) / T - np.logaddexp.reduce(below / T, axis=1),
        scores=scores.astype(np.float32),
    )


@cache
def _measured(seed: int, shift: float = 0.0) -> dict[str, float | None]:
    return measure(_observed(seed, shift))


def _observed(seed: int = 0, shift: float = 0.0) -> Observed:
    draw = np.random.default_rng(seed)
    test = _evaluation(draw, shift=shift)
    features = draw.normal(size=(N, D)) + 3 * np.eye(K, D)[test.label]
    geometry = Geometry(K, D)
    geometry.add(features, test.label.astype(np.int64))
    trained = Moments(K, D)
    own = np.repeat(np.arange(K), [150, 60, 30, 15, 7])
    trained.add(draw.normal(size=(len(own), D)) + 3 * np.eye(K, D)[own], own)
    genuine = np.arange(20_400) < 400
    who = draw.integers(0, 30, (len(genuine), 2))
    who[:, 1] = np.where(genuine, who[:, 0], (who[:, 0] + 1 + who[:, 1] % 29) % 30)
    return Observed(
        test=test,
        learned_bias=[level + shift for level in (0.5, 0.2, 0.4, 0.6, 0.8)],
        bias=[level + shift for level in (0.5, 0.2, 0.4, 0.6, 0.8)],
        sigmoid=True,
        validation=_evaluation(draw, 100, shift),
        temperature=T,
        geometry=geometry,
        trained=trained,
        training_accuracy=0.9,
        weight=draw.normal(size=(K, D)),
        unknown=_evaluation(draw, 80, shift - 1),
        similarity=draw.normal(size=len(genuine)) + genuine,
        genuine=genuine,
        identities=who,
        fold=np.arange(len(genuine)) % 10,
        shifted={"fog-1": _evaluation(draw, shift=shift), "fog-5": _evaluation(draw, shift=shift)},
    )


@pytest.fixture(scope="module")
def everything() -> dict[str, float | None]:
    return measure(_observed())


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_is_documented_and_exists_where_all_is_observed(
    name: str, everything: dict[str, float | None]
) -> None:
    assert len(MEASURES[name]) > 20
    value = everything[name]
    assert value is not None
    assert math.isfinite(value)


@pytest.mark.parametrize("name", BOUNDED)
def test_every_share_lies_between_0_and_1(name: str, everything: dict[str, float | None]) -> None:
    value = everything[name]
    assert value is not None
    assert 0 <= value <= 1


@pytest.mark.parametrize("name", [name for name in MEASURES if name not in LEVEL])
def test_no_measure_but_a_level_moves_when_all_scores_move_alike(name: str) -> None:
    # Fact 3 of the science: adding a constant to every score, and to the bias, changes only where thresholds lie.
    here = _measured(1)[name]
    there = _measured(1, shift=4.0)[name]
    assert here == pytest.approx(there, abs=1e-4)


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_of_a_hopeless_model_is_a_number_or_absent(name: str) -> None:
    zeros = np.zeros(3, np.float32)
    lost = Evaluation(*(np.arange(3, dtype=np.int32) for _ in range(3)), zeros, zeros + 1, zeros + 2, zeros + 2)
    value = measure(
        Observed(
            lost,
            [0.0],
            [0.0],
            sigmoid=True,
            validation=lost,
            temperature=1.0,
            geometry=Geometry(3, 2),
            trained=Moments(3, 2),
            weight=np.zeros((3, 2)),
            unknown=lost,
        )
    )[name]
    assert value is None or math.isfinite(value)
