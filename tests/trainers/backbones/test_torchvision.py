"""torchvision's classifiers as backbones, against torchvision itself."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, cast, get_args

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torchvision import models  # pyright: ignore[reportMissingTypeStubs]
from torchvision.models.regnet import BlockParams  # pyright: ignore[reportMissingTypeStubs]

from trainers import catalogue
from trainers.backbones import Backbone, Extractor, InputShape
from trainers.backbones.torchvision import Architecture

DIGITS = InputShape(1, 8, 8)
MNIST = InputShape(1, 28, 28)
CIFAR = InputShape(3, 32, 32)
NAMES = get_args(Architecture)
ODD_ONES = ["squeezenet1_1", "googlenet", "vgg11", "mobilenet_v3_small", "swin_t", "shufflenet_v2_x0_5"]
"""Their last layers differ: a convolution, one beside auxiliary classifiers, one of three in a row, ..."""


def backbone(name: str, **parameters: object) -> Backbone:
    """The backbone of that name."""
    return cast("Backbone", catalogue.resolve("backbones", name, parameters))


def test_reading_the_backbones_does_not_import_torch() -> None:
    program = (
        "import sys; from trainers import catalogue; print(*catalogue.plugins('backbones'));"
        "catalogue.resolve('backbones', 'torchvision:resnet34');"
        "sys.exit(bool({'torch', 'torchvision'} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert {"densenet121", "resnet18", "resnet50", "torchvision"} <= set(finished.stdout.split())


def test_every_classifier_of_torchvision_is_listed() -> None:
    assert list(NAMES) == models.list_models(module=models)


@pytest.mark.parametrize("shape", [DIGITS, MNIST, CIFAR], ids=str)
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "densenet121"])
def test_features_have_the_declared_width(name: str, shape: InputShape) -> None:
    network, width = backbone(name).build(shape)
    assert _features(network, torch.rand(2, *shape)).shape == (2, width)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "torchvision:resnext50_32x4d"])
def test_a_small_stem_keeps_the_resolution(name: str) -> None:
    small, imagenet = (_first_convolution(backbone(name, stem=stem).build(CIFAR)) for stem in ("small", "imagenet"))
    assert (small.kernel_size, small.stride) == ((3, 3), (1, 1))
    assert (imagenet.kernel_size, imagenet.stride) == ((7, 7), (2, 2))


@pytest.mark.parametrize(("height", "width", "stride"), [(63, 64, 1), (64, 63, 1), (64, 64, 2)])
def test_auto_means_small_below_64_pixels(height: int, width: int, stride: int) -> None:
    built = backbone("resnet18").build(InputShape(3, height, width))
    assert _first_convolution(built).stride == (stride, stride)


def test_a_small_stem_drops_the_first_pooling() -> None:
    resnet, densenet = (backbone(name).build(CIFAR).network for name in ("resnet18", "densenet121"))
    assert not any(isinstance(module, nn.MaxPool2d) for module in (*resnet.modules(), *densenet.modules()))


def test_a_small_stem_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError, match="vgg11 has no small stem"):
        backbone("torchvision:vgg11", stem="small")


def test_a_replaced_first_layer_is_drawn_as_the_architecture_draws_it() -> None:
    torch.manual_seed(0)
    weight = _first_convolution(backbone("resnet18").build(MNIST)).weight
    assert weight.shape == (64, 1, 3, 3)
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.15)  # He normal by fan-out


@pytest.mark.parametrize(
    "name", ["resnet18", "densenet121", pytest.param("torchvision:vit_b_32", marks=pytest.mark.slow)]
)
def test_rgb_weights_are_those_torchvision_draws(name: str) -> None:
    stem = {} if "vit" in name else {"stem": "imagenet"}
    size = {"image_size": 32} if "vit" in name else {}
    torch.manual_seed(3)
    theirs = models.get_model(name.removeprefix("torchvision:"), weights=None, **size).state_dict()
    torch.manual_seed(3)
    ours = backbone(name, **stem).build(CIFAR).network.state_dict()
    assert len(theirs) - len(ours) == 2  # the last layer's weight and bias
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


@pytest.mark.parametrize("name", ["resnet18", "torchvision:squeezenet1_1"])
def test_the_same_seed_draws_the_same_weights(name: str) -> None:
    torch.manual_seed(1)
    first = backbone(name).build(MNIST).network.state_dict()
    torch.manual_seed(1)
    again = backbone(name).build(MNIST).network.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_building_leaves_no_hook_behind() -> None:
    backbone("resnet18").build(MNIST)
    with pytest.raises(ValueError, match="cannot take"):
        backbone("torchvision:vit_b_16").build(DIGITS)
    assert nn.Sequential(nn.Conv2d(3, 2, 5))[0].kernel_size == (5, 5)


def test_a_built_network_is_in_training_mode() -> None:
    assert all(module.training for module in backbone("densenet121").build(DIGITS).network.modules())


@pytest.mark.parametrize("name", ["resnet18", *(f"torchvision:{name}" for name in ODD_ONES)])
def test_features_are_what_the_last_layer_of_torchvision_receives(name: str) -> None:
    architecture = name.removeprefix("torchvision:")
    aux = {"aux_logits": False, "init_weights": True} if architecture == "googlenet" else {}
    theirs = models.get_model(architecture, weights=None, **aux)
    network, _ = backbone(name).build(InputShape(3, 64, 64))
    network.load_state_dict(theirs.state_dict(), strict=False)
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(_features(network, images), _received_by_last_layer(theirs, images))


def test_it_round_trips_through_json() -> None:
    original = backbone("torchvision:resnet34", stem="imagenet")
    dumped = original.model_dump(mode="json")
    assert dumped == {"name": "torchvision:resnet34", "stem": "imagenet"}
    assert backbone(dumped.pop("name"), **dumped) == original


@pytest.mark.parametrize("name", ["torchvision:resnet43", "torchvision", "resnet18:resnet34"])
def test_an_unknown_or_missing_architecture_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"architecture|No backbone named"):
        backbone(name)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("alexnet", CIFAR, "alexnet cannot take images of 3x32x32: it needs at least 63x63 pixels."),
        ("vgg11", MNIST, "vgg11 cannot take images of 1x28x28: it needs at least 32x32 pixels."),
        (
            "inception_v3",
            CIFAR,
            "inception_v3 cannot take images of 3x32x32: it needs at least 75x75 pixels.",
        ),
        ("vit_b_16", DIGITS, "vit_b_16 cannot take images of 1x8x8: Input shape indivisible by patch size."),
        (
            "vit_b_16",
            (3, 32, 48),
            "vit_b_16 cannot take images of 3x32x48: Wrong image width! Expected 32 but got 48.",
        ),
        (
            "maxvit_t",
            CIFAR,
            (
                "maxvit_t cannot take images of 3x32x32: "
                "Input size (8, 8) of block 0 is not divisible by partition size 7."
            ),
        ),
    ],
)
def test_images_that_do_not_fit_are_refused_in_one_sentence(
    name: str, shape: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(ValueError, match="cannot take") as refusal:
        backbone(f"torchvision:{name}").build(InputShape(*shape))
    assert str(refusal.value) == message


@pytest.mark.parametrize(("name", "side"), [("alexnet", 63), ("squeezenet1_1", 17)])
def test_the_smallest_size_named_is_the_smallest_that_works(name: str, side: int) -> None:
    network, width = backbone(f"torchvision:{name}").build(InputShape(1, side, side))
    assert _features(network, torch.rand(2, 1, side, side)).shape == (2, width)
    with pytest.raises(RuntimeError):
        _features(network, torch.rand(2, 1, side - 1, side - 1))


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_yields_features(name: str, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BlockParams, "from_init_params", _on_cpu(BlockParams.from_init_params))
    shape = InputShape(channels, 224, 224)
    # The meta device has shapes but no data: the largest would take gigabytes.
    with torch.device("meta"):
        network, width = backbone(f"torchvision:{name}").build(shape)
        assert _features(network, torch.empty(2, *shape)).shape == (2, width)


def _on_cpu(block_params: Any) -> Any:
    # RegNets reckon their widths with tensors, which need data.
    def on_cpu(**settings: Any) -> BlockParams:
        with torch.device("cpu"):
            return block_params(**settings)

    return on_cpu


def _features(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network.eval()(images)


def _first_convolution(built: Extractor) -> nn.Conv2d:
    return next(module for module in built.network.modules() if isinstance(module, nn.Conv2d))


def _received_by_last_layer(network: nn.Module, images: Tensor) -> Tensor:
    received: list[Tensor] = []
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    squeezenet = isinstance(network, models.SqueezeNet)
    # SqueezeNet classifies each position and averages; its features are averaged first.
    last = network.classifier[1] if squeezenet else layers[-1]
    last.register_forward_pre_hook(lambda _, inputs: received.append(inputs[0]))
    _features(network, images)
    return received[0].mean(dim=(2, 3)) if squeezenet else received[0]
