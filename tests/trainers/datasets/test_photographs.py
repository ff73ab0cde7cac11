"""The claims of `imagenet`, `tiny_imagenet`, `cub200` and `food101`, on tiny copies of their folders."""

from __future__ import annotations

import hashlib
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from drawn import WNIDS, cub200, food101, imagenet, tiny_imagenet
from trainers.datasets import MissingDataError, TrainTest
from trainers.datasets.cub import CUB200
from trainers.datasets.decoded import Decoded, Files
from trainers.datasets.food101 import Food101
from trainers.datasets.imagenet import ImageNet
from trainers.datasets.tiny_imagenet import TinyImageNet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WRITERS: dict[str, Callable[[Path], None]] = {
    "imagenet": imagenet,
    "tiny_imagenet": tiny_imagenet,
    "cub200": cub200,
    "food101": food101,
}
DATASETS: list[Decoded] = [ImageNet(), TinyImageNet(), CUB200(), Food101()]
every_dataset = pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)


def _written(dataset: Decoded, data_dir: Path) -> TrainTest:
    WRITERS[dataset.name](data_dir)
    return dataset.load(data_dir)


def _levels(images: TrainTest) -> tuple[list[int], list[int]]:
    return images.train.pixels[:, 0, 3, 3].tolist(), images.test.pixels[:, 0, 3, 3].tolist()


@every_dataset
class TestEach:
    def test_images_are_mapped_colour_bytes_of_its_size(self, dataset: Decoded, tmp_path: Path) -> None:
        images = _written(dataset, tmp_path)
        for split in (images.train, images.test):
            assert isinstance(split.pixels, np.memmap)
            assert split.pixels.shape == (len(split), 3, dataset.size, dataset.size)
            assert split.pixels.dtype == np.uint8
            assert split.labels.dtype == np.int64

    def test_the_splits_share_no_file(self, dataset: Decoded, tmp_path: Path) -> None:
        WRITERS[dataset.name](tmp_path)
        train, test, *_ = dataset._splits(tmp_path)
        assert isinstance(train, Files)
        assert isinstance(test, Files)
        used = [[files.folder / name for name in files.names] for files in (train, test)]
        assert len(set(used[0])) == len(used[0])
        assert not set(used[0]) & set(used[1])

    def test_every_class_is_in_both_splits(self, dataset: Decoded, tmp_path: Path) -> None:
        images = _written(dataset, tmp_path)
        for split in (images.train, images.test):
            assert set(split.labels.tolist()) == set(range(images.classes))

    def test_a_subset_is_stable_and_keeps_labels(self, dataset: Decoded, tmp_path: Path) -> None:
        whole = _written(dataset, tmp_path)
        label = dict(zip(_levels(whole)[0], whole.train.labels.tolist(), strict=True))
        small, large = (type(dataset)(train_size=size).load(tmp_path) for size in (2, 4))
        assert _levels(small)[0] == _levels(large)[0][:2]
        assert [label[level] for level in _levels(large)[0]] == large.train.labels.tolist()

    def test_more_images_than_the_official_ones_are_refused_while_planning(
        self, dataset: Decoded, tmp_path: Path
    ) -> None:
        assert dataset.train_images is not None
        with pytest.raises(ValueError, match=f"'{dataset.name}' has {dataset.train_images} train images"):
            type(dataset)(train_size=dataset.train_images + 1)

    def test_a_missing_dataset_is_named_with_its_folder_layout_and_the_way_out(
        self, dataset: Decoded, tmp_path: Path
    ) -> None:
        with pytest.raises(MissingDataError) as caught:
            dataset.prepare(tmp_path / "data")
        message = str(caught.value)
        assert message.startswith(f"No data for '{dataset.name}': expected ")
        assert str(tmp_path / "data") in message
        assert "IMAGE" in message
        assert "'digits'" in message
        assert "\n" not in message

    def test_a_corrupt_image_is_named(self, dataset: Decoded, tmp_path: Path) -> None:
        WRITERS[dataset.name](tmp_path)
        train = dataset._splits(tmp_path).train
        assert isinstance(train, Files)
        path = train.folder / train.names[1]
        path.write_bytes(path.read_bytes()[:300])
        with pytest.raises(MissingDataError, match=f"{path} is no image that can be decoded"):
            dataset.prepare(tmp_path)


