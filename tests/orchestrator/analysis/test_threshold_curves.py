"""Summarised curves, against brute force over the samples they summarise."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from orchestrator.analysis.threshold_curves import DECILES, Curve, Model, gather, summarise
from trainers.evaluation import Evaluation
from trainers.metrics.operating_points import cost_threshold
from trainers.metrics.uniform import accuracy_at, uniform_accuracy


def model(seed: int, samples: int = 200, classes: int = 5, bias: float | None = None, **scores: Any) -> Model:
    """Scores with ties, and what is given instead of them."""
    draw = np.random.default_rng(seed)
    rival, positive = (draw.normal(middle, 2, samples).round(1).astype(np.float32) for middle in (0, 3))
    label = draw.integers(0, classes, samples).astype(np.int32)
    columns = {"positive": positive, "rival": rival, "logsumexp": rival, "logsumexp_tuned": rival, **scores}
    return Model(seed, Evaluation(np.arange(samples, dtype=np.int32), label, label, **columns), bias)


def summary(*models: Model) -> Curve:
    curve = summarise("digits", "resnet8", "bce", models)
    assert curve is not None
    return curve


def pooled(models: list[Model]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    positive, rival, label = (
        np.concatenate([np.asarray(getattr(each.evaluation, side), np.float64) for each in models])
        for side in ("positive", "rival", "label")
    )
    return positive, rival, label


def with_nan(seed: int) -> Model:
    plain = model(seed)
    positive = plain.evaluation.positive.copy()
    rival = plain.evaluation.rival.copy()
    positive[:5] = np.nan
    rival[3:9] = np.nan
    return model(seed, positive=positive, rival=rival)


@pytest.mark.parametrize("models", [[model(0)], [model(1), model(2, bias=1.25)], [with_nan(3), model(4)]])
def test_shares_are_those_of_the_samples_at_every_kept_threshold(models: list[Model]) -> None:
    curve = summary(*models)
    positive, rival, _ = pooled(models)
    for threshold in curve.thresholds:
        shares = curve.at(threshold)
        assert shares.own == np.mean(positive > threshold)
        assert shares.rival == np.mean(~(rival < threshold))  # NaN passes
        assert shares.right == accuracy_at(threshold, positive, rival)
        nobody = (rival < threshold) & ~(positive > threshold)
        assert shares.rejected == pytest.approx(np.mean(nobody), abs=1e-12)


def test_between_kept_thresholds_no_share_is_far_off() -> None:
    models = [model(seed, 2000) for seed in range(3)]
    curve = summary(*models)
    (positive, rival, _) = pooled(models)
    for threshold in np.linspace(-8, 12, 501):
        assert curve.at(threshold).right == pytest.approx(accuracy_at(threshold, positive, rival), abs=0.02)
        assert curve.at(threshold).own == pytest.approx(np.mean(positive > threshold), abs=0.03)


def test_each_class_has_its_own_share() -> None:
    models = [model(0), with_nan(1)]
    curve = summary(*models)
    (positive, rival, label) = pooled(models)
    assert curve.classes == ("0", "1", "2", "3", "4")
    assert curve.by_class
    for threshold in curve.thresholds[::7]:
        for name, share in curve.classes_at(threshold).items():
            own = label == int(name)
            assert share == pytest.approx(accuracy_at(threshold, positive[own], rival[own]))


def test_of_many_classes_the_deciles_are_kept_worst_first() -> None:
    models = [model(0, 3000, classes=60)]
    curve = summary(*models)
    (positive, rival, label) = pooled(models)
    assert curve.classes == DECILES
    threshold = curve.best
    shares = [accuracy_at(threshold, positive[label == own], rival[label == own]) for own in range(60)]
    assert list(curve.classes_at(threshold).values()) == pytest.approx(np.quantile(shares, np.linspace(0, 1, 11)))


def test_the_best_threshold_of_all_seeds_together_is_kept() -> None:
    models = [model(seed, 500) for seed in range(4)]
    curve = summary(*models)
    (positive, rival, _) = pooled(models)
    candidates = np.unique(np.concatenate([positive, rival]))
    middles = (candidates[1:] + candidates[:-1]) / 2
    assert curve.at(curve.best).right == max(accuracy_at(middle, positive, rival) for middle in middles)


def test_each_seed_keeps_its_own_best_threshold_and_its_bias() -> None:
    models = [model(0, bias=1.5), model(1, bias=None)]
    curve = summary(*models)
    assert curve.seeds == (0, 1)
    assert curve.biases == (1.5, None)
    assert curve.optima == tuple(uniform_accuracy(each.evaluation.positive, each.evaluation.rival) for each in models)
    assert 1.5 in curve.thresholds


def test_a_loss_starts_at_the_middle_of_the_thresholds_that_validation_images_chose() -> None:
    models = [model(seed)._replace(chosen=chosen) for seed, chosen in enumerate((0.5, None, math.nan, 2.0, 1.25))]
    curve = summary(*models)
    assert (curve.deployed, curve.start) == (1.25, 1.25)
    assert 1.25 in curve.thresholds
    without = summary(model(0))
    assert (without.deployed, without.start) == (None, without.best)
    told = without.to_json()
    assert (told["deployed"], told["best"]) == (None, without.best)


def test_each_class_has_a_threshold_best_for_it_alone() -> None:
    models = [model(0, 400), model(1, 400)]
    curve = summary(*models)
    (positive, rival, label) = pooled(models)
    for name, threshold in curve.best_by_class.items():
        own = label == int(name)
        most = max(accuracy_at(each, positive[own], rival[own]) for each in curve.thresholds)
        assert accuracy_at(threshold, positive[own], rival[own]) == most


def test_an_operation_decides_at_its_own_threshold_and_other_scores_have_none(
    done: Callable[..., Any], small: dict[str, Any]
) -> None:
    _, rows, evaluations, plan = done(small)
    for row in rows:
        row["validation_threshold"] = 1.0
        row["operating_threshold"] = 2.0 if row["loss"] == "softmax" else None
        row["decide_by"] = "probability" if row["backbone"] == "resnet20" else "raw"
    curves, _ = gather(plan, rows, evaluations)
    assert [curve.deployed for curve in curves] == [2.0, 1.0, None, None]


def test_the_ends_accept_and_reject_everything() -> None:
    curve = summary(model(0), model(1))
    assert (curve.own[0], curve.rival[0], curve.own[-1], curve.rival[-1]) == (400, 400, 0, 0)
    assert curve.at(-1e9) == curve.at(curve.thresholds[0])
    assert curve.at(1e9).rejected == 1


@pytest.mark.parametrize("prices", [(1, 1), (10, 1), (1, 10), (0, 1), (1, 0)])
def test_the_cheapest_kept_threshold_costs_hardly_more_than_the_cheapest_of_all(prices: tuple[float, float]) -> None:
    models = [model(seed, 1000) for seed in range(3)]
    curve = summary(*models)
    (positive, rival, _) = pooled(models)
    exact = 1000 * cost_threshold(positive, rival, *prices).cost
    found = curve.at(curve.cheapest(*prices)).cost(*prices)
    assert exact <= found + 1e-9
    assert found <= 1.05 * exact + 1e-9


def test_histograms_hold_every_finite_score() -> None:
    curve = summary(with_nan(0))
    assert curve.own_scores.sum() == 195
    assert curve.rival_scores.sum() == 194
    positive, _, _ = pooled([with_nan(0)])
    low, high = curve.edges[10:12]
    assert curve.own_scores[10] == np.sum((positive >= low) & (positive < high))


def test_a_curve_takes_a_few_kilobytes_however_many_samples_and_classes() -> None:
    for classes in (10, 1000):
        content = json.dumps(summary(model(0, 20_000, classes)).to_json(), allow_nan=False, separators=(",", ":"))
        assert len(content) < 12_000


def test_scores_of_any_size_keep_distinct_thresholds() -> None:
    for scale in (1e-6, 1, 1e6):
        each = model(0)
        scores = {side: getattr(each.evaluation, side) * np.float32(scale) for side in ("positive", "rival")}
        assert summary(model(0, **scores)).thresholds.size > 50


def test_equal_scores_have_a_curve() -> None:
    same = np.full(200, 2.0, np.float32)
    curve = summary(model(0, positive=same, rival=same))
    assert curve.at(2.0).right == 0
    assert np.isnan(curve.optima[0].threshold)


def test_without_a_finite_score_there_is_no_curve() -> None:
    lost = np.full(200, np.nan, np.float32)
    assert summarise("digits", "resnet8", "bce", [model(0, positive=lost, rival=lost)]) is None
    assert summarise("digits", "resnet8", "bce", []) is None


def test_files_become_curves_in_the_order_of_the_axes(done: Callable[..., Any], small: dict[str, Any]) -> None:
    _, rows, evaluations, plan = done(small, missing=lambda cell: cell.seed == 1, diverged=lambda cell: cell.seed == 2)
    curves, unreadable = gather(plan, rows, evaluations)
    assert [(curve.backbone, curve.loss) for curve in curves] == [
        ("resnet8", "softmax"), ("resnet8", "bce_unified"), ("resnet20", "softmax"), ("resnet20", "bce_unified"),
    ]  # fmt: skip
    assert {curve.seeds for curve in curves} == {(0,)}
    assert [curve.biases for curve in curves] == [(None,), (3.0,), (None,), (3.0,)]
    assert unreadable == ()


def test_classes_are_called_by_the_names_that_cells_recorded(done: Callable[..., Any], small: dict[str, Any]) -> None:
    _, rows, evaluations, plan = done(small)
    names = [f"kind {number}" for number in range(10)]
    for cell in plan.cells:
        found = evaluations.evaluation(cell)
        account = evaluations.account(cell)
        named = replace(account, provenance={**account.provenance, "class_names": names}, classes=10)
        evaluations.publish(cell.recipe, named, found)
    curves, _ = gather(plan, rows, evaluations)
    assert {curve.classes for curve in curves} == {tuple(names)}
    assert all(curve.has_names for curve in curves)
    assert all(sum(curve.class_samples) * len(curve.seeds) == curve.samples for curve in curves)


def test_classes_without_names_are_called_by_their_numbers(done: Callable[..., Any], small: dict[str, Any]) -> None:
    _, rows, evaluations, plan = done(small)
    curves, _ = gather(plan, rows, evaluations)
    assert not any(curve.has_names for curve in curves)
    assert curves[0].classes == tuple(map(str, range(len(curves[0].classes))))


def test_a_file_that_went_bad_is_named_and_the_others_are_read(done: Callable[..., Any], small: dict[str, Any]) -> None:
    _, rows, evaluations, plan = done(small)
    cell = plan.cells[0]
    evaluations.path(cell.recipe, cell.id).write_bytes(b"not Parquet")
    curves, unreadable = gather(plan, rows, evaluations)
    assert [curve.seeds for curve in curves] == [(1, 2), (0, 1, 2), (0, 1, 2), (0, 1, 2)]
    assert len(unreadable) == 1
    assert unreadable[0].startswith(cell.name)
