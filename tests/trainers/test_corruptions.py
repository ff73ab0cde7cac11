"""Corruptions: the published strengths, drawn from one generator, on images of every size."""

from __future__ import annotations

import colorsys
import subprocess
import sys
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

from trainers.corruptions import CORRUPTIONS, SEVERITIES, Corruption, corrupt
from trainers.corruptions.apply import FAMILIES, in_chunks
from trainers.corruptions.blur import _sources  # pyright: ignore[reportPrivateUsage]
from trainers.corruptions.constants import CIFAR, IMAGENET, PUBLISHED, TINY_IMAGENET, strength

RANDOM: tuple[Corruption, ...] = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "glass_blur",
    "motion_blur",
    "snow",
    "frost",
    "fog",
    "elastic_transform",
)

# Where the published constants do not make a stronger severity differ more in the mean: smoothing
# undoes what glass has moved, frost darkens what it covers, the points of the elastic transform
# are pulled less as its displacement grows, and pixelate's half of 64 falls on whole pixels.
NOT_MONOTONE: set[tuple[Corruption, int]] = {
    ("glass_blur", 32),
    ("glass_blur", 64),
    ("glass_blur", 224),
    ("frost", 32),
    ("pixelate", 64),
    ("elastic_transform", 32),
    ("elastic_transform", 64),
    ("elastic_transform", 224),
}


@cache
def _photographs(side: int, cut: int = 160) -> Tensor:
    """Tiles of two photographs, uint8 (n, 3, side, side)."""
    photographs = np.concatenate([load_sample_image("china.jpg"), load_sample_image("flower.jpg")], axis=1)
    tiles = torch.from_numpy(photographs.copy()).permute(2, 0, 1).unfold(1, cut, cut).unfold(2, cut, cut)
    images = tiles.permute(1, 2, 0, 3, 4).flatten(0, 1).float()
    return torch.nn.functional.interpolate(images, (side, side), mode="area").round().to(torch.uint8)


def _noise(channels: int, height: int, width: int, count: int = 5) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, channels, height, width), dtype=torch.uint8, generator=draw)


def _draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _distances(images: Tensor, corruption: Corruption) -> list[float]:
    corrupted = (corrupt(images, corruption, severity, _draw()) for severity in SEVERITIES)
    return [(image.float() - images).abs().mean().item() for image in corrupted]


