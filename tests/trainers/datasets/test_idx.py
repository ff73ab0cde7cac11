"""The claims of `mnist` and `fashion_mnist`, on tiny files in the true format."""

from __future__ import annotations

import gzip
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from trainers.datasets import MissingDataError, fingerprint
from trainers.datasets.content import content as content_of
from trainers.datasets.idx import FILES, MNIST, FashionMNIST, read_idx

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    WriteIdx = Callable[[Path, NDArray[np.uint8]], None]
    WriteMNIST = Callable[..., None]

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder in place of Debian's."""
    folder = tmp_path / "system"
    monkeypatch.setattr(FashionMNIST, "system_folder", folder)
    return folder


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("dataset", [MNIST(), FashionMNIST()], ids=lambda dataset: dataset.name)
def test_plain_and_gzipped_files_read_alike(
    dataset: MNIST | FashionMNIST, suffix: str, tmp_path: Path, write_mnist: WriteMNIST
) -> None:
    write_mnist(tmp_path / dataset.folder, suffix=suffix)
    images = dataset.load(tmp_path)
    assert images.train.pixels.shape == (40, 1, 28, 28)
    assert images.train.pixels.dtype == np.uint8
    assert images.train.labels.dtype == np.int64
    assert images.classes == 10
    assert np.array_equal(images.test.pixels[:, 0, 3, 3], np.arange(12))
    assert np.array_equal(images.test.labels, np.arange(12) % 10)


def test_our_reader_agrees_with_torchvision(tmp_path: Path, write_mnist: WriteMNIST) -> None:
    from torchvision import datasets

    write_mnist(tmp_path / MNIST.folder, suffix="")
    official = datasets.MNIST(tmp_path, train=True)
    ours = MNIST().load(tmp_path).train
    assert np.array_equal(ours.pixels[:, 0], official.data.numpy())
    assert np.array_equal(ours.labels, official.targets.numpy())


def test_torch_takes_the_arrays_without_a_warning(
    tmp_path: Path, write_mnist: WriteMNIST, recwarn: pytest.WarningsRecorder
) -> None:
    import torch

    write_mnist(tmp_path / MNIST.folder)
    torch.from_numpy(MNIST().load(tmp_path).train.pixels)
    assert not recwarn.list


@pytest.mark.needs("Fashion-MNIST")
def test_fashion_mnist_comes_from_debians_package_without_a_copy_of_its_files(tmp_path: Path) -> None:
    images = FashionMNIST().load(tmp_path)
    assert len(images.train) == 60_000
    assert np.array_equal(np.bincount(images.test.labels), np.full(10, 1000))
    assert fingerprint(images) == "a06d3266794aa014"
    assert [path.name for path in tmp_path.iterdir()] == [".decoded"]


def test_the_data_folder_goes_before_the_systems(
    tmp_path: Path, no_package: Path, write_mnist: WriteMNIST, write_idx: WriteIdx
) -> None:
    write_mnist(no_package)
    assert FashionMNIST().load(tmp_path).train.pixels[1, 0, 0, 0] == 1
    write_mnist(tmp_path / FashionMNIST.folder)
    write_idx(tmp_path / FashionMNIST.folder / f"{FILES[0]}.gz", np.full((40, 28, 28), 9, np.uint8))
    assert FashionMNIST().load(tmp_path).train.pixels[1, 0, 0, 0] == 9


def test_an_incomplete_data_folder_is_not_mixed_with_the_systems(
    tmp_path: Path, no_package: Path, write_mnist: WriteMNIST, write_idx: WriteIdx
) -> None:
    write_mnist(no_package)
    write_idx(tmp_path / FashionMNIST.folder / f"{FILES[0]}.gz", np.full((40, 28, 28), 9, np.uint8))
    assert FashionMNIST().load(tmp_path).train.pixels[1, 0, 0, 0] == 1


