"""Networks with weights from files, which are read without running any code that a file may hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch

from trainers.networks import Extractor, InputShape

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from trainers.weights import Weights

State = Mapping[str, "Tensor"]

FEW = 3
"""Number of names that a message lists."""


class Builder(Protocol):
    """What builds a network for weights: every backbone."""

    @property
    def key(self) -> str:
        """Its name."""
        ...

    def build_with(self, shape: InputShape, arguments: Mapping[str, Any]) -> Extractor:
        """The network, built with arguments that its weights need."""
        ...


def pretrained(builder: Builder, weights: Weights, shape: InputShape) -> Extractor:
    """A network with weights from a file.

    Args:
        builder: Builds the network.
        weights: The file.
        shape: The images that it will see.

    Raises:
        ValueError: The weights are not those of this network.
    """
    network, width = builder.build_with(shape, weights.arguments)
    own = network.state_dict()
    state = _translated(read(weights.file), own)
    # What the file has beyond the network is the classifier, which a backbone lacks.
    absent = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    others = [name for name in own if name in state and state[name].shape != own[name].shape]
    if absent or others:
        names = ", ".join([*absent, *others][:FEW])
        raise ValueError(
            f"The weights '{weights.name}' are not those of {builder.key}: {len(absent)} of its {len(own)} tensors are "
            f"missing there and {len(others)} have another shape ({names}, …)."
        )
    network.load_state_dict({name: state.get(name, own[name]) for name in own})
    return Extractor(network, width)


def frozen(network: nn.Module, freeze: str | int) -> list[nn.Module]:
    """The parts of a network that training leaves as they are; their weights are no longer trained.

    Args:
        network: A backbone's network.
        freeze: `none`, `all`, or the number of blocks at its beginning.

    Returns:
        The modules that must stay in evaluation mode, so that their statistics stay as they are, too.

    Raises:
        ValueError: There are fewer blocks.
    """
    if freeze == "none":
        return []
    found = list(_blocks(network))
    count = len(found) if isinstance(freeze, str) else freeze
    if count > len(found):
        raise ValueError(f"'freeze' is {count}, and the network has {len(found)} blocks.")
    kept = [network] if freeze == "all" else found[:count]
    # Weights of the network itself, such as the position embeddings of a transformer, come before its first block.
    outer = network.parameters(recurse=False)
    for weight in (*outer, *(weight for module in kept for weight in module.parameters())):
        weight.requires_grad_(False)
    return kept


def _blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The layers and modules that have weights, in the order of the network; containers are opened."""
    for child in network.children():
        if isinstance(child, (torch.nn.Sequential, torch.nn.ModuleList)):
            yield from _blocks(child)
        elif next(child.parameters(), None) is not None:
            yield child


def read(file: Path) -> State:
    """The tensors in a file, by name.

    Raises:
        ValueError: It is no file of tensors alone.
    """
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling and safetensors have errors of their own
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"The weights in {file} cannot be read safely: {reason}") from error
    found = found.get("state_dict", found) if isinstance(found, Mapping) else found
    if not isinstance(found, Mapping) or not all(isinstance(each, torch.Tensor) for each in found.values()):
        raise ValueError(f"{file} has more than named tensors: save the network's state_dict alone.")
    return found


_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(.+)")

_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_INNER = {
    True: {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
    | {"_project_conv": "conv_pwl", "_bn2": "bn3"},
    False: {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"},
}
"""Names within a block, with or without expansion: as EfficientNet-PyTorch has them, and as timm has."""


def _translated(state: State, own: State) -> State:
    """The tensors under timm's names, if they have those of EfficientNet-PyTorch (github.com/lukemelas)."""
    if "_conv_stem.weight" not in state:
        return state
    # timm counts blocks within stages; the other counts them through.
    blocks = list(dict.fromkeys(".".join(name.split(".")[:3]) for name in own if name.startswith("blocks.")))

    def renamed(name: str) -> str:
        if (found := _BLOCK.fullmatch(name)) is None:
            outer, _, rest = name.partition(".")
            return f"{_OUTER.get(outer, outer)}.{rest}"
        number, inner, rest = found.groups()
        block = blocks[int(number)] if int(number) < len(blocks) else f"blocks.none.{number}"
        expands = f"_blocks.{number}._expand_conv.weight" in state
        return f"{block}.{_INNER[expands].get(inner, inner)}.{rest}"

    return {renamed(name): tensor for name, tensor in state.items()}
