"""Vision Transformers for small images, against the paper's equations written out."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm

from trainers import catalogue
from trainers.backbones import InputShape
from trainers.backbones.vit import ViTMini
from trainers.networks.vit import VisionTransformer

DIGITS = InputShape(1, 8, 8)
MNIST = InputShape(1, 28, 28)
CIFAR = InputShape(3, 32, 32)
IMAGENET = (3, 224, 224)


@pytest.mark.parametrize("shape", [DIGITS, MNIST, CIFAR, InputShape(2, 12, 8)], ids=str)
def test_features_have_the_declared_width(shape: InputShape) -> None:
    network, width = ViTMini().build(shape)
    assert network(torch.rand(2, *shape)).shape == (2, width) == (2, 96)


def test_large_images_are_taken_too() -> None:
    with torch.device("meta"):
        network, width = ViTMini(patch=16, width=192, depth=12).build(InputShape(*IMAGENET))
        assert network(torch.empty(2, *IMAGENET)).shape == (2, width) == (2, 192)


@pytest.mark.parametrize("heads", [3, 4])
def test_it_computes_the_equations_of_the_paper(heads: int) -> None:
    network = VisionTransformer(CIFAR, patch=8, depth=2, width=24, heads=heads).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)  # biases and norms as well, or they would go untested
    images = torch.rand(2, *CIFAR, dtype=torch.float64)
    torch.testing.assert_close(network(images), _written_out(network, images, heads), rtol=0, atol=1e-11)


def _written_out(network: VisionTransformer, images: Tensor, heads: int) -> Tensor:
    """Equations 1 to 4 and appendix A, with the mean of the tokens in the place of a class token."""
    weights = dict(network.named_parameters())
    width, _, side, _ = weights["patches.weight"].shape
    patches = images.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    tokens = patches @ weights["patches.weight"].flatten(1).T + weights["patches.bias"] + weights["positions"]
    for block in range(len(network.blocks)):
        at = {name.removeprefix(f"blocks.{block}."): weight for name, weight in weights.items()}
        normal = layer_norm(tokens, (width,), at["norm1.weight"], at["norm1.bias"], 1e-6)
        queries, keys, values = (normal @ at["self_attn.in_proj_weight"].T + at["self_attn.in_proj_bias"]).chunk(3, -1)
        attended: list[Tensor] = []
        for query, key, value in zip(*(part.chunk(heads, -1) for part in (queries, keys, values)), strict=True):
            attention = (query @ key.transpose(1, 2) / math.sqrt(width / heads)).softmax(dim=-1)
            attended.append(attention @ value)
        tokens = tokens + torch.cat(attended, -1) @ at["self_attn.out_proj.weight"].T + at["self_attn.out_proj.bias"]
        normal = layer_norm(tokens, (width,), at["norm2.weight"], at["norm2.bias"], 1e-6)
        hidden = gelu(normal @ at["linear1.weight"].T + at["linear1.bias"])
        tokens = tokens + hidden @ at["linear2.weight"].T + at["linear2.bias"]
    return layer_norm(tokens, (width,), weights["norm.weight"], weights["norm.bias"], 1e-6).mean(dim=1)


@pytest.mark.parametrize("heads", [3, 4])
def test_evaluation_computes_what_training_computes(heads: int) -> None:
    network, _ = ViTMini(heads=heads).build(CIFAR)
    images = torch.rand(4, *CIFAR)
    trained = network(images)
    with torch.no_grad():  # torch fuses a block then, if its heads are even
        evaluated = network.eval()(images)
    torch.testing.assert_close(evaluated, trained, rtol=0, atol=1e-5)


def test_the_same_images_give_the_same_bits_while_training() -> None:
    network, _ = ViTMini().build(CIFAR)
    images = torch.rand(4, *CIFAR)
    assert torch.equal(network(images), network(images))  # no dropout


@pytest.mark.parametrize(("shape", "patch", "depth", "width"), [(DIGITS, 4, 6, 96), (CIFAR, 8, 2, 48)])
def test_it_has_the_parameters_its_layers_add_up_to(shape: InputShape, patch: int, depth: int, width: int) -> None:
    tokens = shape.height * shape.width // patch**2
    block = 12 * width * width + 13 * width  # attention, perceptron, two norms
    expected = shape.channels * patch**2 * width + width + tokens * width + depth * block + 2 * width
    network = ViTMini(patch=patch, depth=depth, width=width).build(shape).network
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_every_block_draws_weights_of_its_own() -> None:
    weights = ViTMini().build(DIGITS).network.state_dict()
    assert not torch.equal(weights["blocks.0.linear1.weight"], weights["blocks.1.linear1.weight"])


def test_matrices_are_drawn_xavier_uniform_and_positions_normal() -> None:
    torch.manual_seed(0)
    weights = ViTMini().build(CIFAR).network.state_dict()
    matrices = [weight for name, weight in weights.items() if weight.dim() >= 2 and name != "positions"]
    assert len(matrices) == 1 + 6 * 4
    for matrix in matrices:
        rows, columns = matrix.flatten(1).shape
        assert matrix.std().item() == pytest.approx(math.sqrt(2 / (rows + columns)), rel=0.05)
    assert weights["positions"].std().item() == pytest.approx(0.02, rel=0.05)


def test_tokens_know_where_they_are() -> None:
    network, _ = ViTMini().build(DIGITS)
    images = torch.rand(2, *DIGITS)
    assert not torch.allclose(network(images), network(images.roll(4, dims=2)), atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "dividing"), [((1, 30, 30), "1, 2, 3, 5, 6, 10, 15, 30"), ((3, 32, 18), "1, 2"), ((1, 1, 1), "1")]
)
def test_images_that_patches_do_not_divide_are_refused_with_the_patches_that_do(
    shape: tuple[int, int, int], dividing: str
) -> None:
    with pytest.raises(ValueError, match="patches of 4x4 do not divide") as refusal:
        ViTMini().build(InputShape(*shape))
    assert str(refusal.value).startswith(f"vit_mini cannot take images of {shape[0]}x{shape[1]}x{shape[2]}: ")
    assert str(refusal.value).endswith(f"Values of patch that do: {dividing}.")


def test_the_patches_named_do_work() -> None:
    network, width = ViTMini(patch=2).build(InputShape(3, 32, 18))
    assert network(torch.rand(1, 3, 32, 18)).shape == (1, width)


@pytest.mark.parametrize("parameters", [{"heads": 5}, {"patch": 0}, {"depth": 0}, {"width": 0}, {"layers": 3}])
def test_parameters_that_cannot_be_are_refused(parameters: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match=next(iter(parameters))):
        catalogue.resolve("backbones", "vit_mini", parameters)


def test_the_same_seed_draws_the_same_weights() -> None:
    first = _weights(seed=1)
    again = _weights(seed=1)
    other = _weights(seed=2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["positions"], other["positions"])


@pytest.mark.parametrize("shape", [DIGITS, CIFAR], ids=str)
def test_gradients_reach_the_first_layer(shape: InputShape) -> None:
    network, width = ViTMini().build(shape)
    direction = torch.rand(width)  # the sum of normalised features is constant
    (network(torch.rand(4, *shape)) @ direction).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_it_round_trips_through_json() -> None:
    original = catalogue.resolve("backbones", "vit_mini", {"patch": 2})
    dumped = original.model_dump(mode="json")
    assert dumped == {"name": "vit_mini", "patch": 2, "depth": 6, "width": 96, "heads": 3}
    assert catalogue.resolve("backbones", dumped.pop("name"), dumped) == original


def _weights(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return ViTMini().build(DIGITS).network.state_dict()
