"""Compile the backbone if training is long enough to pay for it.

Only the recipe decides, not the machine: compiled code rounds differently, and all attempts at a cell and all
losses of a setting must round in the same way. Losses share the backbone, and torch caches compiled code on disk,
so a machine compiles each input shape once.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from trainers.backbones import InputShape
from trainers.recipe import Training

WORTH = 2**29
"""Pixels seen in training (images x epochs x size) from which compiling pays: 13 epochs of Fashion-MNIST.
`resnet8` takes about 40 s to compile and is then about an eighth faster."""


def worthwhile(training: Training, images: int, shape: InputShape) -> bool:
    """Whether training on this many images per epoch is long enough to compile."""
    return training.epochs * images * shape.height * shape.width >= WORTH


class Compiled(nn.Module):
    """A network that is compiled at its first training batch; all batches have the same shape.

    If torch cannot compile it (no compiler, or an unsupported operation), it runs uncompiled. `done` says whether
    it was compiled.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.network = network
        self.done = True
        # Without a GPU, torch warns about parts of CUDA that only extensions need.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        # Submit all kernels of a step at once on GPUs, and keep the compiler on the cores of this cell.
        options: dict[str, Any] = {
            "triton.cudagraphs": device.type == "cuda",
            "compile_threads": torch.get_num_threads(),
        }
        self._quick = torch.compile(network, dynamic=False, options=options)

    def forward(self, images: Tensor) -> Tensor:
        """The network's output for images (n, C, H, W)."""
        if self.done:
            from torch._dynamo.exc import TorchDynamoException  # takes a second to import

            try:
                return self._quick(images)
            except TorchDynamoException as error:
                reason = str(error).strip().partition("\n")[0]
                warnings.warn(f"the network is trained uncompiled: {reason}", RuntimeWarning, stacklevel=2)
                self.done = False
        return self.network(images)
