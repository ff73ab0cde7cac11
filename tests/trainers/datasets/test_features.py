"""The claims of `features`, in each of its formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from safetensors.numpy import save_file
from sklearn.datasets import load_wine

from trainers.datasets import MissingDataError, TrainTest, UnusableDataError
from trainers.datasets.features import Features
from trainers.division import faults, rows
from trainers.fit import fit
from trainers.recipe import Recipe

N = 40
D = 3


def _arrays(samples: int = N) -> dict[str, Any]:
    """Row i is (i, -i, i/2); its label is i mod 4, its group i // 5, and its split 1 for every third."""
    row = np.arange(samples)
    return {
        "features": np.stack([row, -row, row / 2], axis=1).astype(np.float32),
        "label": row % 4,
        "group": row // 5,
        "split": (row % 3 == 0).astype(np.int64),
    }


def _as_parquet(path: Path, arrays: dict[str, Any]) -> None:
    pd.DataFrame({**arrays, "features": list(arrays["features"])}).to_parquet(path.with_suffix(".parquet"))


def _as_table(path: Path, arrays: dict[str, Any]) -> None:
    named = {f"x{column}": arrays["features"][:, column] for column in range(D)}
    rest = {name: values for name, values in arrays.items() if name != "features"}
    pd.DataFrame({"note": ["text"] * len(arrays["label"]), **rest, **named}).to_parquet(path.with_suffix(".parquet"))


def _as_npz(path: Path, arrays: dict[str, Any]) -> None:
    np.savez(path.with_suffix(".npz"), **arrays)


def _as_npy(path: Path, arrays: dict[str, Any]) -> None:
    np.save(path.with_suffix(".npy"), arrays["features"])
    for name in ("label", "group", "split"):
        np.save(path.with_suffix(f".{name}.npy"), arrays[name])


def _as_safetensors(path: Path, arrays: dict[str, Any]) -> None:
    save_file(arrays, path.with_suffix(".safetensors"))


WRITERS = {
    "parquet": _as_parquet,
    "table": _as_table,
    "npz": _as_npz,
    "npy": _as_npy,
    "safetensors": _as_safetensors,
}
every_format = pytest.mark.parametrize("form", WRITERS)


def _one(form: str, folder: Path, **parameters: Any) -> Features:
    WRITERS[form](folder / "all", _arrays())
    ending = "parquet" if form == "table" else form
    return Features(path=f"all.{ending}", group="group", **parameters)


def _first(data: TrainTest) -> tuple[list[float], list[float]]:
    return data.train.pixels[:, 0, 0, 0].tolist(), data.test.pixels[:, 0, 0, 0].tolist()


