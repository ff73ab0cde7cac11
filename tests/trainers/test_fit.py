"""Training on `digits`: the same bits twice, paired starts, honest divergence, and something learnt."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import MultiStepLR

from trainers import fit as fit_module
from trainers.backbones import InputShape
from trainers.classifier import Classifier
from trainers.data import split
from trainers.datasets import Images, TrainTest, Verification
from trainers.datasets.digits import Digits
from trainers.evaluation import Evaluation
from trainers.fit import DivergedError, Fit, fit
from trainers.losses import Loss
from trainers.losses.softmax import Softmax
from trainers.metrics import MEASURES
from trainers.metrics.collapse import Moments
from trainers.metrics.uniform import accuracy_at, sample_wise_accuracy, uniform_accuracy
from trainers.observation import Trained
from trainers.optimisation import Average, build_optimizer, schedule, warmed
from trainers.recipe import Recipe, Training

History = list[tuple[int, dict[str, float]]]


def _recipe(loss: Any = "bce_unified", seed: int = 0, **training: Any) -> Recipe:
    settings = {"epochs": 2, "batch_size": 64, "learning_rate": 0.1, **training}
    return Recipe(loss=loss, backbone="resnet8", dataset="digits", seed=seed, training=settings)


@pytest.fixture(scope="module")
def digits() -> TrainTest:
    return Digits().load(Path())


@pytest.fixture(scope="module")
def short(digits: TrainTest) -> tuple[Fit, History]:
    """Two epochs with everything that draws numbers, and what the observer was told."""
    told: History = []
    fitted = fit(_recipe(augmentation=["crop", "flip"]), digits, observer=lambda *news: told.append(news))
    return fitted, told


class Fatal(Loss):
    """Softmax until a step, NaN from there on."""

    name = "fatal"
    nan_from_step: int = 0
    steps: ClassVar[list[int]] = []

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Softmax, or NaN."""
        self.steps.append(len(self.steps))
        loss = Softmax().per_sample(logits, labels)
        return loss * math.nan if self.steps[-1] >= self.nan_from_step else loss


@pytest.fixture
def fatal() -> Iterator[Callable[[int], Fatal]]:
    Fatal.steps.clear()
    yield lambda step: Fatal(nan_from_step=step)
    Fatal.steps.clear()


def test_the_rows_of_both_splits_are_kept_with_what_decisions_need(
    short: tuple[Fit, History], digits: TrainTest
) -> None:
    found = short[0]
    assert found.validation is not None
    assert found.classes == 10
    assert found.temperature == found.metrics["temperature"]
    assert np.isin(found.validation.sample, np.arange(len(digits.train.labels))).all()
    for rows in (found.evaluation, found.validation):
        assert rows.scores is not None
        assert rows.classes is None
        each = np.arange(len(rows.label))
        np.testing.assert_array_equal(rows.scores[each, rows.label], rows.positive)
        np.testing.assert_array_equal(rows.scores.argmax(axis=1), rows.prediction)
    best = uniform_accuracy(found.validation.positive, found.validation.rival)
    assert found.metrics["validation_threshold"] == best.threshold


def test_without_a_validation_split_there_are_no_such_rows_and_no_temperature(digits: TrainTest) -> None:
    found = fit(_recipe(epochs=1, validation_fraction=0), digits)
    assert (found.validation, found.temperature) == (None, None)


@pytest.mark.parametrize("column", ["positive", "scores"])
@pytest.mark.parametrize("split", ["test", "validation"])
def test_scores_that_are_not_finite_on_either_split_are_a_divergence(
    digits: TrainTest, monkeypatch: pytest.MonkeyPatch, split: str, column: str
) -> None:
    found = list[Evaluation]()
    observe = fit_module.observe

    def spoilt(*arguments: Any) -> Any:
        observed, apart = observe(*arguments)
        rows = getattr(observed, split)
        values = getattr(rows, column).copy()
        values.flat[5] = -np.inf
        found.append(rows)
        return replace(observed, **{split: replace(rows, **{column: values})}), apart

    monkeypatch.setattr(fit_module, "observe", spoilt)
    with pytest.raises(DivergedError):
        fit(_recipe(epochs=1), digits)
    assert found


