"""Data sets in the formats of the published ones, small and drawn, and so without a download."""

from __future__ import annotations

import gzip
import hashlib
import json
import pickle
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from trainers.datasets.cifar import CIFAR10, CIFAR100
from trainers.datasets.idx import MNIST, FashionMNIST

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from numpy.typing import NDArray


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _batch(number: int, labels_key: str, classes: int, count: int) -> dict[str, Any]:
    index = np.arange(number * count, (number + 1) * count)
    red = index
    green = (100 + index) % 256
    blue = (200 + index) % 256
    pixels = np.repeat(np.stack([red, green, blue], axis=1), 32 * 32, axis=1)
    return {"data": pixels.astype(np.uint8), labels_key: (index % classes).tolist()}


def _dump(value: object) -> bytes:
    # The official batches were pickled by Python 2, where the booleans in a dtype were integers.
    return pickle.dumps(value, protocol=2).replace(b"\x89\x88\x87", b"K\x00K\x01\x87")


def cifar(dataset: CIFAR10 | CIFAR100, data_dir: Path, patch: pytest.MonkeyPatch, count: int = 6) -> None:
    """Write batches of `count` images, and let torchvision expect their checksums."""
    official = dataset._official()
    folder = data_dir / dataset.folder
    folder.mkdir(parents=True)
    labels_key = "labels" if dataset.name == "cifar10" else "fine_labels"
    files = [file for file, _ in (*official.train_list, *official.test_list)]
    for number, file in enumerate(files):
        (folder / file).write_bytes(_dump(_batch(number, labels_key, dataset.classes, count)))
    meta = folder / official.meta["filename"]
    meta.write_bytes(_dump({official.meta["key"]: [f"class {k}" for k in range(dataset.classes)]}))
    listed = [[file, md5(folder / file)] for file in files]
    patch.setattr(official, "train_list", listed[:-1])
    patch.setattr(official, "test_list", listed[-1:])
    patch.setattr(official, "meta", {**official.meta, "md5": md5(meta)})


def svhn(data_dir: Path, patch: pytest.MonkeyPatch, train: int = 12, test: int = 7) -> None:
    """Image i has red i, green 100 + i, blue 200 + i at row 3, and zeros elsewhere; its label is i mod 10 + 1."""
    from scipy.io import savemat
    from torchvision import datasets

    data_dir.mkdir(exist_ok=True)
    listed = dict(datasets.SVHN.split_list)
    for split, count in (("train", train), ("test", test)):
        pixels = np.zeros((32, 32, 3, count), np.uint8)
        index = np.arange(count)
        pixels[3] = np.stack([index, 100 + index, 200 + index])
        url, file, _ = listed[split]
        savemat(data_dir / file, {"X": pixels, "y": (index % 10 + 1).astype(np.uint8)[:, None]})
        listed[split] = [url, file, md5(data_dir / file)]
    patch.setattr(datasets.SVHN, "split_list", listed)


def stl10(data_dir: Path, patch: pytest.MonkeyPatch, train: int = 12, test: int = 7) -> None:
    """Image i is zeros but for column 3, which has red i, green 100 + i, blue 200 + i; its label is i mod 10 + 1."""
    from torchvision import datasets

    folder = data_dir / "stl10_binary"
    folder.mkdir(parents=True)
    for part, count in (("train", train), ("test", test)):
        pixels = np.zeros((count, 3, 96, 96), np.uint8)
        index = np.arange(count)
        pixels[:, :, 3] = np.stack([index, 100 + index, 200 + index], axis=1)[:, :, None]  # stored by columns
        pixels.tofile(folder / f"{part}_X.bin")
        (index % 10 + 1).astype(np.uint8).tofile(folder / f"{part}_y.bin")
    unlabelled = datasets.STL10.train_list[2]
    listed = {part: [[f"{part}_{k}.bin", md5(folder / f"{part}_{k}.bin")] for k in "Xy"] for part in ("train", "test")}
    patch.setattr(datasets.STL10, "train_list", [*listed["train"], unlabelled])
    patch.setattr(datasets.STL10, "test_list", listed["test"])


