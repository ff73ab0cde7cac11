"""Training that starts from pretrained weights: what stays as it is, what moves faster, and how steps are taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

from trainers import augmentation
from trainers.catalogue import resolve
from trainers.classifier import Classifier
from trainers.data import Batch, Place, batches, split
from trainers.datasets import Dataset, Images, TrainTest
from trainers.fit import Fit, fit
from trainers.networks import InputShape
from trainers.optimisation import build_optimizer
from trainers.recipe import Recipe, Training
from trainers.weights import MissingWeightsError, Preprocessing, find

CPU = torch.device("cpu")
WEIGHTS = "mine.safetensors"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Weights of resnet8 for images in colour, with statistics of their own."""
    torch.manual_seed(0)
    backbone: Any = resolve("backbones", "resnet8")
    network = backbone.build(InputShape(3, 8, 8)).network
    with torch.no_grad():
        network(torch.rand(64, 3, 8, 8))
    save_file(network.state_dict(), tmp_path / WEIGHTS)
    return tmp_path


class Blocks(Dataset):
    """Grey images of 8x8 whose left or right half is brighter."""

    name = "blocks"

    def load(self, data_dir: object) -> TrainTest:
        """200 images, of which 40 are for testing."""
        del data_dir
        draw = np.random.default_rng(0)
        labels = np.arange(200) % 2
        pixels = draw.integers(0, 128, (200, 1, 8, 8), np.uint8)
        pixels[labels == 0, :, :, :4] += 100
        pixels[labels == 1, :, :, 4:] += 100
        images = Images(pixels, labels)
        return TrainTest(images.take(np.arange(160)), images.take(np.arange(160, 200)), classes=2)

    def prepare(self, data_dir: object) -> None:
        """There is nothing to do."""


def _recipe(backbone: dict[str, Any] | None = None, loss: str = "bce_unified", **training: Any) -> Recipe:
    fields = {"epochs": 2, "batch_size": 32, "learning_rate": 0.05, **training}
    chosen = {"name": "resnet8", "weights": WEIGHTS, **(backbone or {})}
    return Recipe(loss=loss, backbone=chosen, dataset=Blocks(), seed=0, training=fields)


def _trained(recipe: Recipe, data_dir: Path) -> Fit:
    return fit(recipe, recipe.dataset.load(data_dir), data_dir=data_dir)