class TestReproducibility:
    def test_the_same_recipe_twice_gives_the_same_bits(self, short: tuple[Fit, History], digits: TrainTest) -> None:
        torch.manual_seed(12345)  # whatever was drawn before
        again = fit(_recipe(augmentation=["crop", "flip"]), digits)
        first = short[0]
        for one, other in ((first.evaluation, again.evaluation), (first.validation, again.validation)):
            for field in fields(Evaluation):
                here = getattr(one, field.name)
                there = getattr(other, field.name)
                assert (here is None and there is None) or here.tobytes() == there.tobytes()
        assert again.history == first.history
        assert again.learned_bias == first.learned_bias
        assert again.metrics == first.metrics

    def test_no_figure_is_read_from_memory_that_nobody_wrote(
        self, short: tuple[Fit, History], digits: TrainTest
    ) -> None:
        def fill(epoch: int, figures: dict[str, float]) -> None:  # with NaN, from here on
            del epoch, figures
            memory: Any = torch.utils.deterministic
            memory.fill_uninitialized_memory = True
            assert torch.empty(1).isnan()

        filled = fit(_recipe(augmentation=["crop", "flip"]), digits, observer=fill)
        first = short[0]
        assert filled.history == first.history
        assert filled.metrics == first.metrics

    def test_another_seed_gives_other_scores(self, short: tuple[Fit, History], digits: TrainTest) -> None:
        other = fit(_recipe(seed=1, augmentation=["crop", "flip"]), digits)
        assert not np.array_equal(other.evaluation.positive, short[0].evaluation.positive)

    def test_all_losses_start_from_the_same_weights(self, digits: TrainTest, monkeypatch: pytest.MonkeyPatch) -> None:
        starts: list[dict[str, Tensor]] = []

        def spy(model: Classifier, recipe: Recipe) -> Optimizer:
            starts.append({name: value.clone() for name, value in model.state_dict().items() if name != "bias"})
            return build_optimizer(model, recipe)

        monkeypatch.setattr(fit_module, "build_optimizer", spy)
        for loss in ("softmax", "bce", "bce_unified", "bce_diverse"):
            fit(_recipe(loss, epochs=1), digits)
        fit(_recipe(seed=1, epochs=1), digits)
        *paired, other = starts
        for first, second in pairwise(paired):
            assert first.keys() == second.keys()
            assert all(torch.equal(first[name], second[name]) for name in first)
        assert not torch.equal(other["linear.weight"], paired[0]["linear.weight"])

    @pytest.mark.parametrize("diverges", [False, True])
    @pytest.mark.parametrize("enabled", [False, True])
    def test_the_global_state_is_afterwards_as_before(
        self, digits: TrainTest, fatal: Callable[[int], Fatal], *, enabled: bool, diverges: bool
    ) -> None:
        torch.use_deterministic_algorithms(enabled)
        before = torch.get_rng_state(), np.random.get_state()[1].tobytes()  # noqa: NPY002  # the global one is meant
        try:
            if diverges:
                with pytest.raises(DivergedError):
                    fit(_recipe(fatal(0)), digits)
            else:
                fit(_recipe(epochs=1), digits)
            assert torch.are_deterministic_algorithms_enabled() is enabled
        finally:
            torch.use_deterministic_algorithms(mode=False)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.random.get_state()[1].tobytes() == before[1]  # noqa: NPY002


class TestObserver:
    def test_it_is_told_once_an_epoch_what_the_history_keeps(self, short: tuple[Fit, History]) -> None:
        fitted, told = short
        assert [epoch for epoch, _ in told] == [1, 2]
        assert [figures for _, figures in told] == fitted.history

    def test_all_figures_are_finite_and_validation_is_among_them(self, short: tuple[Fit, History]) -> None:
        for figures in short[0].history:
            assert all(math.isfinite(value) for value in figures.values())
            assert figures.keys() == {
                "train_loss",
                "learning_rate",
                "learned_bias",
                "validation_sample_wise_accuracy",
                "validation_uniform_accuracy",
                "validation_unified_threshold",
            }

    def test_without_validation_or_bias_there_are_no_figures_of_them(self, digits: TrainTest) -> None:
        fitted = fit(_recipe("softmax", epochs=1, validation_fraction=0), digits)
        assert fitted.history[0].keys() == {"train_loss", "learning_rate"}
        assert fitted.metrics["validation_threshold"] is None
        assert fitted.learned_bias == []


