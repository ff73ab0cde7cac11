"""The GPUs that torch sees on this machine."""

from __future__ import annotations

import warnings
from typing import NamedTuple


class Gpu(NamedTuple):
    """One GPU."""

    name: str
    memory: int
    """Bytes."""


class FoundGpus(NamedTuple):
    """The GPUs, and why there may be none."""

    gpus: tuple[Gpu, ...]
    warning: str
    """The first line of torch's warning; empty where it gave none."""


def seen() -> FoundGpus:
    """What torch can compute on besides the CPU.

    Raises:
        ImportError: Torch is not installed.
        OSError: One of its libraries is missing or of another version.
    """
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # torch says why it sees no GPU in a warning only
        number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = [torch.cuda.get_device_properties(index) for index in range(number)]
    warning = str(caught[0].message).partition("\n")[0] if caught else ""
    return FoundGpus(tuple(Gpu(gpu.name, gpu.total_memory) for gpu in found), warning)


def count() -> int:
    """How many GPUs torch sees; 0 where it cannot be imported."""
    try:
        return len(seen().gpus)
    except (ImportError, OSError):
        return 0
