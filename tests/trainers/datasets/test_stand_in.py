"""Drawn images in the place of a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainers import catalogue
from trainers.datasets import Dataset, Extent, fingerprint
from trainers.datasets.stand_in import StandIn

NOWHERE = Path("nowhere")


def of(name: str, **parameters: object) -> StandIn:
    dataset = catalogue.resolve("datasets", name, parameters)
    assert isinstance(dataset, Dataset)
    extent = dataset.extent()
    assert extent is not None
    return StandIn.for_(dataset, extent)


@pytest.mark.parametrize(
    ("name", "extent"),
    [
        ("digits", Extent((1, 8, 8), 10, 1000, 797)),
        ("fashion_mnist", Extent((1, 28, 28), 10, 60_000, 10_000)),
        ("cifar100", Extent((3, 32, 32), 100, 50_000, 10_000)),
        ("tiny_imagenet", Extent((3, 64, 64), 200, 100_000, 10_000)),
        ("imagenet", Extent((3, 224, 224), 1000, 1_281_167, 50_000)),
    ],
)
def test_it_has_the_shape_the_classes_and_the_number_of_images_of_the_data_set(name: str, extent: Extent) -> None:
    drawn = of(name)
    found = drawn.load(NOWHERE)
    assert drawn.extent() == extent
    assert found.train.pixels.shape == (extent.train, *extent.shape)
    assert found.test.pixels.shape == (extent.test, *extent.shape)
    for images in (found.train, found.test):
        assert np.array_equal(np.unique(images.labels), np.arange(extent.classes))
        assert np.ptp(np.bincount(images.labels)) <= 1


def test_parameters_of_the_data_set_change_it() -> None:
    assert of("imagenet", size=64, channels=1, train_size=500, test_size=100).extent() == ((1, 64, 64), 1000, 500, 100)
    assert of("cifar10", hold_out=[8, 9], imbalance=10).hold_out == (8, 9)


def test_a_million_photographs_take_little_memory() -> None:
    pixels = of("imagenet").load(NOWHERE).train.pixels
    assert pixels.nbytes > 10**11
    first, last = np.lib.array_utils.byte_bounds(pixels)
    assert last - first < 2 * 10**6


def test_no_two_images_are_equal() -> None:
    pixels = of("digits").load(NOWHERE).train.pixels
    assert len(np.unique(pixels.reshape(len(pixels), -1), axis=0)) == len(pixels)


def test_the_digest_differs_where_the_images_do() -> None:
    drawn = [of("mnist"), of("mnist", train_size=100), of("cifar10"), of("cifar100")]
    assert (
        len({each.digest(NOWHERE) for each in drawn}) == len({fingerprint(each.load(NOWHERE)) for each in drawn}) == 4
    )


def test_data_of_which_only_the_files_tell_have_no_extent_without_labels() -> None:
    folder = catalogue.resolve("datasets", "image_folder", {"path": "mine", "size": 48})
    assert isinstance(folder, Dataset)
    assert folder.extent() is None
    assert folder.extent(of("digits").labels(NOWHERE)) == ((3, 48, 48), 10, 1000, 797)


def test_unknown_samples_of_the_data_set_are_drawn_as_well() -> None:
    drawn = of("cifar10", unknowns="cifar100")
    assert isinstance(drawn.unknowns, StandIn)
    found = drawn.with_unknown(drawn.load(NOWHERE), NOWHERE).unknown
    assert found is not None
    assert found.pixels.shape == (10_000, 3, 32, 32)
