"""Splits and batches: drawn from dataset and seed alone, and faithful to the images."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from trainers.backbones import InputShape
from trainers.data import Batch, Resident, Splits, batches, shifted, split
from trainers.datasets import Images, TrainTest
from trainers.recipe import Recipe

CPU = torch.device("cpu")
TRAIN = 50
TEST = 7


def _recipe(seed: int = 0, loss: str = "softmax", backbone: str = "resnet8", **training: Any) -> Recipe:
    settings = {"batch_size": 8, "validation_fraction": 0.2, **training}
    return Recipe(loss=loss, backbone=backbone, dataset="digits", seed=seed, training=settings)


def _numbered(count: int, start: int = 0) -> Images:
    """Images of five classes that tell which they are: every pixel of the first channel is the number."""
    numbers = np.arange(start, start + count)
    draw = np.random.default_rng(start)
    pixels = draw.integers(0, 256, (count, 2, 4, 6)).astype(np.uint8)
    pixels[:, 0] = numbers[:, None, None]
    return Images(pixels, numbers.astype(np.int64) % 5)


@pytest.fixture
def data() -> TrainTest:
    return TrainTest(_numbered(TRAIN), _numbered(TEST, start=200), classes=300)


def _labels(part: Resident) -> list[int]:
    return part.labels.tolist()


def _which(part: Resident) -> list[int]:
    """The numbers of the images."""
    return part.raw()[:, 0, 0, 0].tolist()


def _shown(batch: Batch, train: Resident) -> list[int]:
    """The numbers of a batch's images."""
    numbers = batch.images[:, 0, 0, 0] * train.deviation[0, 0] + train.mean[0, 0]
    return numbers.flatten().round().int().tolist()


def _epoch(data: TrainTest, recipe: Recipe, epoch: int = 1) -> list[Batch]:
    return list(batches(split(data, recipe, CPU).train, recipe, epoch))


def _same(first: list[Batch], second: list[Batch]) -> bool:
    return all(
        torch.equal(batch.images, other.images) and torch.equal(batch.labels, other.labels)
        for batch, other in zip(first, second, strict=True)
    )


class TestSplit:
    def test_training_and_validation_share_the_training_images_between_them(self, data: TrainTest) -> None:
        splits = split(data, _recipe(), CPU)
        assert len(splits.validation) == 10
        assert sorted(_which(splits.train) + _which(splits.validation)) == list(range(TRAIN))

    def test_the_test_images_stay_whole_and_in_order(self, data: TrainTest) -> None:
        splits = split(data, _recipe(), CPU)
        assert _labels(splits.test) == data.test.labels.tolist()
        assert torch.equal(splits.test.raw(), torch.from_numpy(data.test.pixels))

    def test_every_image_keeps_its_label(self, data: TrainTest) -> None:
        splits = split(data, _recipe(), CPU)
        for part in (splits.train, splits.validation, splits.test):
            assert [number % 5 for number in _which(part)] == _labels(part)

    @pytest.mark.parametrize(
        "other",
        [
            _recipe(loss="bce_unified"),
            _recipe(backbone="resnet20"),
            _recipe(epochs=3, optimizer="adamw", batch_size=16, augmentation=["flip"]),
        ],
        ids=["loss", "backbone", "training"],
    )
    def test_the_split_depends_on_nothing_but_dataset_and_seed(self, data: TrainTest, other: Recipe) -> None:
        first = split(data, _recipe(), CPU)
        second = split(data, other, CPU)
        assert _which(first.train) == _which(second.train)
        assert _which(first.validation) == _which(second.validation)

    def test_another_seed_holds_out_others(self, data: TrainTest) -> None:
        first, second = (set(_which(split(data, _recipe(seed), CPU).validation)) for seed in (0, 1))
        assert first != second

    def test_every_class_gives_its_share(self, data: TrainTest) -> None:
        splits = split(data, _recipe(), CPU)
        assert Counter(_labels(splits.validation)) == dict.fromkeys(range(5), 2)

    def test_a_larger_validation_split_contains_the_smaller(self, data: TrainTest) -> None:
        small, large = (
            set(_which(split(data, _recipe(validation_fraction=share), CPU).validation)) for share in (0.1, 0.4)
        )
        assert small < large

    def test_without_a_validation_split_all_images_train(self, data: TrainTest) -> None:
        splits = split(data, _recipe(validation_fraction=0), CPU)
        assert len(splits.validation) == 0
        assert sorted(_which(splits.train)) == list(range(TRAIN))

    def test_it_knows_the_shape_of_an_image_and_the_number_of_classes(self, data: TrainTest) -> None:
        splits = split(data, _recipe(), CPU)
        assert splits.shape == InputShape(channels=2, height=4, width=6)
        assert splits.classes == 300

    def test_a_batch_larger_than_the_data_is_refused_with_both_numbers(self, data: TrainTest) -> None:
        with pytest.raises(ValueError, match=r"batch_size 41 is larger than the 40 training images of 'digits'"):
            split(data, _recipe(batch_size=41), CPU)
        assert len(_epoch(data, _recipe(batch_size=40))) == 1


