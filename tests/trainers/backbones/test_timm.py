"""timm's networks as backbones, against timm itself."""

from __future__ import annotations

import importlib.machinery
import subprocess
import sys
from typing import cast

import pytest
import torch
from pydantic import ValidationError

from trainers import catalogue
from trainers.backbones import Backbone, InputShape
from trainers.backbones import timm as plugin

timm = pytest.importorskip("timm")

DIGITS = InputShape(1, 8, 8)
MNIST = InputShape(1, 28, 28)
CIFAR = InputShape(3, 32, 32)
IMAGENET = InputShape(3, 224, 224)


def backbone(name: str) -> Backbone:
    """timm's network of that name."""
    return cast("Backbone", catalogue.resolve("backbones", f"timm:{name}"))


def test_planning_imports_neither_torch_nor_timm() -> None:
    program = (
        "import sys; from trainers import catalogue; print(*catalogue.plugins('backbones'));"
        "catalogue.resolve('backbones', 'timm:resnet18');"
        "sys.exit(bool({'torch', 'timm'} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert {"convnext_mini", "timm", "vgg11_small", "vit_mini"} <= set(finished.stdout.split())


@pytest.mark.parametrize("shape", [DIGITS, MNIST, CIFAR], ids=str)
def test_features_have_the_declared_width(shape: InputShape) -> None:
    network, width = backbone("resnet18").build(shape)
    assert network(torch.rand(2, *shape)).shape == (2, width) == (2, 512)


@pytest.mark.parametrize(
    ("name", "shape", "width"),
    [
        ("mobilenetv3_small_050", DIGITS, 1024),  # its num_features, 288, are those before the last layer but one
        ("levit_128s", CIFAR, 384),
        ("vit_tiny_patch16_224", CIFAR, 192),
        ("swin_tiny_patch4_window7_224", MNIST, 768),
        ("mobilevitv2_050", InputShape(3, 32, 64), 256),
    ],
)
def test_the_width_is_that_of_the_actual_output(name: str, shape: InputShape, width: int) -> None:
    network, declared = backbone(name).build(shape)
    assert network(torch.rand(2, *shape)).shape == (2, declared) == (2, width)


@pytest.mark.parametrize("name", ["convnext_atto", "efficientnet_b0", "vit_base_patch16_224"])
def test_large_images_are_taken_too(name: str) -> None:
    with torch.device("meta"):
        network, width = backbone(name).build(IMAGENET)
        assert network(torch.empty(2, *IMAGENET)).shape == (2, width)


@pytest.mark.parametrize(("name", "size"), [("resnet18", {}), ("vit_tiny_patch16_224", {"img_size": 32})])
def test_weights_are_those_timm_draws(name: str, size: dict[str, int]) -> None:
    torch.manual_seed(3)
    theirs = timm.create_model(name, pretrained=False, num_classes=0, in_chans=3, **size).state_dict()
    torch.manual_seed(3)
    ours = backbone(name).build(CIFAR).network.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


def test_features_are_what_the_classifier_of_timm_receives() -> None:
    theirs = timm.create_model("resnet18", pretrained=False, num_classes=10).eval()
    network, _ = backbone("resnet18").build(CIFAR)
    network.load_state_dict(theirs.state_dict(), strict=False)
    images = torch.rand(2, *CIFAR)
    assert torch.equal(theirs.fc(network.eval()(images)), theirs(images))


def test_the_same_seed_draws_the_same_weights() -> None:
    first = _weights(seed=1)
    again = _weights(seed=1)
    other = _weights(seed=2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_gradients_reach_the_first_layer() -> None:
    network, _ = backbone("resnet18").build(MNIST)
    network(torch.rand(4, *MNIST)).square().sum().backward()
    first = next(network.parameters())
    assert first.grad is not None
    assert first.grad.abs().max() > 0


def test_a_built_network_is_in_training_mode() -> None:
    assert all(module.training for module in backbone("resnet18").build(DIGITS).network.modules())


def test_no_weights_are_ever_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **given: (asked.append(given), create(name, **given))[1])
    backbone("resnet18").build(DIGITS)
    assert asked
    assert not any(given["pretrained"] for given in asked)


def test_it_round_trips_through_json() -> None:
    original = backbone("resnet18")
    dumped = original.model_dump(mode="json")
    assert dumped == {"name": "timm:resnet18"}
    assert catalogue.resolve("backbones", dumped.pop("name"), dumped) == original


def test_every_name_of_timm_may_be_planned() -> None:
    names = timm.list_models()
    assert len(names) > 1000
    assert [backbone(name).key for name in names] == [f"timm:{name}" for name in names]


def test_without_timm_planning_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> importlib.machinery.ModuleSpec | None:
        return None

    monkeypatch.setattr(plugin, "find_spec", find_spec)
    with pytest.raises(ValueError, match="timm:resnet18 needs timm, which is not installed: pip install timm"):
        backbone("resnet18")


@pytest.mark.parametrize("name", ["resnte18", "convnext_tiny_in22ft1k"])  # the second was one, long ago
def test_a_name_timm_does_not_know_is_refused_with_the_nearest(name: str) -> None:
    with pytest.raises(ValueError, match=f"has no network named '{name}'\\. Did you mean '(resnet18|convnext_tiny)"):
        backbone(name).build(CIFAR)


def test_a_name_near_to_nothing_is_refused_without_a_guess() -> None:
    with pytest.raises(ValueError, match=r"has no network named 'qqqqqqqq'\.$"):
        backbone("qqqqqqqq").build(CIFAR)


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18", "local-dir:/tmp", "../resnet18", "ResNet18", ""])
def test_what_cannot_be_a_name_is_refused_while_planning(name: str) -> None:
    with pytest.raises(ValidationError, match="timm has no network named"):
        backbone(name)


def test_a_name_of_weights_is_refused_while_planning() -> None:
    with pytest.raises(ValidationError, match=r"'\.a1_in1k' names pretrained weights.* write timm:resnet18 "):
        backbone("resnet18.a1_in1k")


def test_a_name_is_required() -> None:
    with pytest.raises(ValidationError, match="architecture"):
        catalogue.resolve("backbones", "timm")


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("vit_tiny_patch16_224", MNIST, "patches of 16x16 do not divide them"),
        ("convnext_atto", MNIST, "Calculated padded input size per channel: (1 x 1)"),
        ("bat_resnext26ts", MNIST, "timm does not say why"),
        ("gcvit_xxtiny", MNIST, "division by zero"),
    ],
)
def test_images_that_do_not_fit_are_refused(name: str, shape: InputShape, reason: str) -> None:
    with pytest.raises(ValueError, match="cannot take images") as refusal:
        backbone(name).build(shape)
    size = "x".join(map(str, shape))
    assert str(refusal.value).startswith(f"{name} cannot take images of {size}: {reason}")


def _weights(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return backbone("resnet18").build(DIGITS).network.state_dict()