class TestFormats:
    @every_format
    def test_a_file_is_divided_by_its_own_column(self, form: str, tmp_path: Path) -> None:
        data = _one(form, tmp_path, split="split").load(tmp_path)
        test = [row for row in range(N) if row % 3 == 0]
        train = [row for row in range(N) if row % 3]
        assert _first(data) == (train, test)
        assert data.train.pixels.dtype == np.float32
        assert data.train.pixels.shape == (len(train), D, 1, 1)
        assert data.train.pixels[:, 2, 0, 0].tolist() == [row / 2 for row in train]
        assert data.train.labels.tolist() == [row % 4 for row in train]
        assert data.train.groups is not None
        assert data.train.groups.tolist() == [row // 5 for row in train]
        assert data.classes == 4

    @every_format
    def test_a_folder_has_a_file_per_split(self, form: str, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        for split, samples in (("train", 12), ("test", 8)):
            WRITERS[form](tmp_path / "mine" / split, _arrays(samples))
        data = Features(path="mine", group="group", split="split").load(tmp_path)
        assert _first(data) == ([*range(12)], [*range(8)])

    @every_format
    def test_the_vectors_are_mapped(self, form: str, tmp_path: Path) -> None:
        data = _one(form, tmp_path, split="split").load(tmp_path)
        assert isinstance(data.train.pixels, np.memmap)

    def test_texts_are_numbered_in_alphabetical_order(self, tmp_path: Path) -> None:
        names = np.array(["pear", "apple", "fig", "apple"] * 10)
        _as_npz(tmp_path / "all", {**_arrays(), "label": names})
        data = Features(path="all.npz", split="split").load(tmp_path)
        assert data.train.labels.tolist() == [{"apple": 0, "fig": 1, "pear": 2}[names[i]] for i in range(N) if i % 3]

    def test_splits_may_be_texts(self, tmp_path: Path) -> None:
        _as_npz(tmp_path / "all", {**_arrays(), "split": np.array(["test"] * 12 + ["train"] * 28)})
        assert _first(Features(path="all.npz", split="split").load(tmp_path))[1] == [*range(12)]

    def test_labels_are_known_without_loading(self, tmp_path: Path) -> None:
        features = _one("npz", tmp_path, split="split", train_size=9, test_size=5)
        labels = features.labels(tmp_path)
        data = features.load(tmp_path)
        assert labels.train.tolist() == data.train.labels.tolist()
        assert labels.test.tolist() == data.test.labels.tolist()
        assert (len(labels.train), len(labels.test)) == (9, 5)


class TestDrawnSplits:
    def test_each_class_gives_its_fraction(self, tmp_path: Path) -> None:
        _as_npz(tmp_path / "all", _arrays())
        data = Features(path="all.npz", test_fraction=0.2).load(tmp_path)
        assert np.bincount(data.test.labels).tolist() == [2, 2, 2, 2]
        train, test = _first(data)
        assert sorted([*train, *test]) == [*range(N)]

    def test_the_seed_draws_it(self, tmp_path: Path) -> None:
        _as_npz(tmp_path / "all", _arrays())
        first, again, other = (
            _first(Features(path="all.npz", test_fraction=0.2, split_seed=seed).load(tmp_path))[1] for seed in (0, 0, 1)
        )
        assert first == again != other

    def test_groups_stay_whole(self, tmp_path: Path) -> None:
        data = _one("npz", tmp_path, test_fraction=0.3).load(tmp_path)
        assert data.test.groups is not None
        assert data.train.groups is not None
        assert not set(data.test.groups.tolist()) & set(data.train.groups.tolist())
        assert len(data.test) == 15  # 12 are asked for, and groups have 5

    def test_a_group_is_never_divided_between_training_and_validation(self, tmp_path: Path) -> None:
        features = _one("npz", tmp_path, test_fraction=0.3)
        recipe = Recipe(loss="softmax", backbone="identity", dataset=features, seed=0, training={"batch_size": 2})
        chosen = rows(features.labels(tmp_path), recipe.model_copy(update={"training": _validating(recipe, 0.4)}))
        groups = features.load(tmp_path).train.groups
        assert groups is not None
        assert len(chosen.validation) == 10
        assert not set(groups[chosen.train].tolist()) & set(groups[chosen.validation].tolist())


def _validating(recipe: Recipe, fraction: float) -> Any:
    return recipe.training.model_copy(update={"validation_fraction": fraction})


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"label": np.arange(N) % 4 + 1}, "expected 0 to 3"),
            ({"label": np.arange(N) / 4}, "one integer or text per sample"),
            ({"label": np.arange(N - 1) % 4}, "40 vectors and 39 labels"),
            ({"features": np.zeros((N, 2, 2))}, "expected numbers"),
            ({"features": np.full((N, D), np.nan)}, "missing or infinite"),
            ({"split": np.zeros(N, np.int64)}, "no test samples"),
            ({"split": np.arange(N)}, "expected 'train' and 'test'"),
            ({"label": np.where(np.arange(N) % 3 == 0, 1, 0)}, "which no training sample has"),
        ],
    )
    def test_what_cannot_be_used_is_said(self, change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
        _as_npz(tmp_path / "all", {**_arrays(), **change})
        with pytest.raises(UnusableDataError, match=sentence):
            Features(path="all.npz", split="split").load(tmp_path)

    def test_a_missing_array_is_named_with_those_there_are(self, tmp_path: Path) -> None:
        _as_npz(tmp_path / "all", _arrays())
        with pytest.raises(UnusableDataError, match="has no 'class'; it has 'features', 'label'"):
            Features(path="all.npz", label="class", split="split").load(tmp_path)

    def test_a_pickle_is_not_read(self, tmp_path: Path) -> None:
        _as_npz(tmp_path / "all", {**_arrays(), "label": np.array([{}] * N, object)})
        with pytest.raises(UnusableDataError, match="allow_pickle"):
            Features(path="all.npz", split="split").load(tmp_path)

    def test_one_file_without_a_split_is_refused(self, tmp_path: Path) -> None:
        _as_npz(tmp_path / "all", _arrays())
        with pytest.raises(UnusableDataError, match="'test_fraction'"):
            Features(path="all.npz").load(tmp_path)

    def test_no_file_is_missing_data(self, tmp_path: Path) -> None:
        with pytest.raises(MissingDataError, match="No data for 'features'"):
            Features(path="none.npz").find(tmp_path)

    @pytest.mark.parametrize(
        "fields", [{"split": "split", "test_fraction": 0.5}, {"shift": {"corruption": "fog"}}, {"test_fraction": 1.0}]
    )
    def test_parameters_that_contradict_are_refused(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            Features(path="all.npz", **fields)

    @pytest.mark.parametrize("fields", [{"augmentation": ["flip"]}, {"mixing": ["mixup", "cutmix"]}])
    def test_what_is_done_to_images_is_refused(self, fields: dict[str, Any], tmp_path: Path) -> None:
        features = _one("npz", tmp_path, split="split")
        recipe = Recipe(loss="softmax", backbone="mlp", dataset=features, seed=0, training=fields)
        (found,) = faults(features.labels(tmp_path), recipe)
        assert found == f"'features' has vectors, not images: leave out {next(iter(fields.values()))[-1]}"


class TestTraining:
    def test_features_are_scaled_by_the_training_split(self, tmp_path: Path) -> None:
        draw = np.random.default_rng(0)
        wide = draw.normal(size=(N, 3)) * [1e-3, 1, 1e4] + [0, 5, -1e5]
        wide[:, 0] = 7  # constant
        _as_npz(tmp_path / "all", {**_arrays(), "features": wide})
        recipe = Recipe(
            loss="softmax",
            backbone="identity",
            dataset=Features(path="all.npz", split="split"),
            seed=0,
            training={"epochs": 1, "batch_size": 4, "validation_fraction": 0},
        )
        data = recipe.dataset.load(tmp_path)
        seen = fit(recipe, data).example.reshape(2, 3)
        train = data.train.pixels[:, :, 0, 0].astype(np.float64)
        deviation = np.array([1, *train.std(axis=0, ddof=1)[1:]])
        expected = (data.test.pixels[:2, :, 0, 0] - train.mean(axis=0)) / deviation
        np.testing.assert_allclose(seen, expected, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("backbone", ["identity", "mlp"])
    @pytest.mark.parametrize("loss", ["softmax", "bce_unified"])
    def test_a_packaged_table_is_learnt(self, loss: str, backbone: str, tmp_path: Path) -> None:
        values, labels = load_wine(return_X_y=True, as_frame=True)
        values.assign(cultivar=labels).to_parquet(tmp_path / "wine.parquet")
        wine = {"name": "features", "path": "wine.parquet", "label": "cultivar", "test_fraction": 0.3}
        training = {"epochs": 20, "batch_size": 16, "learning_rate": 0.1}
        recipe = Recipe(loss=loss, backbone=backbone, dataset=wine, seed=0, training=training)
        found = fit(recipe, recipe.dataset.load(tmp_path))
        assert found.metrics["sample_wise_accuracy"] is not None
        assert found.metrics["sample_wise_accuracy"] > 0.9
