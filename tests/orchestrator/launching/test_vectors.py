"""A grid on vectors: a table and the features of texts, both of which come with scikit-learn."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.feature_extraction.text import HashingVectorizer

import program
from orchestrator.notebook import results

GRID = """\
name: vectors
losses: [softmax, bce_unified]
backbones: [identity]
datasets:
  - {name: features, as: wine, path: wine.parquet, label: cultivar, test_fraction: 0.3}
  - {name: features, as: texts, path: texts.npz, test_fraction: 0.3}
  - name: features
    as: open
    path: texts.npz
    test_fraction: 0.3
    unknowns: {name: features, path: others.npz, test_fraction: 0.5}
seeds: 2
recipe: {epochs: 20, batch_size: 16, learning_rate: 0.1}
baseline: softmax
claims:
  - {id: uniform, metric: uniform_accuracy, challenger: bce_unified, baseline: softmax, direction: higher, margin: 0.02}
"""


def _encoded(path: Path, *subjects: str) -> None:
    """The lines of scikit-learn's descriptions of data sets as vectors, labelled by what they are about."""
    lines = [
        (line, subject)
        for subject in subjects
        for line in (files("sklearn.datasets.descr") / f"{subject}.rst").read_text("utf-8").splitlines()
        if len(line.split()) > 3
    ]
    encoder = HashingVectorizer(n_features=64, analyzer="char_wb", ngram_range=(3, 4))
    vectors = encoder.transform(line for line, _ in lines).toarray()
    np.savez(path, features=vectors.astype(np.float32), label=np.array([subject for _, subject in lines]))


@pytest.mark.slow  # 12 cells
def test_a_packaged_table_and_encoded_texts_go_through_the_same_grid(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    values, cultivar = load_wine(return_X_y=True, as_frame=True)
    values.assign(cultivar=cultivar).to_parquet(data / "wine.parquet")
    _encoded(data / "texts.npz", "breast_cancer", "california_housing", "kddcup99")
    _encoded(data / "others.npz", "diabetes", "olivetti_faces")
    file = tmp_path / "vectors.yaml"
    file.write_text(GRID)
    done = program.run("launch", file, "--executor", "inline", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert (counts["total"], counts["done"], counts["failed"]) == (12, 12, 0)
    study = results(tmp_path / "runs", file)
    rows = {(row["dataset"], row["loss"], row["seed"]): row for row in study.rows}
    floor = {"wine": 0.9, "texts": 0.5, "open": 0.5}  # chance is a third
    assert all(row["sample_wise_accuracy"] > floor[dataset] for (dataset, _, _), row in rows.items())
    assert len(study.comparison.findings) == 3
    for (dataset, loss, seed), row in rows.items():
        assert (row["open_auroc"] is None) == (dataset != "open")
        # Unknown samples change nothing else.
        if dataset == "open":
            assert row["uniform_accuracy"] == rows["texts", loss, seed]["uniform_accuracy"]