class TestNormalisation:
    def test_training_images_have_mean_0_and_deviation_1_by_channel(self, data: TrainTest) -> None:
        train = split(data, _recipe(), CPU).train
        images = train.images(slice(None)).double()
        torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(2).double(), atol=1e-6, rtol=0)
        torch.testing.assert_close(images.std((0, 2, 3)), torch.ones(2).double(), atol=1e-6, rtol=0)

    def test_only_training_pixels_count(self, data: TrainTest) -> None:
        before = split(data, _recipe(), CPU)
        pixels = data.train.pixels.copy()
        pixels[_which(before.validation)] = 255
        glaring = TrainTest(Images(pixels, data.train.labels), Images(data.test.pixels * 0, data.test.labels), 300)
        after = split(glaring, _recipe(), CPU)
        assert torch.equal(after.train.mean, before.train.mean)
        assert torch.equal(after.train.deviation, before.train.deviation)

    def test_all_splits_share_the_numbers_of_the_training_split(self, data: TrainTest) -> None:
        splits = split(data, _recipe(), CPU)
        kept = data.train.pixels[_which(splits.train)].astype(np.float64)
        mean = kept.mean((0, 2, 3), keepdims=True)
        deviation = kept.std((0, 2, 3), ddof=1, keepdims=True)
        expected = (data.test.pixels - mean) / deviation
        np.testing.assert_allclose(splits.test.images(slice(None)), expected, rtol=1e-5, atol=1e-5)

    def test_a_channel_without_variation_stays_finite(self) -> None:
        images = Images(np.full((20, 1, 2, 2), 7, np.uint8), np.arange(20) % 2)
        train = split(TrainTest(images, images, classes=2), _recipe(), CPU).train
        assert torch.equal(train.images(slice(None)), torch.zeros(16, 1, 2, 2))

    def test_images_come_in_the_order_asked_for(self, data: TrainTest) -> None:
        test = split(data, _recipe(), CPU).test
        assert torch.equal(test.images(torch.tensor([3, 1])), test.images(slice(None))[[3, 1]])


