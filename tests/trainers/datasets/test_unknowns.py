"""The claims of `unknowns`: whose samples they are, what they are refused for, and what they leave as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score

from trainers.catalogue import resolve
from trainers.datasets import Dataset, MissingDataError
from trainers.datasets.content import ArraysError, content
from trainers.division import drawn_from, misfits
from trainers.fit import Fit, fit
from trainers.networks import InputShape
from trainers.networks.extraction import Extraction
from trainers.recipe import Recipe

NOISE: dict[str, Any] = {"name": "stand_in", "of": "noise", "shape": [1, 8, 8], "number_of_classes": 3}
NOISE |= {"train": 3, "test": 60}


def _dataset(name: str, **parameters: Any) -> Dataset:
    found = resolve("datasets", name, parameters)
    assert isinstance(found, Dataset)
    return found


def _asked(document: dict[str, Any]) -> Dataset:
    return _dataset(document["name"], **{name: value for name, value in document.items() if name != "name"})


def _vectors(path: Path, seed: int, width: int = 4, labels: tuple[str, ...] = ("a", "b", "c")) -> Path:
    draw = np.random.default_rng(seed)
    label = np.array(labels * 30)
    centres = np.random.default_rng(seed + 100).normal(size=(len(labels), width)) * 3
    features = centres[np.arange(len(label)) % len(labels)] + draw.normal(size=(len(label), width))
    np.savez(path, features=features.astype(np.float32), label=label, split=np.arange(len(label)) % 2)
    return path


def _own(path: str, **parameters: Any) -> dict[str, Any]:
    return {"name": "features", "path": path, "split": "split", **parameters}


def _trained(dataset: dict[str, Any], data_dir: Path, backbone: str = "identity") -> Fit:
    training = {"epochs": 2, "batch_size": 16, "learning_rate": 0.1}
    recipe = Recipe(loss="softmax", backbone=backbone, dataset=dataset, seed=0, training=training)
    return fit(recipe, recipe.dataset.load(data_dir), data_dir=data_dir)


class TestMeasures:
    def test_the_test_samples_of_the_other_data_are_the_unknown_ones(self, tmp_path: Path) -> None:
        _vectors(tmp_path / "mine.npz", 1)
        others = np.load(_vectors(tmp_path / "others.npz", 2))
        found = _trained(_own("mine.npz", unknowns=_own("others.npz")), tmp_path)
        assert found.model is not None
        unknown = others["features"][others["split"] == 1]
        images = torch.from_numpy((unknown - found.mean) / found.deviation)[:, :, None, None].float()
        with torch.no_grad():
            model = found.model.eval()
            tops = model.logits(model.backbone(images)).max(dim=1).values.numpy()
        known = np.maximum(found.evaluation.positive, found.evaluation.rival)
        is_known = np.repeat([1, 0], [len(known), len(tops)])
        assert found.metrics["open_auroc"] == pytest.approx(roc_auc_score(is_known, np.concatenate([known, tops])))
        assert found.metrics["open_oscr"] is not None
        assert found.metrics["unknown_rejected"] is not None
        assert found.metrics["verification_eer"] is not None  # pairs of samples of unknown classes

    def test_training_and_closed_measures_stay_as_they_are(self, tmp_path: Path) -> None:
        plain = _trained({"name": "digits"}, tmp_path, "resnet8")
        beside = _trained({"name": "digits", "unknowns": NOISE}, tmp_path, "resnet8")
        assert plain.metrics["open_auroc"] is None
        assert beside.metrics["open_auroc"] is not None
        assert np.array_equal(plain.evaluation.positive, beside.evaluation.positive)
        assert plain.history == beside.history

    def test_a_tuning_trial_does_not_see_them(self, tmp_path: Path) -> None:
        _vectors(tmp_path / "mine.npz", 1)
        _vectors(tmp_path / "others.npz", 2)
        recipe = Recipe(
            loss="softmax",
            backbone="identity",
            dataset=_own("mine.npz", unknowns=_own("others.npz")),
            seed=0,
            training={"epochs": 1, "batch_size": 8},
            scored_on="validation",
        )
        assert fit(recipe, recipe.dataset.load(tmp_path), data_dir=tmp_path).metrics["open_auroc"] is None

    def test_frozen_unknowns_pass_through_the_same_network(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        torch.manual_seed(0)
        backbone: Any = resolve("backbones", "resnet8")
        save_file(backbone.build(InputShape(3, 8, 8)).network.state_dict(), tmp_path / "mine.safetensors")
        asked: dict[str, Any] = {"by": "resnet8", "weights": "mine.safetensors", "size": 8}
        noise = _dataset("frozen", of=NOISE, **asked).load(tmp_path).test
        for file in (tmp_path / ".decoded").glob("frozen-*.npy"):
            file.unlink()
        frozen = _dataset("frozen", of="digits", unknowns=NOISE, **asked)
        frozen.prepare(tmp_path)
        assert len(list((tmp_path / ".decoded").glob("frozen-*.npy"))) == 3  # no training images of the others
        monkeypatch.setattr(Extraction, "write", None)
        frozen.prepare(tmp_path)
        found = frozen.with_unknown(frozen.load(tmp_path), tmp_path).unknown
        assert found is not None
        assert np.array_equal(found.pixels, noise.pixels)
        assert np.array_equal(found.labels, noise.labels)


class TestIdentity:
    def test_there_is_nothing_in_the_id_where_nothing_is_unknown(self) -> None:
        assert "unknowns" not in _dataset("digits").model_dump(mode="json")
        asked = _dataset("digits", unknowns=NOISE)
        assert asked.model_dump(mode="json")["unknowns"]["name"] == "stand_in"
        assert resolve("datasets", "digits", {"unknowns": asked.model_dump(mode="json")["unknowns"]}) == asked

    def test_draws_do_not_depend_on_them(self) -> None:
        assert drawn_from(_dataset("digits", unknowns=NOISE)) == drawn_from(_dataset("digits"))

    def test_what_they_hold_is_part_of_the_digest(self, tmp_path: Path) -> None:
        _vectors(tmp_path / "mine.npz", 1)
        _vectors(tmp_path / "others.npz", 2)
        asked = _asked(_own("mine.npz", unknowns=_own("others.npz")))
        first = content(asked, tmp_path)
        _vectors(tmp_path / "others.npz", 3)
        second = content(asked, tmp_path)
        alone = content(_asked(_own("mine.npz")), tmp_path)
        assert first
        assert second
        assert alone
        assert len({first.digest, second.digest, alone.digest}) == 3
        assert first.manifest
        assert second.manifest
        changed = {name for name in first.manifest if first.manifest[name] != second.manifest[name]}
        assert changed == {"unknowns/others.npz"}

    def test_names_of_published_data_say_it_all(self, tmp_path: Path) -> None:
        asked = _dataset("cifar10", unknowns="cifar100")
        assert content(asked, tmp_path) is None
        assert asked.is_published
        assert len({asked.published_digest, _dataset("cifar10").published_digest, None}) == 3

    def test_own_data_beside_published_ones_are_not_published(self, tmp_path: Path) -> None:
        asked = _dataset("digits", unknowns=NOISE)
        assert not asked.is_published
        found = content(asked, tmp_path)
        assert found
        assert found.digest

    def test_missing_files_are_missed(self, tmp_path: Path) -> None:
        _vectors(tmp_path / "mine.npz", 1)
        asked = _asked(_own("mine.npz", unknowns=_own("others.npz")))
        with pytest.raises(MissingDataError, match=r"others\.npz"):
            content(asked, tmp_path)

    def test_arrays_of_a_plug_in_are_hashed_where_they_may_be_loaded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stand_in = type(_dataset("stand_in", **{key: value for key, value in NOISE.items() if key != "name"}))
        monkeypatch.setattr(stand_in, "digest", Dataset.digest)
        monkeypatch.delattr(stand_in, "digest")
        asked = _dataset("digits", unknowns=NOISE)
        with pytest.raises(ArraysError):
            content(asked, tmp_path)
        found = content(asked, tmp_path, asked.load(tmp_path))
        assert found
        assert found.digest


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "parameters", "sentence"),
        [
            ("digits", {"unknowns": "digits"}, "has classes of 'digits', which are known"),
            ("mnist", {"unknowns": "svhn"}, "has classes of 'mnist', which are known"),
            ("cifar10", {"unknowns": {"name": "cifar100", "hold_out": [1]}}, "'hold_out' has no place in 'unknowns'"),
            (
                "cifar10",
                {"unknowns": {"name": "cifar100", "unknowns": "mnist"}},
                "'unknowns' has no place in 'unknowns'",
            ),
            ("cifar10", {"unknowns": "cifar100", "hold_out": [1]}, "'hold_out' and 'unknowns' both say"),
            ("digits", {"unknowns": {"name": "features", "path": "x"}}, "has vectors, and 'digits' has images"),
            ("features", {"path": "x", "unknowns": "digits"}, "has images, and 'features' has vectors"),
            ("features", {"path": "x", "unknowns": {"name": "features", "path": "x"}}, "has classes of 'features'"),
            ("image_folder", {"path": "x", "unknowns": {"name": "image_folder", "path": "x"}}, "which are known"),
        ],
    )
    def test_what_cannot_be_unknown_is_refused(self, name: str, parameters: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ValidationError, match=sentence):
            _dataset(name, **parameters)

    @pytest.mark.parametrize(
        ("unknowns", "sentence"),
        [
            ("digits", "has classes of 'digits', which are known"),
            ({"name": "frozen", "of": "cifar10", "by": "resnet8", "weights": "other.pt"}, "by another network, other"),
            ({"name": "features", "path": "x"}, "has vectors, and 'digits' has images"),
        ],
    )
    def test_unknowns_of_frozen_features_are_images(self, unknowns: Any, sentence: str) -> None:
        with pytest.raises(ValidationError, match=sentence):
            _dataset("frozen", of="digits", by="resnet8", weights="mine.pt", unknowns=unknowns)

    def test_features_by_the_same_weights_are_the_same_as_their_images(self) -> None:
        asked: dict[str, Any] = {"by": "resnet8", "weights": "mine.pt"}
        twice = _dataset("frozen", of="digits", unknowns={"name": "frozen", "of": "cifar10", **asked}, **asked)
        assert twice == _dataset("frozen", of="digits", unknowns="cifar10", **asked)

    def test_images_of_another_size_are_told_by_name(self) -> None:
        asked = _dataset("fashion_mnist", unknowns="cifar10")
        (found,) = misfits(asked, None, None)
        assert found == (
            "the samples of 'unknowns: cifar10' have 3x32x32 numbers, and its own 1x28x28: give both the same 'size' "
            "and 'channels'"
        )

    def test_images_of_any_size_pass_through_a_frozen_network(self) -> None:
        asked = _dataset("frozen", of="fashion_mnist", by="resnet8", weights="mine.pt", unknowns="cifar10")
        assert list(misfits(asked, None, None)) == []

    def test_vectors_of_another_length_are_told_by_their_files(self, tmp_path: Path) -> None:
        _vectors(tmp_path / "mine.npz", 1)
        _vectors(tmp_path / "others.npz", 2, width=5)
        asked = _asked(_own("mine.npz", unknowns=_own("others.npz")))
        assert asked.unknowns
        (found,) = misfits(asked, asked.labels(tmp_path), asked.unknowns.labels(tmp_path))
        assert "have 5x1x1 numbers, and its own 4x1x1: choose vectors of one length" in found
        with pytest.raises(ValueError, match=r"unknown samples have the shape \[5, 1, 1\], and known ones \[4, 1, 1\]"):
            _trained(asked.model_dump(mode="json"), tmp_path)


def _photographs(root: Path, *classes: str) -> Path:
    for split in ("train", "test"):
        for number, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for each in range(4):
                level = 20 * (each + 4 * number + 16 * (split == "test"))
                Image.new("RGB", (9, 9), (level % 256, level % 97, 7)).save(root / split / name / f"{each}.png")
    return root


class TestFolders:
    def test_images_are_read_at_the_size_of_the_known_ones(self, tmp_path: Path) -> None:
        _photographs(tmp_path / "mine", "dent", "ok")
        _photographs(tmp_path / "others", "hole", "rust")
        unknowns = {"name": "image_folder", "path": "others"}
        asked = _dataset("image_folder", path="mine", size=8, channels=1, unknowns=unknowns)
        assert asked == _dataset(
            "image_folder", path="mine", size=8, channels=1, unknowns={**unknowns, "size": 8, "channels": 1}
        )
        data = asked.with_unknown(asked.load(tmp_path), tmp_path)
        assert data.unknown
        assert data.unknown.pixels.shape == (8, 1, 8, 8)
        assert asked.unknowns
        assert list(misfits(asked, asked.labels(tmp_path), asked.unknowns.labels(tmp_path))) == []

    def test_classes_of_the_same_name_are_known(self, tmp_path: Path) -> None:
        _photographs(tmp_path / "mine", "dent", "ok")
        _photographs(tmp_path / "others", "OK", "rust")
        asked = _dataset("image_folder", path="mine", size=8, unknowns={"name": "image_folder", "path": "others"})
        assert asked.unknowns
        (found,) = misfits(asked, asked.labels(tmp_path), asked.unknowns.labels(tmp_path))
        assert "has classes that are known by the same name: OK; take them out" in found