def test_the_names_are_known_without_torch() -> None:
    program = (
        "import sys; from trainers.corruptions import CORRUPTIONS; print(len(CORRUPTIONS), 'torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["15", "False"]


def test_every_name_has_a_function_and_constants_of_each_severity() -> None:
    assert set(FAMILIES) == set(CORRUPTIONS)
    for constants in PUBLISHED.values():
        assert set(constants) == set(CORRUPTIONS)
        assert all(len(levels) == len(SEVERITIES) for levels in constants.values())


@pytest.mark.parametrize(
    ("side", "constants", "scale"),
    [
        (8, CIFAR, 1),
        (28, CIFAR, 1),
        (32, CIFAR, 1),
        (40, CIFAR, 1.25),
        (64, TINY_IMAGENET, 1),
        (96, TINY_IMAGENET, 1.5),
        (128, IMAGENET, 128 / 224),
        (224, IMAGENET, 1),
        (448, IMAGENET, 2),
    ],
)
def test_the_nearest_published_side_decides_the_constants(
    side: int, constants: dict[Corruption, tuple[tuple[float, ...], ...]], scale: float
) -> None:
    assert strength("snow", 3, side) == (constants["snow"][2], scale)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
class TestEveryFamily:
    @pytest.mark.parametrize(
        ("channels", "height", "width"), [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 9, 21), (1, 96, 130)]
    )
    def test_shape_and_type_stay(self, corruption: Corruption, channels: int, height: int, width: int) -> None:
        images = _noise(channels, height, width, count=2)
        for severity in SEVERITIES:
            corrupted = corrupt(images, corruption, severity, _draw())
            assert corrupted.shape == images.shape
            assert corrupted.dtype == torch.uint8

    @pytest.mark.parametrize("value", [0, 7, 255])
    def test_images_of_one_colour_are_no_exception(self, corruption: Corruption, value: int) -> None:
        images = torch.full((2, 3, 16, 16), value, dtype=torch.uint8)
        assert corrupt(images, corruption, 5, _draw()).shape == images.shape

    def test_no_images_stay_none(self, corruption: Corruption) -> None:
        assert corrupt(_noise(3, 8, 8, count=0), corruption, 1, _draw()).shape == (0, 3, 8, 8)

    def test_the_generator_decides_all(self, corruption: Corruption) -> None:
        images = _photographs(32)
        results = []
        for seed in (0, 1):
            torch.manual_seed(seed)  # must not matter
            results.append(corrupt(images, corruption, 4, _draw()))
        assert torch.equal(*results)
        assert torch.equal(results[0], corrupt(images, corruption, 4, _draw(seed=1))) == (corruption not in RANDOM)

    @pytest.mark.parametrize("side", [8, 32, 64])
    @pytest.mark.parametrize("severity", [1, 4, 5])
    def test_the_size_of_a_chunk_does_not_matter(self, corruption: Corruption, side: int, severity: int) -> None:
        images = _photographs(side)
        whole = in_chunks(images, corruption, severity, _draw())
        for values in (1, 3 * images[0].numel()):
            assert torch.equal(in_chunks(images, corruption, severity, _draw(), values), whole)

    def test_equal_images_get_draws_of_their_own(self, corruption: Corruption) -> None:
        first, second = corrupt(_photographs(32)[[1, 1]], corruption, 3, _draw())
        assert torch.equal(first, second) == (corruption not in RANDOM)

    def test_the_images_given_stay_as_they_were(self, corruption: Corruption) -> None:
        images = _photographs(32)
        before = images.clone()
        corrupt(images, corruption, 5, _draw())
        assert torch.equal(images, before)

    @pytest.mark.parametrize("side", [8, 28, 32, 64])
    def test_the_lowest_severity_changes_almost_every_photograph(self, corruption: Corruption, side: int) -> None:
        images = _photographs(side)
        changed = (corrupt(images, corruption, 1, _draw()) != images).flatten(1).any(dim=1).double().mean()
        # A factor of 1.05 makes no whole pixel more of eight, so that the published zoom does nothing.
        assert (changed > 0.7) == ((corruption, side) != ("zoom_blur", 8))

    @pytest.mark.parametrize("side", [32, 64, 224])
    def test_a_higher_severity_distorts_more(self, corruption: Corruption, side: int) -> None:
        distances = _distances(_photographs(side)[:: 2 if side == 224 else 1], corruption)
        # Snow at 32 and fog at 224 have severities that are equally far on average: a few per cent are chance.
        grows = all(higher > 0.97 * lower for lower, higher in pairwise(distances))
        assert grows == ((corruption, side) not in NOT_MONOTONE)
        assert distances[0] > 0.3


def _reference(images: Tensor) -> list[NDArray[np.float64]]:
    """Each image for itself, (H, W, C) in [0, 1]."""
    return [image.permute(1, 2, 0).numpy() / 255 for image in images]


def _as_bytes(image: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)).permute(2, 0, 1)


def _drawn_by_formula() -> Tensor:
    """An image (1, 3, 32, 32) that a line of text says."""
    row, column, channel = np.meshgrid(np.arange(32), np.arange(32), np.arange(3), indexing="ij")
    image = (7 * row * row + 3 * column * column + 5 * row * column + 50 * channel) % 256
    return torch.from_numpy(image.astype(np.uint8)).permute(2, 0, 1)[None]


