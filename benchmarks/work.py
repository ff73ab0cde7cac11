"""Count the work of every backbone on torch's meta device.

`python -m benchmarks.work` rewrites orchestrator/pricing/work.json, which comes with the program.

Nothing is computed: the meta device knows shapes only. FLOPs are those of products and convolutions, as torch counts
them. Bytes are what every operation reads and writes, as if none were fused and no cache held anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from orchestrator.pricing import work
from trainers import catalogue
from trainers.backbones import Backbone, InputShape

SHAPES = ("1x8x8", "1x28x28", "3x32x32", "3x64x64", "3x96x96", "3x112x112", "3x224x224")
"""Of the data sets that come with the program; other sizes are scaled by the number of pixels."""

PRETRAINED = ("timm:efficientnet_lite0", "timm:efficientnet_lite1", "timm:efficientnet_lite2")
"""Networks of other packages whose weights come with the extra `weights`."""

BATCH = 4


class Bytes(TorchDispatchMode):
    """Adds up what operations read and write; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        found = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [each for each in tree_leaves((args, kwargs, found)) if isinstance(each, torch.Tensor)]
            self.total += sum(each.numel() * each.element_size() for each in tensors)
        return found


def counted(backbone: Backbone, shape: InputShape) -> work.Counts:
    """The work of a backbone per image of a shape, forward and in training.

    Raises:
        Exception: The network cannot take such images; what is raised is torchvision's choice.
    """
    with torch.device("meta"):
        network, width = backbone.build(shape)
    network.train()
    found = [_passes(network, shape, images) for images in (BATCH, 2 * BATCH)]
    # What grows with the batch is the images' work; the rest, such as reading weights, is shared by a batch.
    forward, training, read, moved = ((more - less) / BATCH for less, more in zip(*found, strict=True))
    return work.Counts(
        forward_flops=round(forward),
        training_flops=round(training),
        forward_bytes=round(read),
        training_bytes=round(moved),
        parameters=sum(each.numel() for each in network.parameters()),
        width=width,
    )


def _of_gradients(
    out: list[int], x: list[int], weight: list[int], *others: Any, out_shape: Any = None, **more: Any
) -> int:
    """FLOPs of a convolution's backward pass: per gradient, those of the forward pass.

    torch 2.14 counts that of grouped weights as if there were one group.
    """
    del out_shape, more
    _, _, _, _, transposed, _, _, wanted = others
    return conv_flop_count(x, weight, out, transposed) * sum(wanted[:2])


BACKWARD = {torch.ops.aten.convolution_backward: _of_gradients}


def _passes(network: torch.nn.Module, shape: InputShape, images: int) -> tuple[int, int, int, int]:
    """FLOPs of a forward pass, and with its backward pass; then bytes of the same."""
    network.zero_grad(set_to_none=True)  # adding to earlier gradients would count, too
    with FlopCounterMode(display=False, custom_mapping=BACKWARD) as flops, Bytes() as moved:
        features = network(torch.empty(images, *shape, device="meta"))
        forward = flops.get_total_flops()
        read = moved.total
        if features.requires_grad:
            features.sum().backward()
    return forward, flops.get_total_flops(), read, moved.total


def backbones() -> Iterator[Backbone]:
    """Every backbone that a name alone chooses, but those of linear layers: a formula counts them. And `PRETRAINED`."""
    yield from (cast("Backbone", catalogue.chosen("backbones", key)) for key in PRETRAINED)
    for name, plugin in catalogue.plugins("backbones").items():
        if not any(field.is_required() for field in plugin.model_fields.values()):
            backbone = cast("Backbone", catalogue.resolve("backbones", name))
            if work.by_widths(backbone, 1) is None:
                yield backbone


def everything() -> dict[str, dict[str, work.Counts]]:
    """The counts of every backbone by key and shape; shapes that a network cannot take are left out."""
    found = dict[str, dict[str, work.Counts]]()
    for backbone in backbones():
        found[backbone.key] = {}
        for text in SHAPES:
            try:
                found[backbone.key][text] = counted(backbone, InputShape(*map(int, text.split("x"))))
            except Exception as error:  # noqa: BLE001 - a network says in any way that an image is too small
                print(f"{backbone.key} at {text}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    return found


def main() -> None:
    """Write the file that comes with the program."""
    text = {key: {shape: list(each) for shape, each in counts.items()} for key, counts in everything().items()}
    rows = ",\n".join(f" {json.dumps(key)}: {json.dumps(counts)}" for key, counts in text.items())
    work.FILE.write_text(f"{{\n{rows}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