def _without_some_image(dataset: Decoded, data_dir: Path) -> Path:
    WRITERS[dataset.name](data_dir)
    test = dataset._splits(data_dir).test
    assert isinstance(test, Files)
    path = test.folder / test.names[0]
    path.unlink()
    return path


@pytest.mark.parametrize("dataset", DATASETS[1:], ids=lambda dataset: dataset.name)
def test_a_listed_image_that_is_not_there_is_named(dataset: Decoded, tmp_path: Path) -> None:
    path = _without_some_image(dataset, tmp_path)
    with pytest.raises(MissingDataError, match=f"{path} is listed but not there"):
        dataset.load(tmp_path)


class TestImageNet:
    def test_classes_are_numbered_by_sorted_wordnet_ids_and_images_sorted_by_name(self, tmp_path: Path) -> None:
        images = _written(ImageNet(size=16), tmp_path)
        assert _levels(images) == ([0, 1, 2, 10, 11, 12, 20, 21, 22], [100, 101, 110, 111, 120, 121])
        assert images.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        assert images.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert images.classes == 3

    def test_order_labels_and_pixels_are_those_of_torchvision(self, tmp_path: Path) -> None:
        from torchvision import datasets, transforms

        images = _written(ImageNet(size=16), tmp_path)
        steps = transforms.Compose([transforms.Resize(16), transforms.CenterCrop(16), transforms.PILToTensor()])
        for part, ours in (("train", images.train), ("val", images.test)):
            official = datasets.ImageFolder(tmp_path / "imagenet" / part, transform=steps)
            assert [label for _, label in official] == ours.labels.tolist()
            assert all(np.array_equal(image, mine) for (image, _), mine in zip(official, ours.pixels, strict=True))

    def test_validation_images_that_were_not_sorted_into_classes_are_explained(self, tmp_path: Path) -> None:
        imagenet(tmp_path)
        val = tmp_path / "imagenet" / "val"
        for path in list(val.glob("*/*")):
            path.rename(val / path.name)
        with pytest.raises(MissingDataError, match=r"val/CLASS/IMAGE in .*imagenet, .*sort val into class folders"):
            ImageNet().prepare(tmp_path)


class TestTinyImageNet:
    def test_classes_are_numbered_as_in_wnids(self, tmp_path: Path) -> None:
        images = _written(TinyImageNet(), tmp_path)
        labels = dict(zip(_levels(images)[0], images.train.labels.tolist(), strict=True))
        assert labels == {10 * number + index: number for number in range(3) for index in range(3)}
        assert images.classes == 3

    def test_validation_images_come_in_the_order_of_their_annotations(self, tmp_path: Path) -> None:
        images = _written(TinyImageNet(), tmp_path)
        assert _levels(images)[1] == list(range(100, 106))
        assert images.test.labels.tolist() == [1, 2, 0, 1, 2, 0]

    def test_an_annotation_of_an_unknown_class_is_named_with_its_line(self, tmp_path: Path) -> None:
        tiny_imagenet(tmp_path)
        annotations = tmp_path / "tiny-imagenet-200" / "val" / "val_annotations.txt"
        annotations.write_text(annotations.read_text().replace(WNIDS[0], "n00000000"))
        with pytest.raises(MissingDataError, match=r"val_annotations.txt:3: class n00000000 is not in wnids.txt"):
            TinyImageNet().load(tmp_path)

    def test_a_class_without_images_is_named(self, tmp_path: Path) -> None:
        tiny_imagenet(tmp_path)
        for path in (tmp_path / "tiny-imagenet-200" / "train" / WNIDS[1] / "images").iterdir():
            path.unlink()
        with pytest.raises(MissingDataError, match=f"No images of class {WNIDS[1]}"):
            TinyImageNet().load(tmp_path)