class TestNoise:
    def test_gaussian_noise_is_normal_noise_drawn_from_the_seed_of_each_image(self) -> None:
        images = _photographs(32)
        seeds = torch.randint(2**63 - 1, (len(images),), generator=_draw()).tolist()
        corrupted = corrupt(images, "gaussian_noise", 3, _draw())
        for image, seed, result in zip(_reference(images), seeds, corrupted, strict=True):
            normal = torch.randn(3, 32, 32, generator=_draw(seed), dtype=torch.float64).permute(1, 2, 0).numpy()
            assert torch.equal(result, _as_bytes(image + 0.08 * normal))

    @pytest.mark.parametrize("severity", SEVERITIES)
    def test_gaussian_noise_has_the_published_deviation(self, severity: int) -> None:
        noise = corrupt(torch.full((40, 1, 32, 32), 128, dtype=torch.uint8), "gaussian_noise", severity, _draw())
        assert noise.double().std().item() / 255 == pytest.approx(
            [0.04, 0.06, 0.08, 0.09, 0.10][severity - 1], rel=0.02
        )

    def test_shot_noise_varies_as_the_light_does(self) -> None:
        for value in (20, 100):
            noise = corrupt(torch.full((60, 1, 32, 32), value, dtype=torch.uint8), "shot_noise", 2, _draw()).double()
            assert noise.mean().item() == pytest.approx(value, abs=0.5)  # counts fall on few bytes
            assert noise.std().item() == pytest.approx((value * 255 / 250) ** 0.5, rel=0.05)

    def test_impulse_noise_makes_the_published_share_black_or_white(self) -> None:
        noise = corrupt(torch.full((100, 1, 32, 32), 128, dtype=torch.uint8), "impulse_noise", 5, _draw())
        for value in (0, 255):
            assert (noise == value).double().mean().item() == pytest.approx(0.035, rel=0.05)
        assert set(noise.unique().tolist()) == {0, 128, 255}


class TestBlur:
    @pytest.mark.parametrize("corruption", ["defocus_blur", "motion_blur", "zoom_blur", "glass_blur"])
    @pytest.mark.parametrize("side", [16, 64, 128])
    def test_one_colour_stays_itself(self, corruption: Corruption, side: int) -> None:
        images = torch.full((2, 3, side, side), 93, dtype=torch.uint8)
        assert torch.equal(corrupt(images, corruption, 5, _draw()), images)

    def test_defocus_turns_a_point_into_a_disk(self) -> None:
        point = torch.zeros(1, 1, 33, 33, dtype=torch.uint8)
        point[..., 16, 16] = 255
        disk = corrupt(point, "defocus_blur", 5, _draw())[0, 0, 14:19, 14:19]
        # All within 1.5 pixels, 33 / 32 of them to be exact: nine pixels alike; its edge is all but sharp.
        assert disk[1:4, 1:4].unique().tolist() == [28]
        assert disk.sum() == 9 * 28

    def test_glass_moves_pixels_by_one_at_most_and_invents_none(self) -> None:
        images = _noise(1, 32, 32)
        moved = corrupt(images, "glass_blur", 1, _draw())  # its smoothing is too narrow to matter
        near = torch.stack([images.roll((down, right), (2, 3)) for down in (0, 1) for right in (0, 1)])
        assert (near == moved).any(dim=0).all()
        assert (moved != images).double().mean().item() > 0.5

    @pytest.mark.parametrize("reach", [1, 2, 4])
    def test_glass_takes_pixels_in_the_published_order(self, reach: int) -> None:
        draw = np.random.RandomState(reach)
        jumps = draw.randint(-reach, reach, (3, 2, 17, 21))
        sources = _sources(torch.from_numpy(jumps), reach)
        for jump, source in zip(jumps, sources.numpy(), strict=True):
            image = np.arange(17 * 21).reshape(17, 21, 1).repeat(3, axis=2)
            before = image.reshape(-1, 3).copy()
            for h in range(17 - reach, reach, -1):  # as in make_cifar_c.py, with its views of an array
                for w in range(21 - reach, reach, -1):
                    dy, dx = jump[:, h, w]
                    image[h, w], image[h + dy, w + dx] = image[h + dy, w + dx], image[h, w]
            assert np.array_equal(image.reshape(-1, 3), before[source])

    # By make_cifar_c.py of hendrycks/robustness (scikit-image 0.26), on the image below; glass: mean of 40 seeds.
    @pytest.mark.parametrize(("severity", "published"), [(1, 57.43), (2, 57.37), (3, 55.37), (4, 70.96), (5, 65.34)])
    def test_glass_is_as_harsh_as_published(self, severity: int, published: float) -> None:
        image = _drawn_by_formula()
        moved = corrupt(image.repeat(100, 1, 1, 1), "glass_blur", severity, _draw())
        # The published code also cuts off fractions half-way, which we do not: a third of a byte.
        assert (moved.double() - image).abs().mean().item() == pytest.approx(published, abs=0.9)

    @pytest.mark.parametrize(
        ("severity", "published"),
        [
            (1, (0.0, 126.823, 120.189, 118.74, 81.141, 153.381)),
            (2, (5.769, 122.668, 117.943, 120.001, 115.895, 156.649)),
            (3, (10.588, 127.862, 120.855, 122.51, 117.609, 154.399)),
            (4, (21.818, 130.351, 120.632, 136.002, 113.948, 154.238)),
            (5, (34.444, 136.651, 123.01, 148.349, 117.815, 144.025)),
        ],
    )
    def test_zoom_is_the_published_one_pixel_for_pixel(self, severity: int, published: tuple[float, ...]) -> None:
        zoomed = corrupt(_drawn_by_formula(), "zoom_blur", severity, _draw())[0]
        places = ((0, 0, 0), (1, 3, 28), (2, 16, 16), (0, 31, 31), (1, 30, 2), (0, 9, 20))
        assert [zoomed[place].item() for place in places] == pytest.approx(published, abs=0.501)

    def test_motion_blurs_along_the_horizontal_more_than_along_the_vertical(self) -> None:
        images = _noise(1, 32, 32, count=200)
        blurred = corrupt(images, "motion_blur", 5, _draw()).double()
        assert blurred.diff(dim=3).abs().mean() < 0.8 * blurred.diff(dim=2).abs().mean()