class TestFit:
    def test_metrics_are_those_of_the_evaluation(self, short: tuple[Fit, History]) -> None:
        fitted, _ = short
        positive = fitted.evaluation.positive
        rival = fitted.evaluation.rival
        assert list(fitted.metrics) == list(MEASURES)
        assert fitted.metrics["sample_wise_accuracy"] == sample_wise_accuracy(positive, rival)
        assert fitted.metrics["uniform_accuracy"] == uniform_accuracy(positive, rival).accuracy
        assert fitted.metrics["learned_bias"] == fitted.learned_bias[0] != 0
        assert fitted.metrics["accuracy_at_bias"] == accuracy_at(fitted.learned_bias[0], positive, rival)

    def test_the_evaluation_has_a_row_for_every_test_image(self, short: tuple[Fit, History], digits: TrainTest) -> None:
        evaluation = short[0].evaluation
        assert evaluation.sample.tolist() == list(range(len(digits.test)))
        assert evaluation.label.tolist() == digits.test.labels.tolist()
        right = evaluation.prediction == evaluation.label
        assert np.array_equal(right, evaluation.rival < evaluation.positive)

    def test_parameters_and_speed_are_counted(self, short: tuple[Fit, History]) -> None:
        fitted, _ = short
        network, width = _recipe().backbone.build(InputShape(1, 8, 8))
        assert fitted.parameters == sum(p.numel() for p in network.parameters()) + 10 * width + 1
        assert fitted.images_per_second == pytest.approx(2 * 14 * 64 / fitted.train_seconds)

    @pytest.mark.parametrize("loss", ["softmax", "bce", "bce_unified", "bce_diverse"])
    def test_three_epochs_beat_chance_by_far(self, loss: str, digits: TrainTest) -> None:
        fitted = fit(_recipe(loss, epochs=3), digits)
        losses = [figures["train_loss"] for figures in fitted.history]
        assert losses == sorted(losses, reverse=True)
        sample_wise = fitted.metrics["sample_wise_accuracy"]
        uniform = fitted.metrics["uniform_accuracy"]
        assert sample_wise is not None
        assert uniform is not None
        assert sample_wise > 0.6  # chance is 0.1
        assert uniform > 0.3  # chance is 0.04

    def test_adamw_learns_as_well(self, digits: TrainTest) -> None:
        fitted = fit(_recipe(optimizer="adamw", learning_rate=0.01, schedule="constant"), digits)
        assert sample_wise_accuracy(fitted.evaluation.positive, fitted.evaluation.rival) > 0.6

    def test_bfloat16_learns_as_well_and_is_evaluated_in_float32(self, digits: TrainTest) -> None:
        seen: set[torch.dtype] = set()

        def look(model: Classifier, images: Tensor) -> Tensor:
            features = model.backbone(images)
            seen.add(features.dtype)
            return features

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Classifier, "features", look)
            found = fit(_recipe(epochs=3, precision="bfloat16"), digits)
        assert found.metrics["sample_wise_accuracy"] > 0.5
        assert seen == {torch.float32}
        assert {parameter.dtype for parameter in found.model.parameters()} == {torch.float32}
        assert found.history != fit(_recipe(epochs=3), digits).history

    def test_tf32_is_for_training_and_not_for_evaluation(self, digits: TrainTest) -> None:
        seen: set[tuple[bool, str, str]] = set()
        build = Classifier.__init__

        def watched(model: Classifier, *given: Any) -> None:
            build(model, *given)
            backends: Any = torch.backends
            model.backbone.register_forward_hook(
                lambda *_: seen.add(
                    (model.training, backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision)
                )
            )

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Classifier, "__init__", watched)
            fit(_recipe(precision="tf32"), digits)
        assert seen == {(True, "tf32", "tf32"), (False, "ieee", "ieee")}

    def test_a_batch_larger_than_the_data_is_refused(self, digits: TrainTest) -> None:
        with pytest.raises(ValueError, match="batch_size 901 is larger than the 900 training images"):
            fit(_recipe(batch_size=901), digits)


