"""SVHN, stored in two MATLAB files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainers.datasets import Images
from trainers.datasets.checksummed import Checksummed

if TYPE_CHECKING:
    from pathlib import Path


class SVHN(Checksummed):
    """SVHN: 99 289 house numbers, 32x32 colour, 10 classes (Netzer et al. 2011)."""

    name = "svhn"
    image_shape = (3, 32, 32)
    train_images = 73_257
    test_images = 26_032
    folder = "."
    official = (
        "md5 e26dedcc434d2e4c54c9b2d4a06d8373  train_32x32.mat, md5 eb5a983be6a315427106f1b164d9cef3  test_32x32.mat"
    )

    def _official(self) -> Any:
        from torchvision import datasets

        return datasets.SVHN

    def _checksums(self) -> dict[str, str]:
        listed = self._official().split_list
        return {listed[split][1]: listed[split][2] for split in ("train", "test")}

    def _download(self, root: Path, data_dir: Path) -> None:
        del data_dir
        for split in ("train", "test"):
            self._official()(root, split=split, download=True)

    def _read(self, data_dir: Path) -> tuple[Images, Images]:
        return self._images(data_dir, "train"), self._images(data_dir, "test")

    def _images(self, data_dir: Path, split: str) -> Images:
        import numpy as np

        # The file stores (H, W, C, n); torchvision gives a (n, C, H, W) view and turns label 10 into 0.
        official = self._official()(data_dir, split=split)
        return Images(np.ascontiguousarray(official.data), official.labels.astype(np.int64))