class TestWeather:
    @pytest.mark.parametrize(("severity", "more"), [(1, 0.05), (5, 0.3)])
    def test_brightness_adds_to_the_value_of_hue_saturation_and_value(self, severity: int, more: float) -> None:
        images = _photographs(32)[:4].clone()
        images[0, :, :4] = 0
        corrupted = corrupt(images, "brightness", severity, _draw())
        for image, result in zip(_reference(images), corrupted, strict=True):
            expected = np.empty_like(image)
            for place in np.ndindex(32, 32):
                hue, saturation, value = colorsys.rgb_to_hsv(*image[place])
                expected[place] = colorsys.hsv_to_rgb(hue, saturation, min(1, value + more))
            assert (result.int() - _as_bytes(expected).int()).abs().max() <= 1  # one half may round either way

    def test_brightness_without_colour_is_a_sum(self) -> None:
        images = _noise(1, 16, 16)
        expected = (images.double() + 0.1 * 255).clamp_max(255).round()
        assert (corrupt(images, "brightness", 2, _draw()) - expected).abs().max() <= 1

    def test_snow_brightens_every_pixel(self) -> None:
        images = _photographs(32)
        assert (corrupt(images, "snow", 3, _draw()) >= images).all()

    def test_frost_hides_more_of_the_image_as_its_severity_grows(self) -> None:
        images = _photographs(32)
        kept = []
        for severity in SEVERITIES:
            both = torch.stack([images.flatten(1), corrupt(images, "frost", severity, _draw()).flatten(1)], dim=1)
            kept.append(np.mean([torch.corrcoef(pair.double())[0, 1].item() for pair in both]))
        assert kept == sorted(kept, reverse=True)

    def test_fog_differs_from_place_to_place_and_not_between_channels(self) -> None:
        grey = torch.full((3, 3, 32, 32), 100, dtype=torch.uint8)
        fog = corrupt(grey, "fog", 3, _draw())
        assert (fog == fog[:, :1]).all()
        assert (fog.double().std(dim=(2, 3)) > 2).all()


