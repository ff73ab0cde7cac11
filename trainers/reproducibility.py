"""Determinism: the same recipe gives the same bits on the same machine and thread count."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

import torch

from trainers.seeds import derive


def generator(purpose: str, *parts: object) -> torch.Generator:
    """A CPU generator seeded by `derive`; draws are made on the CPU so that devices agree."""
    return torch.Generator().manual_seed(derive(purpose, *parts))


@contextmanager
def deterministic(seed: int, device: torch.device) -> Generator[None]:
    """Within: torch's global generators start from `seed` and its algorithms are deterministic.

    Afterwards the generators and the setting are as before, so a notebook is not disturbed.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    # cuBLAS reads this when its handle is created; without it, its sums are not reproducible.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        # A few CUDA operations have no deterministic form: torch warns there, and goes on.
        torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)