def _start(data_dir: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(data_dir / WEIGHTS)


def _unchanged(found: Fit, data_dir: Path) -> set[str]:
    """The tensors of the backbone that are bit for bit what the file has."""
    after = found.model.backbone.state_dict()
    return {name for name, before in _start(data_dir).items() if torch.equal(before, after[name])}


class TestFreezing:
    @pytest.mark.parametrize("ema", [0.0, 0.9])
    def test_all_of_a_frozen_backbone_stays_bit_for_bit(self, ema: float, data_dir: Path) -> None:
        found = _trained(_recipe({"freeze": "all"}, ema=ema), data_dir)
        assert _unchanged(found, data_dir) == set(_start(data_dir))

    @pytest.mark.parametrize(("count", "frozen"), [(1, ["0"]), (2, ["0", "1"]), (4, ["0", "1", "3", "4"])])
    def test_the_first_blocks_stay_and_the_others_train(self, count: int, frozen: list[str], data_dir: Path) -> None:
        # Of resnet8: 0 is a convolution, 1 its normalisation, 3 to 5 are residual blocks.
        found = _trained(_recipe({"freeze": count}), data_dir)
        expected = {name for name in _start(data_dir) if name.split(".")[0] in frozen}
        assert expected <= _unchanged(found, data_dir)
        trained = {name for name in _start(data_dir) if name.split(".")[0] not in frozen}
        assert not trained & _unchanged(found, data_dir)

    def test_nothing_is_frozen_by_default(self, data_dir: Path) -> None:
        assert _unchanged(_trained(_recipe(), data_dir), data_dir) == set()

    def test_frozen_statistics_are_also_used(self, data_dir: Path) -> None:
        recipe = _recipe({"freeze": "all"})
        found = find(WEIGHTS, "", data_dir)
        model = Classifier(recipe.backbone, recipe.loss, InputShape(3, 8, 8), 2, found).train()
        images = torch.rand(4, 3, 8, 8)
        alone = torch.cat([model.features(image[None]) for image in images])
        torch.testing.assert_close(model.features(images), alone)

    def test_more_blocks_than_there_are_are_refused(self, data_dir: Path) -> None:
        with pytest.raises(ValueError, match="'freeze' is 99, and the network has 5 blocks"):
            _trained(_recipe({"freeze": 99}), data_dir)

    def test_blocks_of_timms_networks_are_counted(self) -> None:
        backbone: Any = resolve("backbones", "timm:efficientnet_lite0", {"freeze": 4})
        recipe = _recipe().model_copy(update={"backbone": backbone})
        model = Classifier(backbone, recipe.loss, InputShape(3, 32, 32), 2)
        trained = {name for name, each in model.backbone.named_parameters() if each.requires_grad}
        frozen = {name for name, each in model.backbone.named_parameters() if not each.requires_grad}
        assert {name.split(".")[0] for name in frozen} == {"conv_stem", "bn1", "blocks"}
        assert {".".join(name.split(".")[:3]) for name in frozen if "blocks" in name} == {"blocks.0.0", "blocks.1.0"}
        assert "blocks.1.1.conv_pw.weight" in trained


class TestWeights:
    def test_images_are_normalised_as_the_weights_expect(self, data_dir: Path) -> None:
        (data_dir / "config.json").write_text('{"mean": [0.5, 0.25, 0.75], "std": [0.5, 0.25, 1.0]}')
        found = _trained(_recipe(), data_dir)
        grey = Blocks().load(None).test.pixels[:2].astype(np.float64) / 255
        expected = (grey - np.array([0.5, 0.25, 0.75])[:, None, None]) / np.array([0.5, 0.25, 1.0])[:, None, None]
        np.testing.assert_allclose(found.example, expected, atol=1e-5)

    def test_weights_that_changed_are_refused(self, data_dir: Path) -> None:
        recipe = _recipe().model_copy(update={"weights_digest": "0" * 64})
        with pytest.raises(MissingWeightsError, match="have changed since the cell was planned"):
            _trained(recipe, data_dir)

    def test_the_fields_are_left_out_at_their_defaults(self) -> None:
        recipe = Recipe(loss="softmax", backbone="resnet8", dataset="digits", seed=0)
        dump = recipe.model_dump(mode="json")
        assert dump["backbone"] == {"name": "resnet8"}
        assert "weights_digest" not in dump
        new = {"head_learning_rate", "gradient_clip", "accumulation", "nesterov", "decay"}
        assert not new & set(dump["training"])
        assert new <= set(Training.model_fields)


class TestSteps:
    def test_the_head_has_its_own_rate(self, data_dir: Path) -> None:
        plain: dict[str, Any] = {"epochs": 1, "schedule": "constant", "momentum": 0, "weight_decay": 0}
        slow = {**plain, "learning_rate": 0.005, "head_learning_rate": 10}
        # SoftMax has no bias, so that the class weights are all that is trained.
        found, fast = (_trained(_recipe({"freeze": "all"}, "softmax", **each), data_dir) for each in (plain, slow))
        torch.testing.assert_close(found.model.linear.weight, fast.model.linear.weight)

    def test_groups_have_the_rates_and_decays_that_are_asked_for(self) -> None:
        recipe = _recipe({"weights": None}, decay="weights", head_learning_rate=3.0)
        model = Classifier(recipe.backbone, recipe.loss, InputShape(3, 8, 8), 2)
        groups = build_optimizer(model, recipe).param_groups
        found = {
            id(each): (round(group["lr"], 6), group["weight_decay"]) for group in groups for each in group["params"]
        }
        vectors = [each for each in model.backbone.parameters() if each.ndim == 1]
        matrices = [each for each in model.backbone.parameters() if each.ndim > 1]
        assert {found[id(each)] for each in matrices} == {(0.05, 5e-4)}
        assert {found[id(each)] for each in vectors} == {(0.05, 0.0)}
        assert found[id(model.linear.weight)] == (0.15, 5e-4)

    def test_frozen_weights_are_in_no_group(self) -> None:
        recipe = _recipe({"weights": None, "freeze": "all"})
        model = Classifier(recipe.backbone, recipe.loss, InputShape(3, 8, 8), 2)
        optimised = [id(each) for group in build_optimizer(model, recipe).param_groups for each in group["params"]]
        assert optimised == [id(model.linear.weight), id(model.bias)]

    def test_parts_of_a_batch_add_up_to_its_step(self, data_dir: Path) -> None:
        # With all statistics frozen, parts differ from the whole by rounding alone.
        whole, parts = (_trained(_recipe({"freeze": "all"}, accumulation=count), data_dir) for count in (1, 4))
        torch.testing.assert_close(whole.model.linear.weight, parts.model.linear.weight)
        assert whole.history[0]["train_loss"] == pytest.approx(parts.history[0]["train_loss"], rel=1e-5)

    def test_a_batch_divides_into_its_rows(self) -> None:
        images = torch.arange(6.0).view(6, 1, 1, 1)
        batch = Batch(images, torch.arange(6), Place(1, torch.zeros(1)))
        parts = [(part.images.flatten().tolist(), part.labels[part.mine].tolist()) for part in batch.parts(3)]
        assert parts == [([0, 1], [0, 1]), ([2, 3], [2, 3]), ([4, 5], [4, 5])]

    def test_a_long_gradient_is_cut(self, data_dir: Path) -> None:
        start = _trained(_recipe({"freeze": "all"}, learning_rate=1e-30), data_dir).model.linear.weight
        fields: dict[str, Any] = {"momentum": 0, "weight_decay": 0, "schedule": "constant", "learning_rate": 1.0}
        cut = _trained(_recipe({"freeze": "all"}, epochs=1, gradient_clip=1e-3, **fields), data_dir).model.linear.weight
        steps = 144 // 32
        assert 0 < (cut - start).norm() <= steps * 1e-3 * 1.001

    def test_nesterov_is_torchs(self, data_dir: Path) -> None:
        del data_dir
        recipe = _recipe({"weights": None}, nesterov=True)
        model = Classifier(recipe.backbone, recipe.loss, InputShape(3, 8, 8), 2)
        assert all(group["nesterov"] for group in build_optimizer(model, recipe).param_groups)

    @pytest.mark.parametrize(
        "fields",
        [
            {"nesterov": True, "optimizer": "adamw"},
            {"nesterov": True, "momentum": 0},
            {"accumulation": 3},
            {"accumulation": 32},
        ],
    )
    def test_what_does_not_fit_is_refused(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            Training(batch_size=32, **fields)


def _draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class TestAugmentation:
    @pytest.mark.parametrize("kind", ["resized_crop", "rotate"])
    def test_a_constant_image_stays_so_inside(self, kind: str) -> None:
        images = torch.ones(16, 3, 12, 20)
        found = getattr(augmentation, kind)(images, _draw())
        assert found.shape == images.shape
        torch.testing.assert_close(found[:, :, 5:7, 9:11], torch.ones(16, 3, 2, 2))

    def test_crops_are_parts_of_the_image_at_many_places(self) -> None:
        ramp = torch.arange(64.0).expand(500, 1, 64, 64)
        found = augmentation.resized_crop(ramp, _draw())
        left, right = found[:, 0, 32, 0], found[:, 0, 32, -1]
        widths = (right - left) / 63
        assert left.min() >= 0
        assert right.max() <= 63
        assert 0.2 < widths.min() < 0.4  # the root of 8 % at a ratio of 3:4 is 0.24
        assert widths.max() == pytest.approx(1, abs=0.02)
        assert left.std() > 5

    def test_rotations_are_up_to_15_degrees_about_the_centre(self) -> None:
        grid = torch.linspace(-1, 1, 65).expand(400, 1, 65, 65)  # grows to the right
        found = augmentation.rotate(grid, _draw())[:, 0, 16:49, 32]  # along the middle column
        angles = torch.asin((found[:, -1] - found[:, 0]) / (grid[0, 0, 0, 48] - grid[0, 0, 0, 16])).rad2deg()
        assert angles.abs().max() == pytest.approx(15, abs=0.3)
        assert angles.mean() == pytest.approx(0, abs=1.5)
        torch.testing.assert_close(found[:, 16], torch.zeros(400), atol=1e-5, rtol=0)

    def test_jitter_keeps_pixels_in_range_and_moves_brightness(self) -> None:
        mean, deviation = torch.full((1, 3, 1, 1), 100.0), torch.full((1, 3, 1, 1), 50.0)
        pixels = torch.full((500, 3, 4, 4), 120.0)
        found = augmentation.jitter((pixels - mean) / deviation, _draw(), mean, deviation) * deviation + mean
        levels = found[:, 0, 0, 0]
        assert found.min() >= 0
        assert found.max() <= 255
        assert (levels.min().item(), levels.max().item()) == pytest.approx((72, 168), abs=1)  # 120 times 0.6 and 1.4

    def test_jitter_leaves_grey_images_grey(self) -> None:
        mean, deviation = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
        grey = (255 * torch.rand(20, 1, 6, 6, generator=_draw())).expand(-1, 3, -1, -1)
        found = augmentation.jitter(grey, _draw(), mean, deviation)
        torch.testing.assert_close(found[:, 0], found[:, 1], atol=1e-3, rtol=0)

    def test_a_recipe_can_ask_for_all_of_them(self) -> None:
        kinds = ("resized_crop", "rotate", "jitter", "flip")
        recipe = _recipe({"weights": None}, augmentation=kinds)
        train = split(recipe.dataset.load(Path()), recipe, CPU, Preprocessing()).train
        (first, *_) = batches(train, recipe, epoch=1)
        assert first.images.shape == (32, 3, 8, 8)
        assert first.images.isfinite().all()
