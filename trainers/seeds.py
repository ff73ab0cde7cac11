"""Seeds derived from the purpose of a draw: the same purpose gives the same draw. Without torch, for planning too."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def derive(purpose: str, *parts: object) -> int:
    """A seed below 2**63 from a purpose and its parameters, the same on all machines and in all versions."""
    text = json.dumps([purpose, *parts], sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def permutation(size: int, purpose: str, *parts: object) -> np.ndarray:
    """A permutation of 0 … size - 1, seeded by `derive`, int64."""
    return stable_random(purpose, *parts).permutation(size)


def stable_random(purpose: str, *parts: object) -> np.random.RandomState:
    """A RandomState seeded by `derive`. Its stream never changes between NumPy releases; that of a Generator may."""
    return np.random.RandomState(derive(purpose, *parts) % 2**32)