def test_missing_files_are_named_with_their_folder_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError) as caught:
        MNIST().load(tmp_path)
    message = str(caught.value)
    assert "'mnist'" in message
    assert str(tmp_path / "MNIST" / "raw") in message
    assert all(file in message for file in FILES)
    assert "no network here" in message
    assert "--data-dir" in message
    assert "'digits'" in message
    assert "\n" not in message


@pytest.mark.usefixtures("no_package")
def test_missing_fashion_mnist_names_debians_package(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="dataset-fashion-mnist"):
        FashionMNIST().prepare(tmp_path)


def test_a_file_cut_short_is_called_damaged(tmp_path: Path, write_mnist: WriteMNIST) -> None:
    write_mnist(tmp_path / MNIST.folder, suffix="")
    path = tmp_path / MNIST.folder / FILES[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MissingDataError, match=f"{FILES[0]} is not the idx file .* 31375 bytes instead of 31376"):
        MNIST().load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b cut", b"\x00\x00\x0d\x01\x00\x00\x00\x00"])
@pytest.mark.parametrize("file", ["labels", "labels.gz"])
def test_anything_but_idx_is_called_damaged(file: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(MissingDataError, match="is not the idx file"):
        read_idx(tmp_path / file, dimensions=1)


def test_labels_in_the_place_of_images_are_noticed(tmp_path: Path, write_idx: WriteIdx) -> None:
    write_idx(tmp_path / "labels", np.zeros(5, np.uint8))
    with pytest.raises(MissingDataError, match="it starts with '00000801'"):
        read_idx(tmp_path / "labels", dimensions=3)


def test_every_image_needs_a_label(tmp_path: Path, write_mnist: WriteMNIST, write_idx: WriteIdx) -> None:
    write_mnist(tmp_path / MNIST.folder)
    write_idx(tmp_path / MNIST.folder / f"{FILES[1]}.gz", np.zeros(39, np.uint8))
    with pytest.raises(MissingDataError, match="39 labels for 40 images"):
        MNIST().load(tmp_path)


@pytest.mark.needs("Fashion-MNIST")
@pytest.mark.parametrize("pack", [bytes, partial(gzip.compress, compresslevel=1)], ids=["plain", "packed anew"])
def test_the_published_files_are_known_by_what_they_hold(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    assert FashionMNIST().is_official(tmp_path)
    folder = tmp_path / FashionMNIST.folder
    folder.mkdir(parents=True)
    for file in FILES:
        content = gzip.decompress((DEBIAN / f"{file}.gz").read_bytes())
        (folder / (file if pack is bytes else f"{file}.gz")).write_bytes(pack(content))
    assert FashionMNIST().is_official(tmp_path)
    assert content_of(FashionMNIST(), tmp_path) is None


@pytest.mark.needs("Fashion-MNIST")
def test_one_flipped_label_makes_other_data_of_it(tmp_path: Path) -> None:
    folder = tmp_path / FashionMNIST.folder
    folder.mkdir(parents=True)
    for file in FILES:
        shutil.copy(DEBIAN / f"{file}.gz", folder)
    labels = folder / f"{FILES[3]}.gz"
    content = bytearray(gzip.decompress(labels.read_bytes()))
    content[-1] = (content[-1] + 1) % 10
    labels.write_bytes(gzip.compress(bytes(content)))
    assert not FashionMNIST().is_official(tmp_path)
    found = content_of(FashionMNIST(), tmp_path)
    assert found is not None
    assert found.digest != FashionMNIST().published_digest
    assert found.manifest is not None
    assert set(found.manifest) == {f"{file}.gz" for file in FILES}


def test_files_put_in_the_place_of_the_published_ones_have_a_digest(tmp_path: Path, write_mnist: WriteMNIST) -> None:
    write_mnist(tmp_path / MNIST.folder)
    found = content_of(MNIST(), tmp_path)
    assert found is not None
    (tmp_path / MNIST.folder / f"{FILES[2]}.gz").unlink()
    with pytest.raises(MissingDataError, match="expected"):
        MNIST().is_official(tmp_path)