class TestDivergence:
    def test_an_absurd_learning_rate_diverges(self, digits: TrainTest) -> None:
        with pytest.raises(DivergedError, match="epoch 1") as caught:
            fit(_recipe(learning_rate=1e30), digits)
        assert caught.value.epoch == 1

    @pytest.mark.parametrize("step", [0, 13, 14, 27])
    def test_the_error_names_the_epoch_counted_from_1(
        self, step: int, digits: TrainTest, fatal: Callable[[int], Fatal]
    ) -> None:
        told: History = []
        with pytest.raises(DivergedError) as caught:
            fit(_recipe(fatal(step)), digits, observer=lambda *news: told.append(news))
        assert caught.value.epoch == step // 14 + 1
        assert len(told) == caught.value.epoch - 1


def _model(recipe: Recipe) -> Classifier:
    return Classifier(recipe.backbone, recipe.loss, InputShape(1, 8, 8), classes=10)


class TestOptimizer:
    @pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
    @pytest.mark.parametrize("loss", ["bce_unified", "bce_diverse"])
    def test_the_bias_has_its_own_learning_rate_and_decay(self, loss: str, optimizer: str) -> None:
        parameters = {"name": loss, "bias_learning_rate": 10, "bias_weight_decay": 0.25}
        recipe = _recipe(parameters, optimizer=optimizer, weight_decay=0.5)
        model = _model(recipe)
        weights, bias = build_optimizer(model, recipe).param_groups
        assert bias["params"] == [model.bias]
        assert (bias["lr"], bias["weight_decay"]) == (1.0, 0.25)
        assert (weights["lr"], weights["weight_decay"]) == (0.1, 0.5)

    def test_a_learnt_scale_moves_slowly_and_does_not_decay(self) -> None:
        scores = {
            "normalise_features": True,
            "normalise_weights": True,
            "learn_scale": True,
            "scale_learning_rate": 0.5,
        }
        recipe = _recipe({"name": "softmax", "scores": scores}, weight_decay=0.5)
        model = _model(recipe)
        _, scale = build_optimizer(model, recipe).param_groups
        assert scale["params"] == [model.log_scale]
        assert (scale["lr"], scale["weight_decay"]) == (0.05, 0)

    def test_a_learnt_scale_survives_training(self, digits: TrainTest) -> None:
        scores = {"normalise_features": True, "normalise_weights": True, "learn_scale": True, "scale": 16}
        fitted = fit(_recipe({"name": "bce_unified", "bias_init": "prior", "scores": scores}, epochs=3), digits)
        accuracy = fitted.metrics["sample_wise_accuracy"]
        assert accuracy is not None
        assert accuracy > 0.8

    @pytest.mark.parametrize("loss", ["softmax", "bce", "bce_unified", "bce_diverse"])
    def test_every_parameter_is_optimised_once(self, loss: str) -> None:
        recipe = _recipe(loss)
        model = _model(recipe)
        optimised = [id(p) for group in build_optimizer(model, recipe).param_groups for p in group["params"]]
        assert sorted(optimised) == sorted(id(parameter) for parameter in model.parameters())

    def test_decay_of_the_weights_spares_the_bias(self) -> None:
        recipe = _recipe({"name": "bce_unified", "bias_init": 3.0}, weight_decay=0.5)
        model = _model(recipe)
        before = model.linear.weight.detach().clone()
        optimizer = build_optimizer(model, recipe)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        torch.testing.assert_close(model.linear.weight.detach(), before * (1 - 0.1 * 0.5))
        assert model.learned_bias() == [3.0]

    def test_a_learning_rate_of_0_keeps_the_bias_where_it_is(self, digits: TrainTest) -> None:
        loss = {"name": "bce_unified", "bias_init": 2.5, "bias_learning_rate": 0}
        fitted = fit(_recipe(loss, epochs=1), digits)
        assert fitted.learned_bias == [2.5]

    def test_the_names_of_the_optimisers_mean_what_they_say(self) -> None:
        sgd, adamw = (
            build_optimizer(_model(recipe), recipe) for recipe in (_recipe(momentum=0.5), _recipe(optimizer="adamw"))
        )
        assert isinstance(sgd, SGD)
        assert all(group["momentum"] == 0.5 for group in sgd.param_groups)
        assert isinstance(adamw, AdamW)
        assert all(group["betas"] == (0.9, 0.999) for group in adamw.param_groups)


class TestSchedule:
    def test_cosine_falls_from_1_to_0_and_passes_a_half_midway(self) -> None:
        factor = schedule(Training(epochs=10), steps=7)
        factors = [factor(step) for step in range(71)]
        assert factors[0] == 1
        assert factors[35] == pytest.approx(0.5)
        assert factors[70] == pytest.approx(0, abs=1e-15)
        assert factors == sorted(factors, reverse=True)

    @pytest.mark.parametrize("steps", [1, 7, 13, 391])
    @pytest.mark.parametrize("epochs", [10, 30, 100])
    def test_steps_fall_on_the_first_step_after_each_milestone(self, steps: int, epochs: int) -> None:
        milestones = tuple(tenths / 10 for tenths in range(1, 10))
        factor = schedule(Training(epochs=epochs, schedule="step", milestones=milestones, step_factor=0.5), steps)
        last = 1.0
        for tenths in range(1, 10):
            first = -(-tenths * epochs * steps // 10)  # in whole numbers, rounded up
            assert factor(first - 1) == last
            assert factor(first) == last / 2
            last /= 2

    def test_milestones_may_be_thirds_or_sevenths(self) -> None:
        for whole in (3, 7, 28):
            for part in range(1, whole):
                factor = schedule(Training(epochs=whole, schedule="step", milestones=(part / whole,)), steps=391)
                assert (factor(part * 391 - 1), factor(part * 391)) == (1, 0.1)

    def test_a_milestone_between_two_steps_is_passed_by_the_later(self) -> None:
        factor = schedule(Training(epochs=1, schedule="step", milestones=(0.5,)), steps=7)
        assert [factor(step) for step in range(7)] == [1, 1, 1, 1, 0.1, 0.1, 0.1]

    def test_the_schedule_of_the_follow_up_is_torchs(self) -> None:
        training = Training(schedule="step", milestones=(0.3, 0.6, 0.8), step_factor=0.2)
        optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        torchs = MultiStepLR(optimizer, [30, 60, 80], gamma=0.2)
        ours = schedule(training, steps=3)
        for epoch in range(100):
            assert [ours(3 * epoch + step) for step in range(3)] == pytest.approx([torchs.get_last_lr()[0]] * 3)
            optimizer.step()
            torchs.step()

    def test_constant_stays(self) -> None:
        factor = schedule(Training(epochs=10, schedule="constant"), steps=7)
        assert {factor(step) for step in range(71)} == {1.0}

    @pytest.mark.parametrize("kind", ["cosine", "constant"])
    def test_warm_up_rises_in_equal_steps_to_1(self, kind: str) -> None:
        factor = schedule(Training.model_validate({"epochs": 5, "warmup_epochs": 2, "schedule": kind}), steps=4)
        assert [factor(step) for step in range(8)] == pytest.approx([(step + 1) / 8 for step in range(8)])
        assert factor(8) == 1
        assert factor(20) == pytest.approx(0 if kind == "cosine" else 1, abs=1e-15)

    def test_the_schedule_is_carried_out_step_by_step(self, short: tuple[Fit, History]) -> None:
        assert [figures["learning_rate"] for figures in short[0].history] == pytest.approx([0.1, 0.05], abs=1e-12)


class TestVerification:
    def test_pairs_that_a_dataset_brings_are_verified_by_their_features(self) -> None:
        recipe = Recipe(loss="softmax", backbone="resnet8", dataset="digits", seed=0, training={"epochs": 1})
        data = recipe.dataset.load(Path())
        faces = data.test.take(np.arange(60))
        first, second = np.triu_indices(60, k=1)
        genuine = faces.labels[first] == faces.labels[second]
        pairs = Verification(faces.pixels, first, second, genuine)
        measured = fit(recipe, replace(data, pairs=pairs)).metrics
        assert measured["open_auroc"] is None
        assert measured["verification_eer"] is not None
        assert 0 < measured["verification_eer"] < 0.4
        assert measured["sample_wise_accuracy"] == fit(recipe, data).metrics["sample_wise_accuracy"]

    def test_held_out_classes_are_told_from_known_ones_and_from_each_other(self) -> None:
        dataset = {"name": "digits", "hold_out": [8, 9]}
        training = {"epochs": 4, "learning_rate": 0.1, "batch_size": 64}
        recipe = Recipe(loss="bce_unified", backbone="resnet8", dataset=dataset, seed=0, training=training)
        measured = fit(recipe, recipe.dataset.load(Path())).metrics
        for name in ("open_auroc", "open_auroc_energy", "open_oscr"):
            value = measured[name]
            assert value is not None
            assert value > 0.6
        assert measured["verification_tar_1"] is not None


def test_an_average_of_the_weights_is_what_is_evaluated() -> None:
    def measured(ema: float) -> dict[str, float | None]:
        training = {"epochs": 2, "learning_rate": 0.1, "ema": ema}
        recipe = Recipe(loss="bce_unified", backbone="resnet8", dataset="digits", seed=0, training=training)
        return fit(recipe, recipe.dataset.load(Path())).metrics

    plain = measured(0.0)
    averaged = measured(0.9)
    slowest = measured(0.999999)
    assert plain != averaged
    # However slow the average is, after these few steps it is of the last ones, and not the model before its first.
    assert averaged["sample_wise_accuracy"] > 0.5  # pyright: ignore[reportOptionalOperand]
    assert slowest["sample_wise_accuracy"] > 0.5  # pyright: ignore[reportOptionalOperand]


def test_the_decay_of_an_average_warms_up_as_timms_does() -> None:
    timm = pytest.importorskip("timm.utils.model_ema")
    published = timm.ModelEmaV3(torch.nn.Linear(1, 1), decay=0.999, use_warmup=True)
    # timm counts the copy at the first step as one.
    assert [warmed(0.999, steps) for steps in (1, 2, 50, 10**4, 10**6)] == pytest.approx(
        [published.get_decay(steps + 1) for steps in (1, 2, 50, 10**4, 10**6)]
    )
    assert warmed(0.999, 10**6) == 0.999
    assert warmed(0.999, 1) == pytest.approx(1 - 2 ** (-2 / 3))


def test_the_average_is_of_every_step_by_its_decay() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    average = Average(model, 0.5)
    expected = math.nan
    for step in range(6):
        value = float(step**2)
        torch.nn.init.constant_(model.weight, value)
        average.update_parameters(model)
        decay = warmed(0.5, step)
        expected = value if step == 0 else decay * expected + (1 - decay) * value
        assert average.module.weight.item() == pytest.approx(expected)


def test_decay_on_the_bias_pulls_it_to_0_and_the_scores_come_along(digits: TrainTest) -> None:
    # Fact 12 of the science: the classes still separate, at another level.
    def fitted(decay: float) -> Fit:
        loss = {"name": "bce_unified", "bias_init": 3.0, "bias_weight_decay": decay}
        return fit(_recipe(loss, epochs=4), digits)

    free = fitted(0.0)
    decayed = fitted(1.0)
    assert abs(decayed.learned_bias[0]) < 0.1 < free.learned_bias[0]
    levels = [run.metrics["unified_threshold"] for run in (decayed, free)]
    assert None not in levels
    assert levels[0] < levels[1]
    assert decayed.metrics["uniform_accuracy"] == pytest.approx(free.metrics["uniform_accuracy"], abs=0.1)


class TestCollapse:
    """Whether a model differs from a guess, on the images and labels that it was trained on."""

    @staticmethod
    def _of(classes: int, each: int) -> TrainTest:
        """Images of one random pattern a class, with noise."""
        draw = np.random.RandomState(0)
        patterns = draw.randint(0, 256, (classes, 1, 8, 8))

        def images(number: int) -> Images:
            labels = np.repeat(np.arange(classes), number)
            noisy = patterns[labels] + draw.randint(-30, 31, (len(labels), 1, 8, 8))
            return Images(noisy.clip(0, 255).astype(np.uint8), labels.astype(np.int64))

        return TrainTest(images(each), images(1), classes)

    @pytest.mark.parametrize("loss", ["softmax", "bce", "bce_unified", "bce_diverse"])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_one_epoch_of_the_quickstart_is_sound(self, loss: str, seed: int, digits: TrainTest) -> None:
        assert fit(_recipe(loss, seed, epochs=1), digits).collapse is None

    def test_the_smallest_experiment_there_is_is_sound(self, digits: TrainTest) -> None:
        recipe = Recipe(loss="softmax", backbone="resnet8", dataset="digits", seed=0, training=Training(epochs=1))
        assert fit(recipe, digits).collapse is None

    @pytest.mark.parametrize("loss", ["bce", {"name": "bce_unified", "bias_init": 0.0}])
    def test_of_300_classes_a_start_at_0_is_a_collapse(self, loss: str | dict[str, Any]) -> None:
        dead = fit(_recipe(loss, epochs=4, batch_size=128), self._of(300, 10))
        assert dead.metrics["sample_wise_accuracy"] < 0.05  # pyright: ignore[reportOptionalOperand]
        assert dead.collapse is not None

    @pytest.mark.parametrize(
        ("classes", "each", "epochs", "loss"),
        [
            (300, 12, 4, "bce_fixed"),
            (300, 12, 4, "bce_diverse"),
            (300, 12, 4, "focal"),
            pytest.param(1000, 6, 5, "bce_unified", marks=pytest.mark.slow),
        ],
    )
    def test_of_many_classes_the_defaults_learn(self, classes: int, each: int, epochs: int, loss: str) -> None:
        alive = fit(_recipe(loss, epochs=epochs), self._of(classes, each))
        assert alive.collapse is None
        assert alive.metrics["sample_wise_accuracy"] > 0.9  # pyright: ignore[reportOptionalOperand]

    def test_the_labels_are_those_trained_on(self, digits: TrainTest) -> None:
        """With every label of two classes turned round, a model that learns them is wrong on every test image."""
        two = TrainTest(*(each.take(np.flatnonzero(each.labels < 2)) for each in (digits.train, digits.test)), 2)
        turned = fit(_recipe("softmax", epochs=12, batch_size=32, label_noise=1.0), two)
        assert turned.metrics["sample_wise_accuracy"] < 0.1  # pyright: ignore[reportOptionalOperand]
        assert turned.collapse is None

    def test_a_network_that_says_nothing_is_named_by_its_features(
        self, digits: TrainTest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = Classifier.features
        monkeypatch.setattr(Classifier, "features", lambda self, images: real(self, images) * 0)
        found = fit(_recipe("softmax", epochs=1), digits)
        assert found.collapse == "the features of all 900 training images looked at are the same"

    def test_asking_changes_no_figure_of_other_images(self, digits: TrainTest, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = fit(_recipe(epochs=1), digits)
        blank = Trained(Moments(10, asked.model.width), 0.0, None)
        monkeypatch.setattr(fit_module, "look_back", lambda *_: blank)
        unasked = fit(_recipe(epochs=1), digits)
        changed = {name for name, value in asked.metrics.items() if unasked.metrics[name] != value}
        assert changed == {"training_accuracy", "nc1", "nc3", "medium_accuracy", "tail_accuracy"}
        assert asked.evaluation.positive.tobytes() == unasked.evaluation.positive.tobytes()

    @pytest.mark.parametrize("loss", ["softmax", "bce_diverse", "softmax_calibrated"])
    def test_training_accuracy_is_of_all_training_images_and_the_labels_trained_on(
        self, digits: TrainTest, loss: str
    ) -> None:
        recipe = _recipe(loss, augmentation=["crop"], label_noise=0.3)
        found = fit(recipe, digits)
        train = split(digits, recipe, torch.device("cpu")).train
        with torch.inference_mode():
            features = found.model.eval().features(train.images(slice(None)))
            right = found.model.scores(features).argmax(dim=1) == train.labels
        assert found.metrics["training_accuracy"] == pytest.approx(float(right.double().mean()), abs=2 / len(train))
        assert found.metrics["training_accuracy"] < 0.8  # pyright: ignore[reportOptionalOperand]
        exact = features.double().numpy()
        labels = train.labels.numpy()
        means = np.array([exact[labels == k].mean(axis=0) for k in range(10)])
        centred = (means - exact.mean(axis=0)) @ found.model.class_weights().detach().double().numpy().T
        simplex = (np.eye(10) - 0.1) / 3
        nc3 = np.linalg.norm(centred.T / np.linalg.norm(centred) - simplex)
        assert found.metrics["nc3"] == pytest.approx(nc3, rel=1e-4)

    def test_images_are_seen_without_augmentation(self, digits: TrainTest) -> None:
        recipe = _recipe(augmentation=["crop", "flip", "cutout"], mixing=["mixup"])
        seen = split(digits, recipe, torch.device("cpu")).train.take(np.array([5, 2]))
        plain = split(digits, _recipe(), torch.device("cpu")).train
        assert torch.equal(seen.images(slice(None)), plain.images(torch.tensor([5, 2])))
        assert seen.labels.tolist() == plain.labels[[5, 2]].tolist()
        assert seen.sample.tolist() == plain.sample[[5, 2]].tolist()


@pytest.mark.parametrize(
    ("loss", "bias", "sigmoid"),
    [
        ("softmax", [], False),
        ("bce", [0.0], True),
        ({"name": "bce_fixed", "bias": 1.5}, [1.5], True),
        ("bce_fixed", [math.log(9)], True),
        ({"name": "bce", "decide_by": "sigmoid"}, [0.0], True),
        ({"name": "bce_fixed", "decide_by": "sigmoid"}, [0.0], True),
        ({"name": "bce_fixed", "decide_by": "calibrated"}, [], False),
        ({"name": "bce", "decide_by": "probability"}, [], False),
        ({"name": "softmax", "decide_by": "sigmoid"}, [], False),
        ("poly1", [], False),
    ],
)
def test_the_bias_of_the_rows_is_known_wherever_scores_decide(
    digits: TrainTest, loss: Any, bias: list[float], *, sigmoid: bool
) -> None:
    found = fit(_recipe(loss, epochs=1), digits)
    assert (found.bias, found.sigmoid, found.learned_bias) == (pytest.approx(bias), sigmoid, [])
    assert (found.metrics["accuracy_at_bias"] is None) == (not bias)
    assert (found.metrics["calibration_error_sigmoid"] is None) == (not sigmoid)
    if bias:
        positive = found.evaluation.positive
        rival = found.evaluation.rival
        assert found.metrics["accuracy_at_bias"] == np.mean((rival < bias[0]) & (bias[0] < positive))


def test_what_decides_changes_nothing_in_training_and_all_columns(digits: TrainTest) -> None:
    raw, sigmoid, probability = (
        fit(_recipe({"name": "bce_diverse", "decide_by": by}), digits) for by in ("raw", "sigmoid", "probability")
    )
    assert raw.history == sigmoid.history == probability.history
    assert raw.evaluation.scores is not None
    assert sigmoid.evaluation.scores is not None
    np.testing.assert_allclose(
        sigmoid.evaluation.scores, raw.evaluation.scores - np.array(raw.learned_bias), rtol=1e-5, atol=1e-6
    )
    for of_raw, of_other, other in (
        ("uniform_accuracy_sigmoid", "uniform_accuracy", sigmoid),
        ("sample_wise_accuracy_sigmoid", "sample_wise_accuracy", sigmoid),
        ("calibration_error_sigmoid", "calibration_error_sigmoid", sigmoid),
        ("brier_score_sigmoid", "brier_score_sigmoid", sigmoid),
        ("uniform_accuracy_probability", "uniform_accuracy", probability),
        ("negative_log_likelihood", "negative_log_likelihood", probability),
        ("area_under_risk_coverage_probability", "area_under_risk_coverage", probability),
        ("temperature", "temperature", probability),
        ("uniform_accuracy_calibrated", "uniform_accuracy_calibrated", probability),
    ):
        assert raw.metrics[of_raw] is not None
        assert raw.metrics[of_raw] == pytest.approx(other.metrics[of_other], abs=1e-6)
