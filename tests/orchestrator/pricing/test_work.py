"""The work of cells: counted on torch's meta device, kept in a file, and used without torch."""

from __future__ import annotations

import pytest
from torch import nn

from benchmarks import work as counting
from orchestrator.pricing import work
from trainers import catalogue
from trainers.backbones import Backbone, InputShape
from trainers.backbones.vectors import MLP, Identity
from trainers.recipe import Recipe, Training


def recipe(backbone: str = "resnet8", **training: object) -> Recipe:
    return Recipe(loss="softmax", backbone=backbone, dataset="digits", seed=0, training=Training(**training))


def test_every_backbone_that_a_name_alone_chooses_is_counted_at_every_shape_it_can_take() -> None:
    names = {backbone.key for backbone in counting.backbones()}
    assert names == work.counts().keys()
    assert all((3, 224, 224) in shapes for shapes in work.counts().values())


@pytest.mark.parametrize(
    ("name", "shape"),
    [("resnet8", (1, 28, 28)), ("resnet18", (3, 32, 32)), ("timm:efficientnet_lite0", (3, 64, 64))],
)
def test_the_file_has_what_torch_counts_now(name: str, shape: tuple[int, int, int]) -> None:
    assert counting.counted(catalogue.chosen("backbones", name), InputShape(*shape)) == work.counts()[name][shape]


@pytest.mark.parametrize("inputs", [InputShape(1, 8, 8), InputShape(384, 1, 1), InputShape(3, 20, 30)])
@pytest.mark.parametrize("backbone", [MLP(), MLP(depth=3, width=40), MLP(depth=2, width=512), Identity()])
def test_a_network_of_linear_layers_has_by_formula_the_work_that_torch_counts(
    backbone: Backbone, inputs: InputShape
) -> None:
    found = work.by_widths(backbone, inputs.channels * inputs.height * inputs.width)
    assert found == counting.counted(backbone, inputs)


@pytest.mark.parametrize("backbone", [MLP(depth=2, width=40), Identity()])
def test_the_class_weights_after_it_are_counted_as_torch_counts_them(backbone: Backbone) -> None:
    class WithHead(catalogue.Backbone):
        name = "with_head"

        def build(self, shape: InputShape) -> tuple[nn.Module, int]:
            network, width = backbone.build(shape)
            return nn.Sequential(network, nn.Linear(width, 10, bias=False)), 10

    whole = counting.counted(WithHead(), InputShape(384, 1, 1))
    known = work.per_image(backbone, (384, 1, 1), 10)
    assert known is not None
    assert (known.forward_flops, known.training_flops) == (whole.forward_flops, whole.training_flops)
    assert known.parameters == whole.parameters


@pytest.mark.slow
def test_the_whole_file_has_what_torch_counts_now() -> None:
    found = {name: {"x".join(map(str, shape)): each for shape, each in shapes.items()} for name, shapes in _counts()}
    assert counting.everything() == found


def _counts() -> list[tuple[str, dict[tuple[int, int, int], work.Counts]]]:
    return list(work.counts().items())


def test_a_layer_has_the_flops_that_a_person_counts() -> None:
    class Layer(catalogue.Backbone):
        name = "layer"

        def build(self, shape: InputShape) -> tuple[nn.Module, int]:
            del shape
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 5, bias=False)), 5

    found = counting.counted(Layer(), InputShape(1, 8, 8))
    # 2 x 64 x 5 forward, as much again for the gradient of the weights; none is needed for the images.
    assert (found.forward_flops, found.training_flops, found.parameters, found.width) == (640, 1280, 320, 5)


def test_a_convolution_of_groups_has_gradients_as_dear_as_its_forward_pass() -> None:
    class Grouped(catalogue.Backbone):
        name = "grouped"

        def build(self, shape: InputShape) -> tuple[nn.Module, int]:
            layers = nn.Conv2d(6, 6, 1, bias=False), nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
            return nn.Sequential(*layers, nn.Flatten()), 6 * shape.height * shape.width

    found = counting.counted(Grouped(), InputShape(6, 8, 8))
    first, grouped = 2 * 64 * 6 * 6, 2 * 64 * 6 * 9
    assert found.forward_flops == first + grouped
    assert found.training_flops == 2 * first + 3 * grouped  # images need no gradient


def test_a_cell_trains_whole_batches_and_looks_at_validation_after_each_epoch_and_at_everything_at_the_end() -> None:
    images = work.ImageCounts(train=900, validation=100, test=797, shape=(1, 8, 8), classes=10)
    found = work.work_of(recipe(epochs=3, batch_size=128), images)
    each = work.counts()["resnet8"][1, 8, 8]
    head = 2 * 64 * 10
    assert found is not None
    forward = each.forward_flops + head
    assert found.training_flops == 3 * 7 * 128 * (each.training_flops + 3 * head) + 3 * 100 * forward
    assert found.final_flops == (900 + 2 * 100 + 797) * forward


def test_a_size_that_was_not_counted_is_scaled_from_the_nearest_by_its_pixels() -> None:
    resnet = catalogue.resolve("backbones", "resnet8")
    known = work.per_image(resnet, (3, 64, 64), 10)
    between = work.per_image(resnet, (3, 72, 72), 10)
    assert known is not None
    assert between is not None
    head = 2 * 64 * 10
    assert between.forward_flops - head == pytest.approx((known.forward_flops - head) * (72 / 64) ** 2, rel=1e-6)


def test_another_network_of_the_same_name_or_of_a_plug_in_has_no_known_work() -> None:
    imagenet = catalogue.resolve("backbones", "resnet18", {"stem": "imagenet"})
    assert work.per_image(imagenet, (3, 32, 32), 10) is None
    assert work.per_image(catalogue.chosen("backbones", "torchvision:resnet34"), (3, 32, 32), 10) is None


def test_networks_whose_weights_come_with_the_program_are_counted_with_the_width_of_their_features() -> None:
    for name in counting.PRETRAINED:
        assert work.width_of(catalogue.chosen("backbones", name)) == 1280
    assert work.width_of(catalogue.chosen("backbones", "timm:resnet34")) is None
