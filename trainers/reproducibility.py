"""Determinism: the same recipe gives the same bits on the same machine and thread count."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from trainers.seeds import derive


def generator(purpose: str, *parts: object) -> torch.Generator:
    """A CPU generator seeded by `derive`; draws are made on the CPU so that devices agree."""
    return torch.Generator().manual_seed(derive(purpose, *parts))


@contextmanager
def deterministic(seed: int, device: torch.device, *, tf32: bool = False) -> Generator[None]:
    """Within: torch's global generators start from `seed`, its algorithms are deterministic, and GPUs round as told.

    Afterwards the generators and the settings are as before, so a notebook is not disturbed.

    Args:
        seed: Of the generators.
        device: Whose generators.
        tf32: Whether GPUs may round the factors of products and convolutions to 10 bits. By itself torch lets them
            for convolutions.
    """
    memory: Any = torch.utils.deterministic  # whose switch has no type
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = memory.fill_uninitialized_memory
    # cuBLAS reads this when its handle is created; without it, its sums are not reproducible.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), rounding(tf32=tf32):
        torch.manual_seed(seed)
        # A few CUDA operations have no deterministic form: torch warns there, and goes on.
        torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
        # Nothing here reads memory that it has not written; filling it before would cost 4 to 9 % of a step.
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)
            memory.fill_uninitialized_memory = filled


@contextmanager
def rounding(*, tf32: bool) -> Generator[None]:
    """Within: GPUs may round the factors of products and convolutions to 10 bits, or not; afterwards as before."""
    backends: Any = torch.backends  # whose switches have no types
    switches = (backends.cuda.matmul, backends.cudnn.conv)
    before = [switch.fp32_precision for switch in switches]
    for switch in switches:
        switch.fp32_precision = "tf32" if tf32 else "ieee"
    try:
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision
