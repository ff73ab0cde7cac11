"""Tiny ImageNet, in the layout of its archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from trainers.datasets import MissingDataError
from trainers.datasets.decoded import Decoded, Files, Splits
from trainers.datasets.folders import images_in, labelled
from trainers.datasets.tables import rows, wrong

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class TinyImageNet(Decoded):
    """Tiny ImageNet: 110 000 photographs, 64x64 colour, 200 classes (Le & Yang 2015).

    Classes are numbered as in `wnids.txt`. The official test labels are not public, so the
    validation images are the test split, in the order of `val_annotations.txt`.
    """

    name = "tiny_imagenet"
    classes = 200
    train_images = 100_000
    test_images = 10_000
    official = "md5 90528d7ca1a48142e341f4ef8d21d0de  tiny-imagenet-200.zip"

    size: int = Field(default=64, ge=1)
    """Side of the square images, in pixels."""

    def _splits(self, data_dir: Path) -> Splits:
        root = data_dir / "tiny-imagenet-200"
        annotations = root / "val" / "val_annotations.txt"
        if not ((root / "wnids.txt").is_file() and annotations.is_file() and (root / "train").is_dir()):
            raise MissingDataError(
                f"No data for '{self.name}': expected wnids.txt, train/CLASS/images/IMAGE, val/val_annotations.txt and "
                f"val/images/IMAGE in {root}. Unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip there, pass "
                "--data-dir, or use 'digits', which needs no files."
            )
        label = {wnid: number for number, (wnid, *_) in enumerate(rows(root / "wnids.txt", 1))}
        return Splits(_train(root / "train", label), _validation(annotations, label), len(label))


def _train(folder: Path, label: Mapping[str, int]) -> Files:
    names = [name for name in images_in(folder) if name.partition("/")[0] in label]
    if absent := label.keys() - {name.partition("/")[0] for name in names}:
        raise MissingDataError(f"No images of class {min(absent)} in {folder / min(absent) / 'images'}.")
    return labelled(folder, names, label)


def _validation(annotations: Path, label: Mapping[str, int]) -> Files:
    import numpy as np

    table = rows(annotations, 2)
    for number, (_, wnid, *_) in enumerate(table, 1):
        if wnid not in label:
            raise wrong(annotations, number, f"class {wnid} is not in wnids.txt")
    labels = np.array([label[wnid] for _, wnid, *_ in table], np.int64)
    return Files(annotations.parent / "images", [name for name, *_ in table], labels)
