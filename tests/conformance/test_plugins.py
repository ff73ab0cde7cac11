"""Every plug-in of the catalogue keeps the promises of its kind; a new one is tested by being there."""

from __future__ import annotations

import re
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, get_args
from urllib.error import URLError

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import one_hot

import drawn
from trainers import catalogue
from trainers.backbones import Backbone, InputShape
from trainers.catalogue import Axis
from trainers.datasets import Dataset, MissingDataError
from trainers.datasets.content import ArraysError, content
from trainers.losses import BiasedLoss, Loss, Seen, one_per_sample
from trainers.plugin import Plugin
from trainers.recipe import Recipe

VARIANTS = {"torchvision": "mobilenet_v3_small", "timm": "resnet10t"}
"""Of plug-ins that are families, the member to test; a new family names one here."""

REQUIRED = {"path": "of_ones_own"}
"""Parameters that only a user can know, and what these tests give."""

GIVEN: dict[str, dict[str, Any]] = {
    "stand_in": {"of": "photographs", "shape": (3, 8, 8), "number_of_classes": 5, "train": 40, "test": 20},
    "features": {"path": f"{REQUIRED['path']}/vectors"},
    "frozen": {"of": "digits", "by": "resnet8", "weights": f"{REQUIRED['path']}/resnet8.safetensors", "size": 8},
}
"""Parameters without which a data set is nothing; those of vectors lie beside images of the same user."""

CIFAR = InputShape(3, 32, 32)
SHAPES = [InputShape(1, 8, 8), InputShape(1, 28, 28), CIFAR]

FIELDS: dict[Axis, str] = {"losses": "loss", "backbones": "backbone", "datasets": "dataset"}
SETTINGS: dict[str, dict[str, Any]] = {
    "bias_init": {"bias_init": "prior"},
    "bias_learning_rate": {"bias_learning_rate": 0.5},
    "train_size": {"train_size": 300, "test_size": 200},
    "stem": {"stem": "imagenet"},
    "patch": {"patch": 2},
    "layer_scale": {"layer_scale": 0.5},
}
"""Parameters that differ from their defaults, for plug-ins that have them."""


def _required(plugin: type[Plugin]) -> set[str]:
    return {name for name, field in plugin.model_fields.items() if field.is_required()}


def _example(axis: Axis, name: str, **parameters: Any) -> Any:
    variant = f":{VARIANTS[name]}" if name in VARIANTS else ""
    users = {field: REQUIRED[field] for field in _required(catalogue.plugins(axis)[name]) if field in REQUIRED}
    return catalogue.resolve(axis, f"{name}{variant}", {**users, **GIVEN.get(name, {}), **parameters})


def _examples() -> list[Any]:
    """Every plug-in with its defaults, and with each setting that it has."""
    return [
        pytest.param((axis, name, parameters), id="-".join([axis, name, *parameters]))
        for axis in get_args(Axis)
        for name, plugin in catalogue.plugins(axis).items()
        for field, parameters in {"": {}, **SETTINGS}.items()
        if not field or field in plugin.model_fields
    ]


class Example(NamedTuple):
    """A plug-in with its parameters, and where the catalogue keeps it."""

    axis: Axis
    plugin: Plugin


@pytest.fixture
def example(request: pytest.FixtureRequest) -> Example:
    axis, name, parameters = request.param
    return Example(axis, _example(axis, name, **parameters))