class TestBatches:
    @pytest.mark.parametrize("augmentation", [[], ["crop", "flip"]])
    def test_different_losses_and_backbones_see_the_same_batches(
        self, data: TrainTest, augmentation: list[str]
    ) -> None:
        first = _epoch(data, _recipe(augmentation=augmentation))
        assert _same(first, _epoch(data, _recipe(loss="bce_unified", augmentation=augmentation)))
        assert _same(first, _epoch(data, _recipe(backbone="resnet20", augmentation=augmentation)))

    @pytest.mark.parametrize(("seed", "epoch"), [(1, 1), (0, 2)], ids=["seed", "epoch"])
    def test_another_seed_or_epoch_brings_another_order(self, data: TrainTest, seed: int, epoch: int) -> None:
        part = split(data, _recipe(), CPU).train
        first = [batch.labels.tolist() for batch in batches(part, _recipe(), 1)]
        assert first != [batch.labels.tolist() for batch in batches(part, _recipe(seed), epoch)]

    def test_the_global_generator_has_no_say(self, data: TrainTest) -> None:
        epochs = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            epochs.append(_epoch(data, _recipe(augmentation=["crop", "flip"])))
        assert _same(*epochs)

    def test_an_incomplete_last_batch_is_left_out(self, data: TrainTest) -> None:
        epoch = _epoch(data, _recipe(batch_size=12))
        assert [len(batch.labels) for batch in epoch] == [12, 12, 12]

    def test_an_epoch_shows_no_image_twice(self, data: TrainTest) -> None:
        train = split(data, _recipe(), CPU).train
        seen = [number for batch in _epoch(data, _recipe()) for number in _shown(batch, train)]
        assert len(seen) == len(set(seen)) == 40

    def test_images_and_labels_belong_together(self, data: TrainTest) -> None:
        train = split(data, _recipe(), CPU).train
        for batch in batches(train, _recipe(), 1):
            images = batch.images
            labels = batch.labels
            assert [number % 5 for number in _shown(batch, train)] == labels.tolist()
            assert images.dtype == torch.float32
            assert labels.dtype == torch.int64


class TestMixing:
    @pytest.mark.parametrize("mixing", [["mixup"], ["cutmix"], ["mixup", "cutmix"]], ids=str)
    def test_losses_are_mixed_as_images_are(self, data: TrainTest, mixing: list[str]) -> None:
        for batch in _epoch(data, _recipe(mixing=mixing)):
            assert batch.mixed is not None
            losses = batch.loss(lambda labels: labels.double())
            expected = batch.mixed.weight * batch.labels + (1 - batch.mixed.weight) * batch.labels[batch.mixed.partner]
            torch.testing.assert_close(losses, expected.double())

    def test_unmixed_batches_have_the_loss_of_their_labels(self, data: TrainTest) -> None:
        for batch in _epoch(data, _recipe()):
            assert batch.mixed is None
            assert torch.equal(batch.loss(lambda labels: labels.double()), batch.labels.double())

    @pytest.mark.parametrize("kind", ["cutout", "rand_augment"])
    def test_every_augmentation_of_a_recipe_changes_its_batches(self, data: TrainTest, kind: str) -> None:
        assert not _same(_epoch(data, _recipe()), _epoch(data, _recipe(augmentation=[kind])))


def _modified(data: TrainTest, seed: int = 0, **modifiers: Any) -> Splits:
    recipe = Recipe(
        loss="softmax",
        backbone="resnet8",
        dataset={"name": "digits", **modifiers},
        seed=seed,
        training={"batch_size": 2, "validation_fraction": 0.2},
    )
    return split(data, recipe, CPU)


@pytest.fixture
def balanced() -> TrainTest:
    """Four classes of 40 training and 5 test images."""
    train = _numbered(160)
    test = _numbered(20, start=200)
    return TrainTest(Images(train.pixels, np.arange(160) % 4), Images(test.pixels, np.arange(20) % 4), classes=4)


