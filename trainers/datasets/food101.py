"""Food-101, in the layout of its archive."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from trainers.datasets import MissingDataError, TrainTest
from trainers.datasets.decoded import Decoded, Files, Splits
from trainers.datasets.downloaded import Fetched

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

ARCHIVE = "food-101.tar.gz"


class Food101(Decoded, Fetched):
    """Food-101: 101 000 photographs of dishes, 101 classes (Bossard et al. 2014).

    The official split, in the order of `meta/train.json` and `meta/test.json`; classes are in
    alphabetical order. At 224 pixels the decoded images take 15 GB.
    """

    name = "food101"
    classes = 101
    train_images = 75_750
    test_images = 25_250
    folder = "food-101"
    official = f"md5 85eeb15f3717b99a5da872d97d918f87  {ARCHIVE}"

    def find(self, data_dir: Path) -> None:
        """Check that the folders exist, without downloading or unpacking; raises as `Fetched.find` does."""
        Fetched.find(self, data_dir)

    def _files(self) -> Sequence[str]:
        return ("meta/train.json", "meta/test.json")

    def _expected(self, data_dir: Path) -> str:
        files = ", ".join(self._files())
        return f"{files} and images/CLASS/IMAGE in {data_dir / self.folder}, or {ARCHIVE} in {data_dir}"

    def _present(self, data_dir: Path) -> bool:
        root = data_dir / self.folder
        return (root / "images").is_dir() and all((root / file).is_file() for file in self._files())

    def _download(self, root: Path, data_dir: Path) -> None:
        from torchvision import datasets

        if (data_dir / self.folder).exists():
            raise FileExistsError(f"{data_dir / self.folder} is incomplete and in the way; move it")
        archive = data_dir / ARCHIVE
        if archive.is_file():
            # torchvision unpacks an intact archive without network access.
            shutil.copy(archive, root)
        datasets.Food101(root, download=True)

    def _publish(self, beside: Path, data_dir: Path) -> None:
        # Move the whole folder at once: 101 000 moves could be interrupted.
        (beside / self.folder).replace(data_dir / self.folder)

    def load(self, data_dir: Path) -> TrainTest:
        """Both splits, downloaded if necessary; raises as `Decoded.load` and `Fetched.prepare` do."""
        Fetched.prepare(self, data_dir)
        return super().load(data_dir)

    def _splits(self, data_dir: Path) -> Splits:
        self.find(data_dir)
        root = data_dir / self.folder
        train, test = (_classes(root / file) for file in self._files())
        if train.keys() != test.keys():
            raise MissingDataError(f"{' and '.join(self._files())} in {root} list other classes each.")
        return Splits(_images(root, train), _images(root, test), len(train))


def _classes(path: Path) -> dict[str, list[str]]:
    """The names of each class's images, without `.jpg`."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise MissingDataError(f"The list {path} cannot be read: {error}.") from error


def _images(root: Path, classes: Mapping[str, Sequence[str]]) -> Files:
    import numpy as np

    label = {name: number for number, name in enumerate(sorted(classes))}
    names = [f"{image}.jpg" for images in classes.values() for image in images]
    labels = [label[name] for name, images in classes.items() for _ in images]
    return Files(root / "images", names, np.array(labels, np.int64))
