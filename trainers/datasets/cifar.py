"""CIFAR-10 and CIFAR-100, stored in pickled batches."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from trainers.datasets import Images
from trainers.datasets.downloaded import Downloaded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class _CIFAR(Downloaded, ABC):
    image_shape = (3, 32, 32)
    train_images = 50_000
    test_images = 10_000

    @abstractmethod
    def _official(self) -> Any:  # torchvision is imported late, and has no types
        """The class in torchvision: it knows the files, their checksums and how to read them."""

    def _checksums(self) -> dict[str, str]:
        official = self._official()
        meta = official.meta
        return dict([*official.train_list, *official.test_list, (meta["filename"], meta["md5"])])

    def _files(self) -> Sequence[str]:
        return list(self._checksums())

    def _expected(self, data_dir: Path) -> str:
        files = ", ".join(self._files())
        archive = self._official().filename
        return f"undamaged {files} in {data_dir / self.folder}, or {archive} in {data_dir}"

    def _present(self, data_dir: Path) -> bool:
        from torchvision.datasets.utils import check_integrity

        # Check the content too: pickles can run code, and training would silently use fewer images of a truncated file.
        folder = data_dir / self.folder
        return all(check_integrity(folder / file, md5) for file, md5 in self._checksums().items())

    def _download(self, root: Path, data_dir: Path) -> None:
        official = self._official()
        archive = data_dir / official.filename
        if archive.is_file():
            # torchvision unpacks an intact archive without network access.
            shutil.copy(archive, root)
        official(root, download=True)

    def _read(self, data_dir: Path) -> tuple[Images, Images]:
        official = self._official()
        return _images(official(data_dir, train=True)), _images(official(data_dir, train=False))


class CIFAR10(_CIFAR):
    """CIFAR-10: 60 000 photographs, 32x32 colour, 10 classes (Krizhevsky 2009)."""

    name = "cifar10"
    folder = "cifar-10-batches-py"
    official = "md5 c58f30108f718f92721af3b95e74349a  cifar-10-python.tar.gz"

    def _official(self) -> Any:
        from torchvision import datasets

        return datasets.CIFAR10


class CIFAR100(_CIFAR):
    """CIFAR-100: 60 000 photographs, 32x32 colour, 100 classes (Krizhevsky 2009)."""

    name = "cifar100"
    folder = "cifar-100-python"
    official = "md5 eb9058c3a382ffc7106e4002c42a8d85  cifar-100-python.tar.gz"
    classes = 100

    def _official(self) -> Any:
        from torchvision import datasets

        return datasets.CIFAR100


def _images(split: Any) -> Images:
    import numpy as np

    # torchvision gives a (n, H, W, C) view of the file's (n, C, H, W); this undoes it without a copy.
    pixels = np.ascontiguousarray(split.data.transpose(0, 3, 1, 2))
    return Images(pixels, np.asarray(split.targets, np.int64))
