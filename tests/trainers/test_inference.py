"""What is kept of each sample, against brute force and whatever the batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from decimal import Decimal, localcontext

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
from trainers.evaluation import ALL, TOP, Evaluation
from trainers.inference import (
    Rule,
    TemperatureSearch,
    claiming,
    counting,
    decide,
    evaluate,
    keeping,
    measuring,
    ranked,
    summarise,
)
from trainers.losses.bce import BCEUnified
from trainers.metrics.claimed import Claimed, claimed, joined
from trainers.metrics.collapse import Moments
from trainers.metrics.features import Geometry

SHAPE = InputShape(1, 8, 8)
CLASSES = 5
SAMPLES = 30

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
    before = scores.clone()
    own = labels[:, None]
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


RANKED = ("runner_up", "runner_up_score", "log_odds", "log_odds_tuned", "scores", "classes")


def test_types_are_as_documented(model: Classifier, split: Resident) -> None:
    evaluation = evaluate(model, split)
    first = {
        **dict.fromkeys(("sample", "label", "prediction"), "int32"),
        **dict.fromkeys(("positive", "rival", "logsumexp", "logsumexp_tuned"), "float32"),
    }
    assert _types(evaluation) == {**first, **dict.fromkeys(RANKED)}
    ranks = {"runner_up": "int32", "runner_up_score": "float32", "scores": "float32"}
    ranks |= {"log_odds": "float64", "log_odds_tuned": "float64"}
    assert _types(evaluate(model, split, ranks=True)) == {**first, **ranks, "classes": None}


def _types(evaluation: Evaluation) -> dict[str, str | None]:
    columns = {field.name: getattr(evaluation, field.name) for field in fields(Evaluation)}
    assert columns.pop("group") is None  # whoever has the data knows the groups
    return {name: None if column is None else column.dtype.name for name, column in columns.items()}


def exact_log_odds(row: list[float], highest: int, temperature: float = 1.0) -> float:
    """In sixty digits."""
    with localcontext() as context:
        context.prec = 60
        divided = [Decimal(score) / Decimal(temperature) for score in row]
        others = sum((each - divided[highest]).exp() for place, each in enumerate(divided) if place != highest)
        return float(-others.ln())


@given(rows, st.sampled_from([1.0, 0.25, 3.7]))
def test_ranks_are_those_of_sorting_and_log_odds_those_of_sixty_digits(
    rows: list[tuple[list[float], int]], temperature: float
) -> None:
    scores = torch.tensor([row for row, _ in rows], dtype=torch.float32)
    before = scores.clone()
    highest = scores.argmax(dim=1)
    found = ranked(scores, highest, temperature)
    assert torch.equal(scores, before)
    orders = [sorted(range(len(row)), key=lambda k, row=row: (-row[k], k)) for row in before.tolist()]
    assert found["runner_up"].tolist() == [order[1] for order in orders]
    assert found["runner_up_score"].tolist() == [
        row[order[1]] for row, order in zip(before.tolist(), orders, strict=True)
    ]
    exact = [exact_log_odds(row, order[0], temperature) for row, order in zip(before.tolist(), orders, strict=True)]
    assert found["log_odds_tuned"].tolist() == pytest.approx(exact, rel=1e-14, abs=1e-13)
    exact = [exact_log_odds(row, order[0]) for row, order in zip(before.tolist(), orders, strict=True)]
    assert found["log_odds"].tolist() == pytest.approx(exact, rel=1e-14, abs=1e-13)
    assert torch.equal(found["scores"], before)


def test_log_odds_tell_saturated_samples_apart_whose_probability_rounds_to_one() -> None:
    # The sum over all classes less the highest score would leave 0 for each: log-odds of infinity.
    scores = torch.tensor([[60.0, 1.0, -3.0], [60.0, 2.0, -3.0], [90.0, -40.0, -40.0], [-7.5, -7.5, -1e4]])
    found = ranked(scores, scores.argmax(dim=1))["log_odds"].tolist()
    exact = [exact_log_odds(row, max(range(3), key=row.__getitem__)) for row in scores.tolist()]
    assert found == pytest.approx(exact, rel=1e-15, abs=1e-15)
    assert exact[:3] == pytest.approx([58.98, 57.99, 129.31], abs=0.01)
    assert found[3] == 0
    assert scores.logsumexp(dim=1)[:3].tolist() == [60, 60, 90]


@pytest.mark.parametrize("classes", [ALL, ALL + 1, 1000])
def test_all_scores_are_kept_up_to_a_hundred_classes_and_else_the_ten_highest(classes: int) -> None:
    scores = torch.randn(20, classes, generator=torch.Generator().manual_seed(0))
    found = ranked(scores, scores.argmax(dim=1))
    if classes == ALL:
        assert torch.equal(found["scores"], scores)
        assert "classes" not in found
    else:
        order = np.argsort(-scores.numpy(), axis=1)[:, :TOP]
        assert found["classes"].tolist() == order.tolist()
        assert found["scores"].tolist() == np.take_along_axis(scores.numpy(), order, axis=1).tolist()


def test_ranks_are_kept_only_where_they_are_asked_for(model: Classifier, split: Resident) -> None:
    plain = evaluate(model, split, temperature=2.0)
    full = evaluate(model, split, temperature=2.0, ranks=True)
    _, scores = _outputs(model, split)
    for field in fields(Evaluation):
        if field.name not in RANKED:
            assert np.array_equal(getattr(plain, field.name), getattr(full, field.name))
    assert full.scores is not None
    torch.testing.assert_close(torch.from_numpy(full.scores), scores)
    assert full.log_odds is not None
    highest = scores.argmax(dim=1).tolist()
    exact = [exact_log_odds(row, best) for row, best in zip(full.scores.tolist(), highest, strict=True)]
    np.testing.assert_allclose(full.log_odds, exact, rtol=1e-12)


def test_scores_of_a_calibrated_loss_are_log_probabilities_in_every_column(model: Classifier, split: Resident) -> None:
    temperature = 0.3
    found = evaluate(model, split, rule=Rule("calibrated", temperature), ranks=True)
    _, raw = _outputs(model, split)
    expected = (raw.double() / temperature).log_softmax(dim=1)
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, expected, rtol=1e-4, atol=1e-5)
    each = np.arange(SAMPLES)
    assert np.array_equal(found.scores[each, found.label], found.positive)
    assert found.runner_up is not None
    assert found.runner_up_score is not None
    assert np.array_equal(found.scores[each, found.runner_up], found.runner_up_score)
    assert np.array_equal(found.scores.max(axis=1), np.maximum(found.positive, found.rival))
    highest = raw.argmax(dim=1).tolist()
    rows = raw.tolist()
    exact = [exact_log_odds(row, best, temperature) for row, best in zip(rows, highest, strict=True)]
    assert found.log_odds is not None
    np.testing.assert_allclose(found.log_odds, exact, rtol=1e-12)
    # Any other temperature follows: T times the log-probabilities are the raw scores but for a constant a sample.
    other = torch.from_numpy(found.scores * temperature / 2.0).double().softmax(dim=1)
    torch.testing.assert_close(other, (raw.double() / 2.0).softmax(dim=1), rtol=1e-5, atol=1e-6)


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
    whole_sums = Geometry(CLASSES, model.width)
    part_sums = Geometry(CLASSES, model.width)
    whole = evaluate(model, split, ranks=True, witnesses=[measuring(whole_sums)])
    monkeypatch.setattr(inference, "BATCH", batch)
    parts = evaluate(model, split, ranks=True, witnesses=[measuring(part_sums)])
    _assert_close(parts, whole)
    np.testing.assert_allclose(part_sums.unit_sums, whole_sums.unit_sums, rtol=1e-5, atol=1e-5)


def _assert_close(first: Evaluation, second: Evaluation) -> None:
    for name in (field.name for field in fields(Evaluation) if field.name not in {"classes", "group"}):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), rtol=1e-4, atol=1e-5)


def test_evaluating_changes_nothing_and_twice_gives_the_same_bits(model: Classifier, split: Resident) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, again = (evaluate(model.train(), split, ranks=True) for _ in range(2))
    for values in fields(Evaluation):
        assert np.array_equal(getattr(first, values.name), getattr(again, values.name))
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule(), lambda scores: scores),
        (Rule("probability", temperature=5.0), lambda scores: scores.log_softmax(dim=1)),
        (Rule("calibrated", temperature=5.0), lambda scores: (scores / 5).log_softmax(dim=1)),
        (Rule("sigmoid", bias=torch.tensor([4.0, 3, 2, 1, 0])), lambda scores: scores - torch.tensor([4, 3, 2, 1, 0])),
    ],
)
def test_what_decides_is_in_every_column(
    model: Classifier, split: Resident, rule: Rule, expected: Callable[[Tensor], Tensor]
) -> None:
    seen: list[Tensor] = []
    found = evaluate(
        model, split, rule=rule, temperature=2.0, ranks=True, witnesses=[lambda _, scores, __: seen.append(scores)]
    )
    scores = expected(_outputs(model, split)[1].double())
    labels = split.labels[:, None]
    columns = {
        "positive": scores.gather(1, labels).squeeze(1),
        "rival": scores.scatter(1, labels, -torch.inf).amax(dim=1),
        "logsumexp": scores.logsumexp(dim=1),
        "logsumexp_tuned": (scores / 2).logsumexp(dim=1),
        "scores": scores,
    }
    for name, column in columns.items():
        np.testing.assert_allclose(getattr(found, name), column, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(torch.cat(seen), scores, rtol=1e-4, atol=1e-5)
    assert found.prediction.tolist() == scores.argmax(dim=1).tolist()


def test_only_biases_per_class_change_what_is_predicted(model: Classifier, split: Resident) -> None:
    raw, one, many = (
        evaluate(model, split, rule=rule)
        for rule in (Rule(), Rule("sigmoid", bias=torch.tensor([3.0])), Rule("sigmoid", bias=torch.arange(5.0)))
    )
    assert np.array_equal(raw.prediction, one.prediction)
    assert not np.array_equal(raw.prediction, many.prediction)


def test_claims_and_moments_of_batches_are_those_of_the_pass(
    model: Classifier, split: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "BATCH", 7)
    told = list[Claimed]()
    moments = Moments(CLASSES, model.width)
    geometry = Geometry(CLASSES, model.width)
    found = evaluate(
        model, split, ranks=True, witnesses=[claiming(told, [3.0]), counting(moments), measuring(geometry)]
    )
    assert found.scores is not None
    whole = claimed(found.scores, found.label, [3.0])
    parts = joined(told)
    np.testing.assert_allclose(parts.brier, whole.brier)
    assert parts.sigmoid is not None
    assert whole.sigmoid is not None
    np.testing.assert_allclose(np.array(parts.sigmoid), np.array(whole.sigmoid))
    np.testing.assert_array_equal(moments.sums, geometry.moments.sums)
    np.testing.assert_array_equal(moments.outer, geometry.moments.outer)
