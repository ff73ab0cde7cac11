"""Read the two tables of `experiments/tables.yaml` out of Debian's package r-cran-mlbench (GPL-2), without R.

    apt-get download r-cran-mlbench && dpkg --extract r-cran-mlbench_*.deb build/mlbench
    pip install '.[mlbench]'
    python experiments/read_mlbench.py build/mlbench data

writes `letters.npz` (16 measures of 20,000 printed capital letters, 26 classes) and `satellite.npz` (36 brightnesses
around 6,435 points of a picture of the earth, 6 classes). Both come from UCI's repository. As there, the last 4,000
letters and the last 2,000 points are for testing. CRAN's source package of mlbench has the same files.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rdata


class Table(NamedTuple):
    """A table of the package, and the file that it becomes."""

    name: str
    label: str
    test: int
    file: str


TABLES = (
    Table("LetterRecognition", "lettr", 4000, "letters.npz"),
    Table("Satellite", "classes", 2000, "satellite.npz"),
)


def convert(package: Path, table: Table, folder: Path) -> Path:
    """Write the columns of numbers as features, the classes by their names, and which split a row belongs to."""
    found = next(package.rglob(f"{table.name}.rda"), None)
    if found is None:
        sys.exit(f"No {table.name}.rda lies below {package}: download and extract r-cran-mlbench, as {__file__} says.")
    frame = rdata.read_rda(found, default_encoding="utf-8")[table.name]
    features = frame.drop(columns=table.label).to_numpy(np.float32)
    splits = np.repeat(["train", "test"], [len(frame) - table.test, table.test])
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / table.file
    np.savez(file, features=features, label=frame[table.label].to_numpy(np.str_), split=splits)
    return file


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("package", type=Path, help="where the package was extracted to")
    parser.add_argument("folder", type=Path, help="where the files go, such as data")
    asked = parser.parse_args()
    for each in TABLES:
        print(convert(asked.package, each, asked.folder))