def _coarse(image: NDArray[np.uint8], few: int) -> NDArray[np.float64]:
    """A square image shrunk to `few` pixels a side and enlarged again, pixel by pixel."""
    size = len(image)
    # Pixel i, of centre i + 1/2, lies in the coarse pixel whose window (j, j + 1] * size / few holds the centre.
    members = [[i for i in range(size) if j * size < (i + 0.5) * few <= (j + 1) * size] for j in range(few)]
    result = np.empty(image.shape)
    for row, column in np.ndindex(size, size):
        window = np.ix_(members[(2 * row + 1) * few // (2 * size)], members[(2 * column + 1) * few // (2 * size)])
        result[row, column] = image[window].astype(float).mean()
    return result


class TestDigital:
    @pytest.mark.parametrize(("severity", "share"), [(1, 0.75), (5, 0.15)])
    def test_contrast_shrinks_the_distance_to_the_mean_of_each_channel(self, severity: int, share: float) -> None:
        images = _photographs(32)
        corrupted = corrupt(images, "contrast", severity, _draw())
        for image, result in zip(_reference(images), corrupted, strict=True):
            mean = image.mean(axis=(0, 1))
            assert (result.int() - _as_bytes(mean + share * (image - mean)).int()).abs().max() <= 1

    @pytest.mark.parametrize("severity", SEVERITIES)
    @pytest.mark.parametrize("side", [8, 28, 32, 64])
    def test_pixelate_averages_windows_as_pillow_does(self, side: int, severity: int) -> None:
        images = _noise(1, side, side, count=2)
        few = int(side * strength("pixelate", severity, side).constants[0])
        for image, result in zip(images[:, 0].numpy(), corrupt(images, "pixelate", severity, _draw()), strict=True):
            assert np.abs(result[0].numpy() - _coarse(image, few)).max() <= 0.5 + 1e-6
            small = Image.fromarray(image).resize((few, few), Image.Resampling.BOX)
            pillow = np.asarray(small.resize((side, side), Image.Resampling.BOX), dtype=int)
            assert np.abs(result[0].numpy() - pillow).max() <= 1  # Pillow rounds between rows and columns

    @pytest.mark.parametrize("channels", [1, 3])
    def test_jpeg_loses_something_but_not_much(self, channels: int) -> None:
        images = _photographs(32)[:, :channels]
        difference = corrupt(images, "jpeg_compression", 5, _draw()).double() - images
        assert 1 < difference.abs().mean() < 12
        assert difference.mean().abs() < 1

    def test_elastic_moves_what_is_there_and_invents_nothing_brighter(self) -> None:
        images = _photographs(32)
        moved = corrupt(images, "elastic_transform", 5, _draw())
        assert (moved.amax(dim=(2, 3)) <= images.amax(dim=(2, 3))).all()
        assert (moved.amin(dim=(2, 3)) >= images.amin(dim=(2, 3))).all()

    def test_the_pull_of_the_elastic_transform_alone_keeps_a_slope_a_slope(self) -> None:
        slope = (torch.arange(32, dtype=torch.uint8) * 8)[:, None].expand(1, 1, 32, 32).contiguous()
        inner = corrupt(slope, "elastic_transform", 1, _draw())[0, 0, 10:22, 10:22].double()  # severity 1 only pulls
        assert (inner.diff(n=2, dim=0).abs() <= 2).all()  # up to rounding
        assert (inner.diff(n=2, dim=1).abs() <= 2).all()


class TestRefusals:
    def test_an_unknown_name_is_refused(self) -> None:
        with pytest.raises(ValueError, match="No corruption named 'rain'"):
            corrupt(_noise(3, 8, 8), "rain", 1, _draw())  # pyright: ignore[reportArgumentType]

    @pytest.mark.parametrize("severity", [0, 6])
    def test_an_unknown_severity_is_refused(self, severity: int) -> None:
        with pytest.raises(ValueError, match=f"severity is {severity}"):
            corrupt(_noise(3, 8, 8), "snow", severity, _draw())

    @pytest.mark.parametrize(
        "pixels",
        [_noise(2, 8, 8), _noise(3, 7, 8), _noise(3, 8, 8)[0], _noise(3, 8, 8).float()],
        ids=["two channels", "small", "no batch", "floats"],
    )
    def test_other_pixels_are_refused(self, pixels: Tensor) -> None:
        with pytest.raises(ValueError, match="they must be uint8"):
            corrupt(pixels, "snow", 1, _draw())
