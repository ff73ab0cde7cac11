"""STL-10, stored in files of raw bytes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from trainers.datasets import Images
from trainers.datasets.checksummed import Checksummed

if TYPE_CHECKING:
    from pathlib import Path


class STL10(Checksummed):
    """STL-10: 13 000 photographs, 96x96 colour, 10 classes (Coates et al. 2011)."""

    name = "stl10"
    image_shape = (3, 96, 96)
    train_images = 5_000
    test_images = 8_000
    folder = "stl10_binary"
    official = "md5 91f7769df0f17e558f3565bffb0c7dfb  stl10_binary.tar.gz"

    def _official(self) -> Any:
        from torchvision import datasets

        class Labelled(datasets.STL10):
            # torchvision insists on 2.6 GB of unlabelled images even if it does not read them.
            train_list = datasets.STL10.train_list[:2]

        return Labelled

    def _checksums(self) -> dict[str, str]:
        official = self._official()
        return dict([*official.train_list, *official.test_list])

    def _expected(self, data_dir: Path) -> str:
        return f"{super()._expected(data_dir)}, or {self._official().filename} in {data_dir}"

    def _download(self, root: Path, data_dir: Path) -> None:
        official = self._official()
        archive = data_dir / official.filename
        if archive.is_file():
            # torchvision unpacks an intact archive without network access.
            shutil.copy(archive, root)
        official(root, split="train", download=True)

    def _read(self, data_dir: Path) -> tuple[Images, Images]:
        return self._images(data_dir, "train"), self._images(data_dir, "test")

    def _images(self, data_dir: Path, split: str) -> Images:
        import numpy as np

        # The file stores images by columns; torchvision gives a (n, C, H, W) view.
        official = self._official()(data_dir, split=split)
        return Images(np.ascontiguousarray(official.data), official.labels.astype(np.int64))