every_plugin = pytest.mark.parametrize(
    "plugin",
    [
        pytest.param(plugin, id=f"{axis}-{name}")
        for axis in get_args(Axis)
        for name, plugin in catalogue.plugins(axis).items()
    ],
)
every_example = pytest.mark.parametrize("example", _examples(), indirect=True)
every_loss = pytest.mark.parametrize(
    "loss", [_example("losses", name) for name in catalogue.plugins("losses")], ids=lambda loss: loss.name
)
every_dataset = pytest.mark.parametrize("name", catalogue.plugins("datasets"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection fails at once."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


class TestEveryPlugin:
    @every_plugin
    def test_a_sentence_describes_it(self, plugin: type[Plugin]) -> None:
        assert "__doc__" in vars(plugin)  # its own words, not those of its kind
        assert len(plugin.summary()) > 10
        assert plugin.summary().endswith(".")

    @every_plugin
    def test_its_name_can_be_written_in_a_file_and_on_a_command_line(self, plugin: type[Plugin]) -> None:
        assert plugin.name == plugin.name.lower()
        assert plugin.name.isidentifier()

    @every_plugin
    def test_it_needs_no_parameter_but_a_variant_or_the_users_files(self, plugin: type[Plugin]) -> None:
        required = _required(plugin)
        assert required <= {"architecture", *REQUIRED, *GIVEN.get(plugin.name, {})}
        assert ("architecture" in required) == (plugin.name in VARIANTS)
        if required:
            with pytest.raises(ValidationError, match="|".join(required)):
                plugin()
        else:
            assert isinstance(plugin(), plugin)

    @every_example
    def test_it_is_frozen_and_hashable(self, example: Example) -> None:
        plugin = example.plugin
        assert plugin == plugin.model_copy()
        assert hash(plugin) == hash(plugin.model_copy())
        for field in ["name", *type(plugin).model_fields]:
            with pytest.raises((ValidationError, AttributeError)):
                setattr(plugin, field, "changed")

    @every_example
    def test_it_survives_json_within_a_recipe(self, example: Example) -> None:
        others: dict[str, Any] = {"loss": "softmax", "backbone": "resnet8", "dataset": "digits", "seed": 0}
        recipe = Recipe(**{**others, FIELDS[example.axis]: example.plugin})
        again = Recipe.model_validate_json(recipe.model_dump_json())
        assert again == recipe
        assert hash(again) == hash(recipe)
        restored = getattr(again, FIELDS[example.axis])
        assert restored == example.plugin
        assert type(restored) is type(example.plugin)

    @every_example
    def test_its_key_leads_back_to_it(self, example: Example) -> None:
        dump = example.plugin.model_dump(mode="json")
        assert dump.pop("name") == example.plugin.key
        assert catalogue.resolve(example.axis, example.plugin.key, dump) == example.plugin

    @every_example
    def test_a_misspelt_parameter_is_rejected(self, example: Example) -> None:
        parameters = example.plugin.model_dump(mode="json")
        del parameters["name"]
        with pytest.raises(ValidationError, match="1 validation error"):
            catalogue.resolve(example.axis, example.plugin.key, {**parameters, "tempreature": 1})


def _logits(samples: int = 12, classes: int = 5, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(samples, classes, generator=draw, dtype=torch.float64)
    return logits.to(dtype), torch.arange(samples) % classes


def _losses(loss: Loss, logits: Tensor, labels: Tensor) -> Tensor:
    """The losses (n,), whatever the loss asks for; all classes have as many images."""
    seen = Seen(torch.full((logits.shape[1],), 7), torch.zeros(len(labels), 3, dtype=logits.dtype), 2)
    return one_per_sample(loss, logits, labels, seen)


class TestEveryLoss:
    @every_loss
    @pytest.mark.parametrize("classes", [2, 5, 100])
    @pytest.mark.parametrize("samples", [1, 12])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
    def test_it_is_one_finite_number_a_sample(self, loss: Loss, samples: int, classes: int, dtype: torch.dtype) -> None:
        logits, labels = _logits(samples, classes, dtype)
        losses = _losses(loss, logits.requires_grad_(), labels)  # as in training
        assert losses.shape == (samples,)
        assert losses.dtype == dtype
        assert losses.isfinite().all()

    @every_loss
    def test_its_gradient_reaches_the_scores_of_every_sample(self, loss: Loss) -> None:
        logits, labels = _logits()
        _losses(loss, logits.requires_grad_(), labels).sum().backward()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        assert (logits.grad.abs().sum(dim=1) > 0).all()

    @every_loss
    def test_a_step_against_its_gradient_lowers_it(self, loss: Loss) -> None:
        logits, labels = _logits()
        before = _losses(loss, logits.requires_grad_(), labels).sum()
        (gradient,) = torch.autograd.grad(before, logits)
        after = _losses(loss, logits - 1e-3 * gradient, labels).sum()
        assert after < before

    @every_loss
    def test_it_prefers_a_right_answer_to_a_wrong_one(self, loss: Loss) -> None:
        _, labels = _logits()
        right = 8 * one_hot(labels, 5).double() - 4
        assert (_losses(loss, right, labels) < _losses(loss, -right, labels)).all()

    @every_loss
    def test_permuted_samples_have_permuted_losses(self, loss: Loss) -> None:
        logits, labels = _logits()
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
        permuted = _losses(loss, logits[order], labels[order])
        torch.testing.assert_close(permuted, _losses(loss, logits, labels)[order])

    @every_loss
    def test_no_class_is_special(self, loss: Loss) -> None:
        logits, labels = _logits()
        order = torch.tensor([3, 0, 4, 2, 1])  # column j now holds class order[j]
        permuted = _losses(loss, logits[:, order], order.argsort()[labels])
        torch.testing.assert_close(permuted, _losses(loss, logits, labels))

    @every_loss
    def test_scores_and_labels_stay_as_they_were(self, loss: Loss) -> None:
        logits, labels = _logits()
        _losses(loss, logits, labels)
        assert torch.equal(logits, _logits()[0])
        assert torch.equal(labels, _logits()[1])

    @every_loss
    @pytest.mark.parametrize("classes", [2, 5, 100])
    def test_it_learns_no_bias_or_one_or_one_per_class(self, loss: Loss, classes: int) -> None:
        assert loss.biases(classes) in {0, 1, classes}
        assert (loss.biases(classes) > 0) == isinstance(loss, BiasedLoss)


class Squared(Loss):
    """Squared error against one-hot labels, reduced in one way or another."""

    name = "squared"
    reduction: str = "sum over classes"

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Whatever the reduction makes of the (n, K) errors."""
        errors = (logits - one_hot(labels, logits.shape[1])).square()
        match self.reduction:
            case "none":
                return errors
            case "mean":
                return errors.mean()
            case "over samples":
                return errors.sum(0)
            case "kept":
                return errors.sum(1, keepdim=True)
            case "whole":
                return errors.sum(1).round().long()
            case "detached":
                return errors.sum(1).detach()
            case _:
                return errors.sum(1)


class TestTheSuite:
    """What it takes, and what it catches."""

    def test_it_takes_a_sound_loss(self) -> None:
        TestEveryLoss().test_it_is_one_finite_number_a_sample(Squared(), 12, 5, torch.float64)

    @pytest.mark.parametrize("samples", [1, 12])
    @pytest.mark.parametrize("reduction", ["none", "mean", "over samples", "kept", "whole", "detached"])
    def test_it_catches_a_loss_that_is_not_one_number_a_sample(self, reduction: str, samples: int) -> None:
        with pytest.raises(TypeError, match="Loss 'squared' returned"):
            TestEveryLoss().test_it_is_one_finite_number_a_sample(
                Squared(reduction=reduction), samples, 5, torch.float64
            )


class TestEveryBackbone:
    @pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
    @pytest.mark.parametrize("name", catalogue.plugins("backbones"))
    def test_it_turns_images_into_features_of_its_width_that_train(self, name: str, shape: InputShape) -> None:
        torch.manual_seed(0)
        try:
            network, width = _example("backbones", name).build(shape)
        except ValueError as refusal:
            assert shape != CIFAR  # a network may need larger images, but not larger than these
            assert "x".join(map(str, shape)) in str(refusal)  # noqa: PT017  # a refusal is allowed, not required
            return
        assert network.training
        features = network(torch.rand(4, *shape))
        assert features.shape == (4, width)
        assert features.dtype == torch.float32
        assert features.isfinite().all()
        if not list(network.parameters()):
            return  # the identity, of which nothing trains
        features.square().sum().backward()
        untrained = [name for name, each in network.named_parameters() if each.requires_grad and each.grad is None]
        assert untrained == []

    @pytest.mark.parametrize("name", catalogue.plugins("backbones"))
    def test_the_global_seed_decides_its_weights(self, name: str) -> None:
        backbone = _example("backbones", name)
        assert isinstance(backbone, Backbone)
        first, again, other = (_weights(backbone, seed) for seed in (0, 0, 1))
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not first or not all(torch.equal(first[name], other[name]) for name in first)

    @pytest.mark.parametrize("name", catalogue.plugins("backbones"))
    def test_an_image_has_the_same_features_in_any_company(self, name: str) -> None:
        torch.manual_seed(0)
        network = _example("backbones", name).build(CIFAR).network.eval()
        images = torch.rand(3, *CIFAR)
        with torch.no_grad():
            alone = network(images[1:2])
            together = network(images)[1:2]
        # Beside the largest feature: those of an untrained deep network are sums of numbers that nearly cancel.
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-3 * alone.abs().max().item())


def _weights(backbone: Backbone, seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return backbone.build(CIFAR).network.state_dict()


def _small(name: str) -> Dataset:
    """The dataset, no larger than a test needs where it has a size."""
    sizes = SETTINGS["train_size"] if "train_size" in catalogue.plugins("datasets")[name].model_fields else {}
    dataset = _example("datasets", name, **sizes)
    assert isinstance(dataset, Dataset)
    return dataset


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Dataset]:
    """The dataset, of drawn files in its format where this machine has not its own."""

    def prepare(name: str) -> Dataset:
        dataset = _small(name)
        try:
            dataset.prepare(tmp_path)
        except MissingDataError:
            if "path" in _required(type(dataset)) or name in GIVEN:
                _write_examples(tmp_path / REQUIRED["path"])
            else:
                drawn.WRITERS[name](tmp_path, monkeypatch)
            dataset = _example("datasets", name)
            dataset.prepare(tmp_path)
        return dataset

    return prepare


class TestEveryDataset:
    @every_dataset
    def test_without_files_or_network_it_says_so_by_name(self, name: str, tmp_path: Path) -> None:
        dataset = _small(name)
        try:
            dataset.prepare(tmp_path)
        except MissingDataError as error:
            message = str(error)
            assert message.startswith(f"No data for '{name}'")  # having the files is no failure
            with pytest.raises(MissingDataError):
                dataset.load(tmp_path)

    @every_dataset
    def test_looking_for_its_files_leaves_none(self, name: str, tmp_path: Path) -> None:
        try:
            _small(name).find(tmp_path)
        except MissingDataError as error:
            assert str(error).startswith(f"No data for '{name}'")  # noqa: PT017  # having the files is no failure
        assert list(tmp_path.iterdir()) == []

    @every_dataset
    def test_images_are_bytes_or_vectors_and_labels_are_classes(
        self, name: str, prepared: Callable[[str], Dataset], tmp_path: Path
    ) -> None:
        dataset = prepared(name)
        images = dataset.load(tmp_path)
        for split in (images.train, images.test):
            assert split.pixels.dtype == (np.float32 if dataset.vectors else np.uint8)
            assert split.pixels.ndim == 4
            assert not dataset.vectors or split.pixels.shape[2:] == (1, 1)
            assert split.labels.dtype == np.int64
            assert split.labels.shape == (len(split.pixels),)
            assert 0 < len(np.unique(split.pixels)) <= (split.pixels.size if dataset.vectors else 256)
            assert split.labels.min() >= 0
            assert split.labels.max() < images.classes
        assert images.train.pixels.shape[1:] == images.test.pixels.shape[1:]
        assert set(images.train.labels.tolist()) == set(range(images.classes))
        assert set(images.test.labels.tolist()) == set(range(images.classes))

    @every_dataset
    def test_its_extent_is_that_of_its_images(
        self, name: str, prepared: Callable[[str], Dataset], tmp_path: Path
    ) -> None:
        dataset = prepared(name)
        images = dataset.load(tmp_path)
        extent = dataset.extent(images.labels)
        assert (extent is None) == dataset.vectors
        if extent is not None:
            assert extent.shape == images.train.pixels.shape[1:]
            assert (extent.classes, extent.train, extent.test) == (
                images.classes,
                len(images.train),
                len(images.test),
            )

    @every_dataset
    def test_it_is_the_same_every_time(self, name: str, prepared: Callable[[str], Dataset], tmp_path: Path) -> None:
        dataset = prepared(name)
        first = dataset.load(tmp_path)
        again = dataset.load(tmp_path)
        for one, other in ((first.train, again.train), (first.test, again.test)):
            assert np.array_equal(one.pixels, other.pixels)
            assert np.array_equal(one.labels, other.labels)

    def test_one_needs_neither_files_nor_network(self, tmp_path: Path) -> None:
        assert len(_example("datasets", "digits").load(tmp_path).train) == 1000

    @every_dataset
    def test_its_digest_is_the_same_every_time(
        self, name: str, prepared: Callable[[str], Dataset], tmp_path: Path
    ) -> None:
        dataset = prepared(name)
        first, again = (_digest(each, tmp_path) for each in (dataset, dataset.model_copy()))
        assert first == again
        assert re.fullmatch("[0-9a-f]{64}", first)

    @pytest.mark.parametrize(
        "name", [name for name, plugin in catalogue.plugins("datasets").items() if "path" in _required(plugin)]
    )
    def test_its_digest_changes_with_each_of_its_files(self, name: str, tmp_path: Path) -> None:
        dataset = _example("datasets", name)
        _write_examples(tmp_path / REQUIRED["path"])
        seen = [_digest(dataset, tmp_path)]
        assert _digest(dataset, tmp_path) == seen[0]
        files = {tmp_path / dataset.path / each for each in dataset.manifest(tmp_path)}
        for file in sorted(file for file in files if file.is_file()):
            if file.suffix == ".parquet":
                pd.read_parquet(file).to_parquet(file, compression="gzip")  # other bytes that can be read
            else:
                file.write_bytes(file.read_bytes() + b"\n")
            seen.append(_digest(dataset, tmp_path))
        assert len(set(seen)) == len(seen) > 2


def _digest(dataset: Dataset, data_dir: Path) -> str:
    try:
        found = content(dataset, data_dir)
    except ArraysError:
        found = content(dataset, data_dir, dataset.load(data_dir))
    return dataset.digest(data_dir) if found is None else found.digest or ""


def _write_examples(folder: Path) -> None:
    """Images in the layouts of all datasets of one's own."""
    for split in ("train", "test"):
        for person in ("A", "B"):
            for number in (1, 2):
                path = folder / split / person / f"{person}_000{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                PIL.Image.new("L", (8, 8), ord(person) + number + 10 * (split == "test")).save(path)
        images = [path.read_bytes() for path in sorted((folder / split).rglob("*.png"))]
        pd.DataFrame({"image": images, "label": [0, 0, 1, 1]}).to_parquet(folder / f"{split}.parquet")
        (folder / "vectors").mkdir(exist_ok=True)
        vectors = np.random.default_rng(len(split)).normal(size=(4, 3))
        np.savez(folder / "vectors" / f"{split}.npz", features=vectors, label=[0, 0, 1, 1])
    torch.manual_seed(0)
    save_file(_example("backbones", "resnet8").build(CIFAR).network.state_dict(), folder / "resnet8.safetensors")
    (folder / "pairs.txt").write_text("1\nA 1 2\nA 1 B 1\n")
