"""Caltech-UCSD Birds, in the layout of its archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.datasets import MissingDataError
from trainers.datasets.decoded import Decoded, Files, Splits
from trainers.datasets.tables import rows

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

LISTS = ("images.txt", "image_class_labels.txt", "train_test_split.txt")


class CUB200(Decoded):
    """CUB-200-2011: 11 788 photographs of birds, 200 classes (Wah et al. 2011).

    The official split of `train_test_split.txt`. Both splits are in the order of `images.txt`;
    class 1 of `image_class_labels.txt` is label 0.
    """

    name = "cub200"
    classes = 200
    train_images = 5_994
    test_images = 5_794
    official = "md5 97eceeb196236b17998738112f37df78  CUB_200_2011.tgz"

    def _splits(self, data_dir: Path) -> Splits:
        import numpy as np

        root = data_dir / "CUB_200_2011"
        if not all((root / file).is_file() for file in LISTS):
            raise MissingDataError(
                f"No data for '{self.name}': expected {', '.join(LISTS)} and images/CLASS/IMAGE in {root}. Unpack "
                "CUB_200_2011.tgz from https://www.vision.caltech.edu/datasets/cub_200_2011 in the data folder, "
                "pass --data-dir, or use 'digits', which needs no files."
            )
        names = {number: name for number, name, *_ in rows(root / LISTS[0], 2)}
        labels = _column(root / LISTS[1], names) - 1
        trains = _column(root / LISTS[2], names) == 1
        images = Files(root / "images", list(names.values()), labels)
        return Splits(
            images.take(np.flatnonzero(trains)), images.take(np.flatnonzero(~trains)), int(labels.max(initial=-1)) + 1
        )


def _column(path: Path, images: dict[str, str]) -> NDArray[np.int64]:
    """The number of each image in a list, in the order of the images, int64 (n,)."""
    import numpy as np

    value = {number: value for number, value, *_ in rows(path, 2)}
    try:
        return np.array([int(value[number]) for number in images], np.int64)
    except (KeyError, ValueError) as error:
        raise MissingDataError(f"{path} does not give each image of {LISTS[0]} a number ({error}).") from error
