"""Seeds derived from what a draw is for, so that equal purposes give equal draws; without torch, as plans draw, too."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def derive(purpose: str, *parts: object) -> int:
    """A seed below 2**63 from a purpose and what it depends on, stable across machines and versions."""
    text = json.dumps([purpose, *parts], sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def permutation(size: int, purpose: str, *parts: object) -> np.ndarray:
    """A permutation of 0 … size - 1 seeded by `derive`, int64."""
    return stable_random(purpose, *parts).permutation(size)


def stable_random(purpose: str, *parts: object) -> np.random.RandomState:
    """NumPy's generator whose stream is frozen for good, seeded by `derive`; Generator's may change."""
    return np.random.RandomState(derive(purpose, *parts) % 2**32)