class TestModifiers:
    def test_held_out_classes_are_unknown_and_the_others_renumbered(self, balanced: TrainTest) -> None:
        splits = _modified(balanced, hold_out=[1])
        assert splits.classes == 3
        assert set(_labels(splits.train)) == set(_labels(splits.validation)) == set(_labels(splits.test)) == {0, 1, 2}
        assert set(_labels(splits.unknown)) == {1}
        assert splits.test.sample.tolist() == [row for row in range(20) if row % 4 != 1]
        assert splits.unknown.sample.tolist() == [row for row in range(20) if row % 4 == 1]

    def test_a_class_that_does_not_exist_cannot_be_held_out(self, balanced: TrainTest) -> None:
        with pytest.raises(ValueError, match="classes are 0 to 3"):
            _modified(balanced, hold_out=[7])

    def test_without_held_out_classes_nothing_is_unknown(self, balanced: TrainTest) -> None:
        splits = _modified(balanced)
        assert len(splits.unknown) == 0
        assert splits.test.sample.tolist() == list(range(20))

    def test_a_fraction_keeps_the_balance_of_classes(self, balanced: TrainTest) -> None:
        splits = _modified(balanced, train_fraction=0.5)
        kept = Counter(_labels(splits.train) + _labels(splits.validation))
        assert kept == dict.fromkeys(range(4), 20)
        assert len(splits.test) == 20

    def test_a_long_tail_falls_exponentially_from_the_first_class_to_the_last(self, balanced: TrainTest) -> None:
        splits = _modified(balanced, imbalance=8)
        kept = Counter(_labels(splits.train) + _labels(splits.validation))
        assert kept == {k: int(40 * 8 ** (-k / 3)) for k in range(4)}
        assert Counter(_labels(splits.test)) == dict.fromkeys(range(4), 5)

    def test_label_noise_reaches_the_validation_split_and_never_the_test_split(self, balanced: TrainTest) -> None:
        clean, noisy = (split(balanced, _recipe(label_noise=share), CPU) for share in (0.0, 0.5))
        for part, other in ((clean.train, noisy.train), (clean.validation, noisy.validation)):
            changed = sum(a != b for a, b in zip(_labels(part), _labels(other), strict=True))
            assert 0.3 < changed / len(part) < 0.7
        assert _labels(clean.test) == _labels(noisy.test)

    def test_a_trial_is_scored_under_the_same_noise(self, balanced: TrainTest) -> None:
        final = _recipe(label_noise=0.5)
        trial = final.model_copy(update={"scored_on": "validation"})
        assert _labels(split(balanced, trial, CPU).test) == _labels(split(balanced, final, CPU).validation)

    def test_shifts_leave_training_alone_and_are_the_same_for_every_loss(self) -> None:
        data = TrainTest(_eight(30), _eight(6), classes=3)
        shift = {"corruption": ["contrast", "gaussian_noise"], "severity": [1, 5]}
        first, second = (
            Recipe(
                loss=loss,
                backbone="resnet8",
                dataset={"name": "digits", "shift": shift},
                seed=0,
                training={"batch_size": 4},
            )
            for loss in ("softmax", "bce")
        )
        splits = split(data, first, CPU)
        plain = split(data, _recipe(validation_fraction=0.1, batch_size=4), CPU)
        assert _labels(splits.train) == _labels(plain.train)
        found = dict(shifted(splits.test, first))
        assert list(found) == ["contrast-1", "contrast-5", "gaussian_noise-1", "gaussian_noise-5"]
        for name, again in shifted(splits.test, second):
            assert torch.equal(found[name].raw(), again.raw())
            assert not torch.equal(found[name].raw(), splits.test.raw())
            assert _labels(found[name]) == _labels(splits.test)


def _eight(count: int) -> Images:
    pixels = np.random.default_rng(count).integers(0, 256, (count, 1, 8, 8)).astype(np.uint8)
    return Images(pixels, np.arange(count, dtype=np.int64) % 3)


def test_pixels_too_large_for_the_device_give_the_same_images(data: TrainTest, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = split(data, _recipe(), CPU)
    monkeypatch.setattr("trainers.data.RESIDENT", 0)
    part = split(data, _recipe(), CPU)
    assert torch.equal(whole.train.images(slice(3, 9)), part.train.images(slice(3, 9)))


def test_an_image_reached_by_the_shape(data: TrainTest) -> None:
    assert split(data, _recipe(), CPU).shape == InputShape(2, 4, 6)
