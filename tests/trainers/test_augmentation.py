"""Augmentation: what each kind does to a batch, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from trainers.augmentation import (
    OPERATIONS,
    Mixed,
    crop,
    cutmix,
    cutout,
    flip,
    mixup,
    operate,
    rand_augment,
)
from trainers.losses.bce import binary_cross_entropy

BLACK = torch.tensor([-2.0, -1.5])[None, :, None, None]
"""Of images with two channels."""

augmented = partial(rand_augment, black=BLACK)
Augmentation = Callable[[Tensor, torch.Generator], Tensor]
ALONE: dict[str, Augmentation] = {"crop": crop, "flip": flip, "cutout": cutout, "rand_augment": augmented}
MIXING: dict[str, Callable[[Tensor, torch.Generator], Mixed]] = {"mixup": mixup, "cutmix": cutmix}


def _images(count: int = 64, height: int = 16, width: int = 16) -> Tensor:
    """Values of at least 1, so that what is filled with 0 can be told."""
    return torch.rand(count, 2, height, width, generator=_draw(99)) + 1


def _draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("augment", ALONE.values(), ids=ALONE)
class TestEveryAugmentation:
    @pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 20), (5, 9)])
    def test_shape_and_type_stay(self, augment: Augmentation, height: int, width: int) -> None:
        images = _images(3, height, width)
        assert augment(images, _draw()).shape == images.shape
        assert augment(images, _draw()).dtype == images.dtype

    def test_channels_stay_last_in_memory(self, augment: Augmentation) -> None:
        images = _images().contiguous(memory_format=torch.channels_last)
        assert augment(images, _draw()).is_contiguous(memory_format=torch.channels_last)

    def test_the_generator_decides_all(self, augment: Augmentation) -> None:
        images = _images()
        assert torch.equal(augment(images, _draw()), augment(images, _draw()))
        assert not torch.equal(augment(images, _draw()), augment(images, _draw(1)))

    def test_the_images_given_stay_as_they_were(self, augment: Augmentation) -> None:
        images = _images()
        before = images.clone()
        augment(images, _draw())
        assert torch.equal(images, before)


class TestCropAndFlip:
    @pytest.mark.parametrize(("height", "width", "margin"), [(8, 8, 1), (32, 32, 4), (16, 24, 2), (4, 4, 1)])
    def test_a_crop_is_the_window_that_was_drawn(self, height: int, width: int, margin: int) -> None:
        images = _images(20, height, width)
        tops, lefts = torch.randint(0, 2 * margin + 1, (2, len(images), 1), generator=_draw()).tolist()
        for image, (top,), (left,), cropped in zip(images, tops, lefts, crop(images, _draw()), strict=True):
            padded = torch.zeros(2, height + 2 * margin, width + 2 * margin)
            padded[:, margin : margin + height, margin : margin + width] = image
            assert torch.equal(cropped, padded[:, top : top + height, left : left + width])

    def test_a_flip_mirrors_the_images_that_were_drawn(self) -> None:
        images = _images()
        chosen = torch.rand(len(images), generator=_draw()) < 0.5
        for image, mirror, flipped in zip(images, chosen, flip(images, _draw()), strict=True):
            assert torch.equal(flipped, image[:, :, range(15, -1, -1)] if mirror else image)
        assert 0.25 < chosen.float().mean() < 0.75


class TestCutout:
    @pytest.mark.parametrize(("share", "side"), [(0.25, 4), (0.5, 8), (0.01, 1)])
    def test_exactly_one_square_of_each_image_is_zero(self, share: float, side: int) -> None:
        images = _images(200)
        cut = cutout(images, _draw(), share)
        assert torch.equal(cut[cut != 0], images[cut != 0])
        whole = 0
        for zero in cut == 0:
            assert torch.equal(zero[0], zero[1])
            rows = zero[0].any(dim=1)
            columns = zero[0].any(dim=0)
            assert torch.equal(zero[0], rows[:, None] & columns)
            for places in (rows.nonzero().flatten(), columns.nonzero().flatten()):
                assert 1 <= len(places) <= side
                assert places.max() - places.min() + 1 == len(places)
                # Only the border of the image makes it smaller.
                assert len(places) == side or places.min() == 0 or places.max() == 15
            whole += int(zero[0].sum()) == side**2
        assert whole > 50

    def test_every_pixel_may_be_the_centre(self) -> None:
        cut = cutout(_images(4000, 8, 8), _draw(), share=1 / 8)
        assert torch.equal((cut == 0)[:, 0].any(dim=0), torch.ones(8, 8, dtype=torch.bool))


def _one(name: str, strength: float, images: Tensor) -> Tensor:
    count = len(images)
    kinds = torch.full((count,), OPERATIONS.index(name))
    return operate(images, kinds, torch.full((count,), strength), BLACK.to(images))


class TestRandAugment:
    def test_without_magnitude_nothing_happens(self) -> None:
        images = _images()
        assert torch.allclose(augmented(images, _draw(), magnitude=0), images, atol=1e-6)

    def test_without_operations_nothing_happens(self) -> None:
        images = _images()
        assert torch.equal(augmented(images, _draw(), operations=0), images)

    def test_most_images_change_and_the_more_the_higher_the_magnitude(self) -> None:
        images = _images(256)
        changes = [(augmented(images, _draw(), magnitude=magnitude) - images).abs() for magnitude in (1, 9, 30)]
        means = [change.mean().item() for change in changes]
        assert means == sorted(means)
        # Both draws are the identity once in 64.
        assert (changes[1].flatten(1).amax(dim=1) > 0).double().mean() > 0.9

    def test_the_identity_is_exact(self) -> None:
        images = _images()
        assert torch.equal(_one("identity", 0.3, images), images)

    @pytest.mark.parametrize(("name", "dim"), [("translate_x", 3), ("translate_y", 2)])
    def test_a_translation_shifts_and_fills_with_zero(self, name: str, dim: int) -> None:
        images = _images(3, 20, 20)
        strength = 2 / 20 / (150 / 331)  # two pixels of twenty
        expected = images.roll(-2, dims=dim)
        expected.narrow(dim, 18, 2).zero_()
        assert torch.allclose(_one(name, strength, images), expected, atol=1e-4)

    def test_a_full_rotation_of_three_keeps_a_quarter_turn(self) -> None:
        # 30 degrees thrice are 90: a blurred quarter turn, closest to the exact one of all quarter turns.
        smooth = torch.nn.functional.interpolate(_images(8, 4, 4), (24, 24), mode="bicubic")
        turned = smooth
        for _ in range(3):
            turned = _one("rotate", 1.0, turned)
        middle = (slice(None), slice(None), slice(8, 16), slice(8, 16))
        distances = [(turned - smooth.rot90(turns, (2, 3)))[middle].abs().mean().item() for turns in range(4)]
        assert min(distances) < 0.05
        assert min(distances) == distances[1]

    def test_an_oblong_image_is_rotated_and_not_sheared(self) -> None:
        images = torch.zeros(1, 2, 21, 41)
        images[:, :, 10, 20:31] = 1  # a line of ten pixels to the right of the centre
        rows, columns = _one("rotate", 1.0, images)[0, 0].gt(0.4).nonzero().T
        assert columns.max() - 20 == pytest.approx(10 * 3**0.5 / 2, abs=1)
        assert (rows - 10).abs().max() == pytest.approx(5, abs=1)

    @pytest.mark.parametrize(("name", "dim"), [("shear_x", 3), ("shear_y", 2)])
    def test_a_shear_moves_lines_by_their_distance_to_the_middle(self, name: str, dim: int) -> None:
        images = torch.zeros(1, 2, 21, 21)
        images.select(dim, 10).fill_(1)
        sheared = _one(name, 1.0, images)[0, 0]
        lines = sheared if dim == 3 else sheared.T
        assert (lines.argmax(dim=1) - 10).tolist() == pytest.approx([-0.3 * (i - 10) for i in range(21)], abs=0.51)

    def test_brightness_scales_the_distance_to_black(self) -> None:
        images = _images()
        assert torch.allclose(_one("brightness", 0.3, images) - BLACK, 1.27 * (images - BLACK), atol=1e-5)

    def test_contrast_scales_the_distance_to_the_mean_of_the_image(self) -> None:
        images = _images()
        mean = images.mean(dim=(2, 3), keepdim=True)
        assert torch.allclose(_one("contrast", -0.3, images) - mean, 0.73 * (images - mean), atol=1e-5)

    def test_every_image_has_operations_of_its_own(self) -> None:
        images = _images(1).expand(64, -1, -1, -1)
        assert len(augmented(images, _draw()).unique(dim=0)) > 16


@pytest.mark.parametrize("mix", MIXING.values(), ids=MIXING)
class TestMixing:
    def test_the_generator_decides_all(self, mix: Callable[[Tensor, torch.Generator], Mixed]) -> None:
        first, second, other = (mix(_images(), _draw(seed)) for seed in (0, 0, 1))
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.partner, second.partner)
        assert first.weight == second.weight != other.weight

    def test_partners_are_a_permutation(self, mix: Callable[[Tensor, torch.Generator], Mixed]) -> None:
        mixed = mix(_images(), _draw())
        assert mixed.partner.sort().values.tolist() == list(range(64))
        assert 0 <= mixed.weight <= 1
        assert mixed.images.shape == _images().shape

    def test_channels_stay_last_in_memory(self, mix: Callable[[Tensor, torch.Generator], Mixed]) -> None:
        images = _images().contiguous(memory_format=torch.channels_last)
        assert mix(images, _draw()).images.is_contiguous(memory_format=torch.channels_last)

    def test_a_batch_of_one_is_mixed_with_itself(self, mix: Callable[[Tensor, torch.Generator], Mixed]) -> None:
        images = _images(1)
        assert torch.allclose(mix(images, _draw()).images, images)

    @pytest.mark.parametrize("seed", range(5))
    def test_the_loss_is_that_of_soft_targets(self, mix: Callable[[Tensor, torch.Generator], Mixed], seed: int) -> None:
        mixed = mix(_images(), _draw(seed))
        labels = torch.randint(7, (64,), generator=_draw(seed))
        scores = 3 * torch.randn(64, 7, generator=_draw(seed), dtype=torch.float64)
        own = one_hot(labels, 7).double()
        partners = one_hot(labels[mixed.partner], 7).double()
        soft = mixed.weight * own + (1 - mixed.weight) * partners
        mixed_softmax = mixed.loss(lambda labels: cross_entropy(scores, labels, reduction="none"), labels)
        assert torch.allclose(mixed_softmax, cross_entropy(scores, soft, reduction="none"), rtol=1e-12)
        mixed_bce = mixed.loss(lambda labels: binary_cross_entropy(scores, labels), labels)
        soft_bce = binary_cross_entropy_with_logits(scores, soft, reduction="none").sum(dim=1)
        assert torch.allclose(mixed_bce, soft_bce, rtol=1e-12)


class TestMixup:
    def test_images_are_blended_by_the_weight(self) -> None:
        images = _images()
        mixed = mixup(images, _draw())
        expected = [mixed.weight * images[i] + (1 - mixed.weight) * images[j] for i, j in enumerate(mixed.partner)]
        assert torch.allclose(mixed.images, torch.stack(expected))

    def test_the_weight_follows_its_beta_distribution(self) -> None:
        images = _images(2)
        draw = _draw()
        weights = torch.tensor([mixup(images, draw, alpha=2.0).weight for _ in range(2000)])
        assert weights.mean().item() == pytest.approx(0.5, abs=0.02)
        assert weights.var().item() == pytest.approx(0.05, rel=0.1)


class TestCutmix:
    @pytest.mark.parametrize("seed", range(20))
    def test_one_box_comes_from_the_partner_and_the_weight_is_what_is_left(self, seed: int) -> None:
        images = _images(8, 12, 20)
        mixed = cutmix(images, _draw(seed))
        pasted = (mixed.images != images).any(dim=1)
        others = torch.tensor([i != j for i, j in enumerate(mixed.partner.tolist())])
        box = pasted[others][0]
        assert torch.equal(pasted, others[:, None, None] & box)
        assert torch.equal(box, box.any(dim=1)[:, None] & box.any(dim=0))
        assert mixed.weight == pytest.approx(1 - box.double().mean().item())
        assert torch.equal(mixed.images, torch.where(box, images[mixed.partner], images))

    def test_the_box_shrinks_with_the_weight_that_was_drawn(self) -> None:
        # Large alpha: the weight is one half, and a box that fits has half the area.
        weights = [cutmix(_images(2, 64, 64), _draw(seed), alpha=1e6).weight for seed in range(50)]
        assert min(weights) == pytest.approx(0.5, abs=0.03)
        assert all(weight >= 0.49 for weight in weights)