class TestCUB200:
    def test_the_official_split_comes_in_the_order_of_the_ids_with_labels_from_zero(self, tmp_path: Path) -> None:
        images = _written(CUB200(size=16), tmp_path)
        assert _levels(images) == ([0, 20, 40, 60], [10, 30, 50, 70])
        assert images.train.labels.tolist() == [0, 0, 1, 1]
        assert images.test.labels.tolist() == [0, 0, 1, 1]
        assert images.classes == 2

    def test_a_split_without_images_is_named(self, tmp_path: Path) -> None:
        cub200(tmp_path)
        path = tmp_path / "CUB_200_2011" / "train_test_split.txt"
        path.write_text(path.read_text().replace(" 0", " 1"))
        with pytest.raises(MissingDataError, match="No data for 'cub200': its test split lists no images"):
            CUB200().load(tmp_path)

    def test_an_image_without_a_label_is_named(self, tmp_path: Path) -> None:
        cub200(tmp_path)
        path = tmp_path / "CUB_200_2011" / "image_class_labels.txt"
        path.write_text(path.read_text().replace("8 2\n", ""))
        with pytest.raises(MissingDataError, match=r"image_class_labels.txt does not give each image .*'8'"):
            CUB200().load(tmp_path)

    def test_a_line_cut_short_is_named(self, tmp_path: Path) -> None:
        cub200(tmp_path)
        path = tmp_path / "CUB_200_2011" / "images.txt"
        path.write_text(path.read_text().rpartition(" ")[0])
        with pytest.raises(MissingDataError, match=r"images.txt:8: expected 2 fields, found 1"):
            CUB200().load(tmp_path)


def _serve_food(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A network that serves Food-101; lists where to."""
    from torchvision import datasets

    asked: list[Path] = []

    def download(root: Path, *, download: bool) -> None:
        assert download
        asked.append(root)
        food101(root)

    monkeypatch.setattr(datasets, "Food101", download)
    return asked


class TestFood101:
    def test_images_come_in_the_order_of_the_lists_with_labels_in_that_of_the_alphabet(self, tmp_path: Path) -> None:
        images = _written(Food101(size=16), tmp_path)
        assert _levels(images) == ([10, 20, 30, 40, 50, 60], [70, 80])
        assert images.train.labels.tolist() == [1, 1, 1, 0, 0, 0]
        assert images.test.labels.tolist() == [1, 0]
        assert images.classes == 2

    def test_order_labels_and_pixels_are_those_of_torchvision(self, tmp_path: Path) -> None:
        from torchvision import datasets, transforms

        images = _written(Food101(size=16), tmp_path)
        steps = transforms.Compose([transforms.Resize(16), transforms.CenterCrop(16), transforms.PILToTensor()])
        for split, ours in (("train", images.train), ("test", images.test)):
            official = datasets.Food101(tmp_path, split, transform=steps)
            assert len(official) == len(ours)
            for index, (mine, label) in enumerate(zip(ours.pixels, ours.labels, strict=True)):
                image: Any
                image, official_label = official[index]
                assert np.array_equal(image, mine)
                assert official_label == label

    def test_it_is_downloaded_once_and_moved_as_a_whole(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = _serve_food(monkeypatch)
        for _ in range(2):
            assert len(Food101(size=16).load(tmp_path / "data").test) == 2
        assert len(asked) == 1
        left = {path.name for path in (tmp_path / "data").iterdir()}
        assert left <= {"food-101", ".food101.lock", ".decoded"}

    def test_an_incomplete_folder_in_the_way_is_named_before_anything_is_downloaded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = _serve_food(monkeypatch)
        (tmp_path / "food-101" / "images").mkdir(parents=True)
        with pytest.raises(MissingDataError, match=r"expected meta/train.json.*food-101 is incomplete and in the way"):
            Food101().load(tmp_path)
        assert asked == []

    def test_a_damaged_list_is_named(self, tmp_path: Path) -> None:
        food101(tmp_path)
        (tmp_path / "food-101" / "meta" / "train.json").write_text('{"waffles": [')
        with pytest.raises(MissingDataError, match=r"meta/train.json cannot be read"):
            Food101().load(tmp_path)

    @pytest.mark.skipif(sys.version_info >= (3, 14), reason="NOT TESTED: tarfile warns about torchvision's call")
    @pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")
    def test_an_archive_in_the_data_folder_saves_the_network(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from torchvision import datasets

        food101(tmp_path / "elsewhere")
        data_dir = tmp_path / "data"
        data_dir.mkdir()
        archive = data_dir / "food-101.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(tmp_path / "elsewhere" / "food-101", "food-101")
        md5 = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
        monkeypatch.setattr(datasets.Food101, "_MD5", md5)
        assert len(Food101(size=16).load(data_dir).train) == 6
