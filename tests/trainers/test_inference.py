"""What is kept of each sample, against brute force and whatever the batch."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainers import inference
from trainers.backbones import InputShape
from trainers.backbones.resnet import ResNet8
from trainers.classifier import Classifier
from trainers.data import Resident
from trainers.evaluation import Evaluation
from trainers.inference import TemperatureSearch, decide, evaluate, keeping, measuring, summarise
from trainers.losses.bce import BCEUnified
from trainers.metrics.features import Geometry

SHAPE, CLASSES, SAMPLES = InputShape(1, 8, 8), 5, 30

rows = st.integers(2, 6).flatmap(
    lambda classes: st.lists(
        st.tuples(
            st.lists(st.integers(-3, 3) | st.floats(-50, 50, width=32), min_size=classes, max_size=classes),
            st.integers(0, classes - 1),
        ),
        min_size=1,
        max_size=8,
    )
)


@given(rows)
def test_a_summary_holds_what_brute_force_finds(rows: list[tuple[list[float], int]]) -> None:
    scores, labels = (list(column) for column in zip(*rows, strict=True))
    summary = summarise(torch.tensor(scores, dtype=torch.float64), torch.tensor(labels))
    prediction, positive, rival, logsumexp = (column.tolist() for column in summary)
    assert positive == [row[own] for row, own in rows]
    assert rival == [max(score for k, score in enumerate(row) if k != own) for row, own in rows]
    assert [row[k] for (row, _), k in zip(rows, prediction, strict=True)] == [max(row) for row, _ in rows]
    assert logsumexp == pytest.approx([math.log(math.fsum(map(math.exp, row))) for row, _ in rows])


scores = st.integers(-2, 2).map(float) | st.floats(width=32, allow_nan=False)
matrices = st.integers(1, 6).flatmap(
    lambda classes: st.lists(
        st.tuples(st.lists(scores, min_size=classes, max_size=classes), st.integers(0, classes - 1)),
        min_size=1,
        max_size=8,
    )
)


@given(matrices)
def test_one_pass_decides_as_three_do_and_leaves_the_scores_as_they_were(rows: list[tuple[list[float], int]]) -> None:
    scores, labels = (torch.tensor(column) for column in zip(*rows, strict=True))
    before, own = scores.clone(), labels[:, None]
    prediction, positive, rival = decide(scores, labels)
    assert torch.equal(scores.view(torch.int32), before.view(torch.int32))
    assert torch.equal(prediction, scores.argmax(dim=1))
    assert torch.equal(positive, scores.gather(1, own).squeeze(1))
    assert torch.equal(rival, scores.scatter(1, own, -torch.inf).amax(dim=1))


@pytest.mark.parametrize("place", range(3))
def test_nan_shows_in_positive_or_rival_and_is_an_error(place: int) -> None:
    scores = torch.tensor([[1.0, 2.0, 0.0]])
    scores[0, place] = torch.nan
    prediction, positive, rival = decide(scores, torch.tensor([1]))
    assert positive.isnan().item() == (place == 1)
    assert rival.isnan().item() == (place != 1)
    assert prediction.item() != 1


@pytest.mark.parametrize("own", range(4))
def test_a_class_is_no_rival_to_itself(own: int) -> None:
    scores = torch.tensor([[0.0, 10.0, 20.0, 30.0]])
    before = scores.clone()
    _, positive, rival, _ = summarise(scores, torch.tensor([own]))
    assert positive.item() == 10 * own
    assert rival.item() == (20 if own == 3 else 30)
    assert torch.equal(scores, before)


def test_an_equal_score_of_another_class_is_the_rival() -> None:
    _, positive, rival, _ = summarise(torch.tensor([[1.0, 1.0]]), torch.tensor([0]))
    assert positive.item() == rival.item() == 1


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    return Classifier(ResNet8(), BCEUnified(bias_init=3.0), SHAPE, CLASSES)


@pytest.fixture
def split() -> Resident:
    draw = np.random.default_rng(0)
    pixels = torch.from_numpy(draw.integers(0, 256, (SAMPLES, *SHAPE)).astype(np.uint8))
    labels = torch.from_numpy(draw.integers(0, CLASSES - 1, SAMPLES))  # the last class is absent
    scale = [torch.full((1, 1, 1, 1), number) for number in (127.0, 70.0)]
    return Resident(pixels, torch.arange(SAMPLES), labels, 2 * np.arange(SAMPLES), *scale)


def _outputs(model: Classifier, split: Resident) -> tuple[Tensor, Tensor]:
    model.eval()
    with torch.no_grad():
        features = model.features(split.images(slice(None)))
        return features, model.scores(features)


def test_rows_follow_the_split_and_scores_exclude_the_bias(model: Classifier, split: Resident) -> None:
    evaluation = evaluate(model, split, temperature=2.0)
    _, scores = _outputs(model, split)
    assert evaluation.sample.tolist() == [2 * row for row in range(SAMPLES)]
    torch.testing.assert_close(torch.from_numpy(evaluation.logsumexp_tuned), (scores / 2).logsumexp(dim=1))
    assert evaluation.label.tolist() == split.labels.tolist()
    assert evaluation.prediction.tolist() == scores.argmax(dim=1).tolist()
    _, positive, rival, logsumexp = summarise(scores, split.labels)
    for kept, expected in zip(
        (evaluation.positive, evaluation.rival, evaluation.logsumexp), (positive, rival, logsumexp), strict=True
    ):
        torch.testing.assert_close(torch.from_numpy(kept), expected)


def test_at_temperature_1_both_logsumexps_are_the_same(model: Classifier, split: Resident) -> None:
    evaluation = evaluate(model, split)
    assert np.array_equal(evaluation.logsumexp, evaluation.logsumexp_tuned)
    assert not np.array_equal(evaluation.logsumexp, evaluate(model, split, temperature=2.0).logsumexp_tuned)


def test_types_are_as_documented(model: Classifier, split: Resident) -> None:
    evaluation = evaluate(model, split)
    types = {field.name: getattr(evaluation, field.name).dtype.name for field in fields(Evaluation)}
    assert types == {
        **dict.fromkeys(("sample", "label", "prediction"), "int32"),
        **dict.fromkeys(("positive", "rival", "logsumexp", "logsumexp_tuned"), "float32"),
    }


def test_geometry_adds_up_features_by_class(model: Classifier, split: Resident) -> None:
    geometry = Geometry(CLASSES, model.width)
    evaluate(model, split, witnesses=[measuring(geometry)])
    features, _ = _outputs(model, split)
    expected = np.zeros((CLASSES, model.width))
    for feature, label in zip(features.double().numpy(), split.labels.tolist(), strict=True):
        expected[label] += feature / np.linalg.norm(feature)
    np.testing.assert_allclose(geometry.unit_sums, expected, rtol=1e-5, atol=1e-6)
    assert geometry.moments.counts.tolist() == [split.labels.tolist().count(k) for k in range(CLASSES)]
    assert geometry.moments.counts[-1] == 0


def test_one_pass_serves_every_witness(model: Classifier, split: Resident) -> None:
    kept: list[np.ndarray] = []
    search = TemperatureSearch()
    evaluate(model, split, witnesses=[keeping(kept), search])
    features, scores = _outputs(model, split)
    np.testing.assert_allclose(np.concatenate(kept), features, rtol=1e-4, atol=1e-5)
    grid = torch.from_numpy(search.temperatures.grid)[:, None, None]
    labels = split.labels.expand(len(grid), -1)
    scaled = (scores.double() / grid).flatten(0, 1)
    losses = torch.nn.functional.cross_entropy(scaled, labels.flatten(), reduction="none").view(len(grid), -1).sum(1)
    np.testing.assert_allclose(search.temperatures.losses, losses, rtol=1e-6)
    assert search.temperatures.best() == pytest.approx(float(grid[losses.argmin()]), rel=0.1)


@pytest.mark.parametrize("batch", [1, 7, 15, 30])
def test_the_size_of_a_batch_is_irrelevant(
    model: Classifier, split: Resident, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_sums, part_sums = Geometry(CLASSES, model.width), Geometry(CLASSES, model.width)
    whole = evaluate(model, split, witnesses=[measuring(whole_sums)])
    monkeypatch.setattr(inference, "BATCH", batch)
    parts = evaluate(model, split, witnesses=[measuring(part_sums)])
    _assert_close(parts, whole)
    np.testing.assert_allclose(part_sums.unit_sums, whole_sums.unit_sums, rtol=1e-5, atol=1e-5)


def _assert_close(first: Evaluation, second: Evaluation) -> None:
    for field in fields(Evaluation):
        np.testing.assert_allclose(getattr(first, field.name), getattr(second, field.name), rtol=1e-4, atol=1e-5)


def test_evaluating_changes_nothing_and_twice_gives_the_same_bits(model: Classifier, split: Resident) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, again = evaluate(model.train(), split), evaluate(model.train(), split)
    for values in fields(Evaluation):
        assert np.array_equal(getattr(first, values.name), getattr(again, values.name))
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
