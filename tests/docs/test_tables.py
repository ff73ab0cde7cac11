"""The script that brings the tables of `experiments/tables.yaml`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import rdata

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))

from read_mlbench import Table, convert


def test_a_table_of_the_package_becomes_features_with_named_classes_and_its_last_rows_are_for_testing(
    tmp_path: Path,
) -> None:
    frame = pd.DataFrame({"kind": pd.Categorical(["b", "a", "b"]), "wide": [1.0, 2.5, 3.0], "high": [4.0, 5.0, 6.0]})
    inner = tmp_path / "usr/lib/R"
    inner.mkdir(parents=True)
    rdata.write_rda(inner / "Kinds.rda", {"Kinds": frame})
    made = convert(tmp_path, Table("Kinds", label="kind", test=1, file="kinds.npz"), tmp_path / "data")
    with np.load(made) as arrays:
        found = {name: arrays[name].tolist() for name in arrays.files}
    assert found == {
        "features": [[1.0, 4.0], [2.5, 5.0], [3.0, 6.0]],
        "label": ["b", "a", "b"],
        "split": ["train", "train", "test"],
    }