def idx(path: Path, values: NDArray[np.uint8]) -> None:
    """Write bytes as an idx file, gzip'd where the name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    content = header + values.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def mnist(folder: Path, *, suffix: str = ".gz") -> None:
    """Write 40 training and 12 test images; image i is all i, and its label is i mod 10."""
    for part, count in (("train", 40), ("t10k", 12)):
        index = np.arange(count, dtype=np.uint8)
        pixels = np.broadcast_to(index[:, None, None], (count, 28, 28))
        idx(folder / f"{part}-images-idx3-ubyte{suffix}", pixels)
        idx(folder / f"{part}-labels-idx1-ubyte{suffix}", index % 10)


WNIDS = ["n02124075", "n01443537", "n04067472"]
"""As in the true `wnids.txt`, whose order is not that of the alphabet."""


def image(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20), (level, level, level)).save(path, "JPEG")


def imagenet(data_dir: Path) -> None:
    for number, wnid in enumerate(sorted(WNIDS)):
        for index in range(3):
            image(data_dir / "imagenet" / "train" / wnid / f"{wnid}_{index}.JPEG", 10 * number + index)
        for index in range(2):
            name = f"ILSVRC2012_val_0000000{2 * index + number}.JPEG"
            image(data_dir / "imagenet" / "val" / wnid / name, 100 + 10 * number + index)


def tiny_imagenet(data_dir: Path) -> None:
    root = data_dir / "tiny-imagenet-200"
    for number, wnid in enumerate(WNIDS):
        for index in range(3):
            image(root / "train" / wnid / "images" / f"{wnid}_{index}.JPEG", 10 * number + index)
        boxes = "".join(f"{wnid}_{index}.JPEG\t0\t0\t62\t62\n" for index in range(3))
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(boxes)
    (root / "wnids.txt").write_text("\n".join(WNIDS))
    lines: list[str] = []
    for index in range(6):
        image(root / "val" / "images" / f"val_{index}.JPEG", 100 + index)
        lines.append(f"val_{index}.JPEG\t{WNIDS[(index + 1) % 3]}\t0\t32\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    image(root / "test" / "images" / "test_0.JPEG", 250)


def cub200(data_dir: Path) -> None:
    root = data_dir / "CUB_200_2011"
    names = [f"00{k + 1}.{bird}/{bird}_{i}.jpg" for k, bird in enumerate(("Albatross", "Auk")) for i in (30, 7, 112, 5)]
    for index, name in enumerate(names):
        image(root / "images" / name, 10 * index)
    (root / "images.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(names, 1)))
    (root / "image_class_labels.txt").write_text("".join(f"{i} {1 + (i > 4)}\n" for i in range(1, 9)))
    (root / "train_test_split.txt").write_text("".join(f"{i} {i % 2}\n" for i in range(1, 9)))


def food101(data_dir: Path) -> None:
    root = data_dir / "food-101"
    level = 0
    for split, count in (("train", 3), ("test", 1)):
        # The true lists name the classes in an order of their own.
        listed = {dish: [f"{dish}/{split}{9 - i}" for i in range(count)] for dish in ("waffles", "apple_pie")}
        for name in (name for names in listed.values() for name in names):
            image(root / "images" / f"{name}.jpg", level := level + 10)
        (root / "meta").mkdir(exist_ok=True)
        (root / "meta" / f"{split}.json").write_text(json.dumps(listed))


def _alone(write: Callable[[Path], None]) -> Callable[[Path, pytest.MonkeyPatch], None]:
    return lambda data_dir, _: write(data_dir)


WRITERS: dict[str, Callable[[Path, pytest.MonkeyPatch], None]] = {
    "cifar10": partial(cifar, CIFAR10(), count=10),
    "cifar100": partial(cifar, CIFAR100(), count=100),
    "cub200": _alone(cub200),
    "fashion_mnist": lambda data_dir, _: mnist(data_dir / FashionMNIST.folder),
    "food101": _alone(food101),
    "imagenet": _alone(imagenet),
    "mnist": lambda data_dir, _: mnist(data_dir / MNIST.folder),
    "stl10": partial(stl10, test=10),
    "svhn": partial(svhn, test=10),
    "tiny_imagenet": _alone(tiny_imagenet),
}
"""Of every data set that is downloaded or put in a folder by its user: writes one with all its classes."""
