"""A trial is scored on held-out training images: whatever the test split is, nothing of it can matter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

from trainers.datasets import Images, TrainTest
from trainers.datasets.digits import Digits
from trainers.fit import Fit, fit
from trainers.metrics import ON_VALIDATION
from trainers.metrics.score_kinds import Temperatures, log_probabilities
from trainers.recipe import Recipe


def recipe(loss: str = "bce_unified", scored_on: str = "validation", **training: Any) -> Recipe:
    fields = {"epochs": 2, "batch_size": 64, "learning_rate": 0.1, "validation_fraction": 0.2, **training}
    return Recipe.model_validate(
        {
            "loss": loss,
            "backbone": "resnet8",
            "dataset": "digits",
            "seed": 3,
            "training": fields,
            "scored_on": scored_on,
        }
    )


@pytest.fixture(scope="module")
def digits() -> TrainTest:
    return Digits().load(Path())


@pytest.fixture(scope="module")
def trial(digits: TrainTest) -> Fit:
    return fit(recipe(), digits)


class Poison:
    """A test split that nobody may look at."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the test split's {name} was read")

    def __len__(self) -> int:
        raise AssertionError("the test split's length was read")


def test_a_trial_never_looks_at_the_test_split(digits: TrainTest, trial: Fit) -> None:
    poisoned = fit(recipe(), replace(digits, test=Poison()))  # pyright: ignore[reportArgumentType]
    assert poisoned.metrics == trial.metrics
    assert poisoned.history == trial.history
    assert np.array_equal(poisoned.evaluation.positive, trial.evaluation.positive)


def test_poisoned_test_labels_change_nothing_of_a_trial_and_much_of_a_final_cell(digits: TrainTest, trial: Fit) -> None:
    wrong = replace(digits, test=Images(digits.test.pixels, (digits.test.labels + 1) % 10))
    assert fit(recipe(), wrong).metrics == trial.metrics
    right, poisoned = (fit(recipe(scored_on="test"), data).metrics["sample_wise_accuracy"] for data in (digits, wrong))
    assert right is not None
    assert poisoned is not None
    assert right - poisoned > 0.3


def test_images_that_are_kept_apart_change_no_figure(digits: TrainTest) -> None:
    asked = recipe(scored_on="test", epochs=1).model_copy(update={"certify": 0.5})
    found = fit(asked, digits)
    assert found.certification is not None
    apart = found.certification.sample
    pixels = digits.test.pixels.copy()
    pixels[apart] = 0
    spoilt = replace(digits, test=Images(pixels, digits.test.labels))
    poisoned = fit(asked, spoilt)
    assert poisoned.metrics == found.metrics
    assert poisoned.history == found.history
    assert poisoned.certification is not None
    assert not np.array_equal(poisoned.certification.positive, found.certification.positive)
    whole = fit(recipe(scored_on="test", epochs=1), digits)
    np.testing.assert_allclose(found.certification.scores, whole.evaluation.scores[apart], atol=1e-5)  # pyright: ignore[reportOptionalSubscript]
    assert sorted([*apart, *found.evaluation.sample]) == whole.evaluation.sample.tolist()


def test_a_trial_is_scored_on_images_it_was_not_trained_on(digits: TrainTest, trial: Fit) -> None:
    final = fit(recipe(scored_on="test"), digits)
    assert len(trial.evaluation.sample) == round(0.2 * len(digits.train))
    assert np.array_equal(digits.train.labels[trial.evaluation.sample], trial.evaluation.label)
    # The same model: it is only looked at elsewhere.
    assert trial.history == final.history
    last = trial.history[-1]
    assert trial.metrics["uniform_accuracy"] == last["validation_uniform_accuracy"]


def test_where_a_recipe_is_scored_is_left_out_of_the_identity_of_what_is_scored_on_the_test_split() -> None:
    assert "scored_on" not in recipe(scored_on="test").model_dump(mode="json")
    assert recipe().model_dump(mode="json")["scored_on"] == "validation"
    assert Recipe.model_validate(recipe().model_dump(mode="json")) == recipe()


def test_a_calibrated_loss_decides_by_the_calibrated_probabilities_of_the_same_model(digits: TrainTest) -> None:
    plain, calibrated = (fit(recipe(loss, "test"), digits) for loss in ("softmax", "softmax_calibrated"))
    assert plain.history == calibrated.history
    temperature = plain.metrics["temperature"]
    assert temperature is not None
    for scores, expected in zip(
        (calibrated.evaluation.positive, calibrated.evaluation.rival),
        log_probabilities(
            plain.evaluation.positive.astype(float) / temperature,
            plain.evaluation.rival.astype(float) / temperature,
            plain.evaluation.logsumexp_tuned,
        ),
        strict=True,
    ):
        assert scores == pytest.approx(expected, abs=1e-5)
    assert calibrated.metrics["temperature"] == calibrated.temperature == temperature
    assert calibrated.metrics["uniform_accuracy"] == pytest.approx(plain.metrics["uniform_accuracy_calibrated"])
    assert calibrated.metrics["uniform_accuracy_probability"] == pytest.approx(calibrated.metrics["uniform_accuracy"])
    assert calibrated.metrics["sample_wise_accuracy"] == plain.metrics["sample_wise_accuracy"]
    assert calibrated.metrics["calibration_error"] == pytest.approx(
        plain.metrics["calibration_error_calibrated"], abs=1e-6
    )


def test_no_threshold_or_temperature_is_found_on_what_a_trial_is_scored_on(digits: TrainTest) -> None:
    plain, calibrated = (fit(recipe(loss), digits) for loss in ("softmax", "softmax_calibrated"))
    for trial in (plain, calibrated):
        assert {trial.metrics[name] for name in ON_VALIDATION} == {None}
        assert (trial.validation, trial.temperature) == (None, None)
    rows = plain.evaluation
    assert rows.scores is not None
    order = np.argsort(rows.label, kind="stable")
    expected = np.full(rows.scores.shape, np.nan)
    found = list[float]()
    for mine, other in ((order[::2], order[1::2]), (order[1::2], order[::2])):
        search = Temperatures()
        exact = rows.scores[other].astype(float)
        search.add(logsumexp(exact / search.grid[:, None, None], axis=2), rows.positive[other])
        found.append(search.best())
        expected[mine] = log_softmax(rows.scores[mine].astype(float) / search.best(), axis=1)
    assert found[0] != pytest.approx(found[1], rel=0.01)
    assert calibrated.evaluation.sample.tolist() == rows.sample.tolist()
    assert calibrated.evaluation.label.tolist() == rows.label.tolist()
    np.testing.assert_allclose(calibrated.evaluation.scores, expected, rtol=1e-4, atol=1e-4)  # pyright: ignore[reportArgumentType]


def test_a_trial_with_a_single_validation_image_is_scored_without_a_temperature(digits: TrainTest) -> None:
    found = fit(recipe("softmax_calibrated", validation_fraction=0.001), digits)
    assert len(found.evaluation.sample) == 1
    assert np.isfinite(found.evaluation.positive).all()


def test_a_calibrated_loss_without_a_validation_split_is_told(digits: TrainTest) -> None:
    with pytest.raises(ValueError, match=r"the validation split is empty .* a calibrated loss needs it"):
        fit(recipe("softmax_calibrated", "test", validation_fraction=0.0), digits)
