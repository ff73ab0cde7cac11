"""Draw the vectors of `experiments/classes.yaml`: 10, 100 and 1000 classes around their own points.

    python experiments/draw_classes.py data

writes `classes10.npz`, `classes100.npz` and `classes1000.npz`. The number of vectors is the same for each, so that
trainings have equally many steps and only the number of classes differs. A vector is its class's point plus noise,
times a length of its own: as with images, some samples have lower scores than others in all classes. The same seed
draws the same vectors on every machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

CLASSES = (10, 100, 1000)
DIMENSIONS = 64
TRAIN = 20_000
TEST = 10_000
DISTANCE = 0.7
"""Deviation of the classes' points in each dimension; that of the noise is 1."""
LENGTHS = 0.4
"""Deviation of the logarithm of a vector's length."""


def draw(folder: Path, classes: int) -> Path:
    """Write the vectors and labels of this number of classes to `classesN.npz`."""
    rng = np.random.default_rng(classes)
    points = rng.normal(0, DISTANCE, (classes, DIMENSIONS))
    labels = np.arange(TRAIN + TEST) % classes
    vectors = points[labels] + rng.normal(0, 1, (len(labels), DIMENSIONS))
    vectors *= np.exp(rng.normal(0, LENGTHS, (len(labels), 1)))
    splits = np.repeat(["train", "test"], [TRAIN, TEST])
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"classes{classes}.npz"
    np.savez(file, features=vectors.astype(np.float32), label=labels, split=splits)
    return file


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="where the files go, such as data")
    folder: Path = parser.parse_args().folder
    for each in CLASSES:
        print(draw(folder, each))
