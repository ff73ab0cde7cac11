"""Determinism: the same recipe gives the same bits on the same machine and thread count."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from trainers.seeds import derive


def generator(purpose: str, *parts: object) -> torch.Generator:
    """A generator seeded by `derive`. It is on the CPU, so that all devices see the same draws."""
    return torch.Generator().manual_seed(derive(purpose, *parts))


@contextmanager
def deterministic(seed: int, device: torch.device, *, tf32: bool = False) -> Generator[None]:
    """Inside the block, torch's generators start from `seed`, its algorithms are deterministic, and rounding is fixed.

    On exit, generators and options are restored, so that a notebook is not affected.

    Args:
        seed: Seed of torch's global generators.
        device: The device that trains.
        tf32: Whether GPUs may round the factors of products and convolutions to 10 bits. torch's default allows it
            for convolutions only.
    """
    memory: Any = torch.utils.deterministic  # untyped
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = memory.fill_uninitialized_memory
    # cuBLAS reads this when its handle is created; without it, its sums are not reproducible.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), rounding(tf32=tf32):
        torch.manual_seed(seed)
        # A few CUDA operations have no deterministic version: warn, but do not fail.
        torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
        # No code here reads uninitialised memory, and filling it would cost 4 to 9 % of a step.
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)
            memory.fill_uninitialized_memory = filled


@contextmanager
def rounding(*, tf32: bool) -> Generator[None]:
    """Inside the block, GPUs may (or may not) round the factors of products and convolutions to 10 bits."""
    backends: Any = torch.backends  # untyped
    switches = (backends.cuda.matmul, backends.cudnn.conv)
    before = [switch.fp32_precision for switch in switches]
    for switch in switches:
        switch.fp32_precision = "tf32" if tf32 else "ieee"
    try:
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision
