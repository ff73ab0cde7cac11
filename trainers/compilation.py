"""A network that is trained for long is compiled first.

The recipe alone decides, not the machine: compiled code rounds differently, and all attempts at a cell, and all
losses of a setting, shall round alike. What is compiled is the backbone, which losses share, so that a machine
compiles each shape of it once: torch keeps the code on disk.
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
"""Pixels, all images of all epochs together, that pay for compiling: 13 epochs of Fashion-MNIST's training split.
`resnet8` takes about 40 s to compile and is then about an eighth quicker."""


def worthwhile(training: Training, images: int, shape: InputShape) -> bool:
    """Whether so many images an epoch are enough."""
    return training.epochs * images * shape.height * shape.width >= WORTH


class Compiled(nn.Module):
    """A network whose training passes are compiled when it sees its first batch; all batches have one shape.

    Where torch cannot compile it, for want of a compiler or because of what the network does, it is run as it is.
    `done` says whether it was compiled.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.network = network
        self.done = True
        # Where there is no GPU, it warns of parts of CUDA that only extensions need.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        # A GPU is given all of a step's kernels at once. The compiler keeps to the cell's own cores.
        options: dict[str, Any] = {
            "triton.cudagraphs": device.type == "cuda",
            "compile_threads": torch.get_num_threads(),
        }
        self._quick = torch.compile(network, dynamic=False, options=options)

    def forward(self, images: Tensor) -> Tensor:
        """What the network makes of images (n, C, H, W)."""
        if self.done:
            from torch._dynamo.exc import TorchDynamoException  # which takes a second to import

            try:
                return self._quick(images)
            except TorchDynamoException as error:
                reason = str(error).strip().partition("\n")[0]
                warnings.warn(f"the network is trained uncompiled: {reason}", RuntimeWarning, stacklevel=2)
                self.done = False
        return self.network(images)
