"""What a model says of each sample of a split: values only, without torch.

A few floats a sample are kept, never the n x K scores: every accuracy at every
threshold, and every curve over thresholds, follows exactly from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model says of each sample of a split, arrays of shape (n,). Scores exclude the bias."""

    sample: NDArray[np.int32]
    label: NDArray[np.int32]
    prediction: NDArray[np.int32]
    positive: NDArray[np.float32]
    """Score of the sample's own class."""
    rival: NDArray[np.float32]
    """Highest score of any other class."""
    logsumexp: NDArray[np.float32]
    """Over all classes' scores, so that softmax probabilities at T = 1 follow as well."""


@dataclass(frozen=True, eq=False)
class FeatureSums:
    """Sums of unit features by class, float64 (K, d), and counts (K,)."""

    sums: NDArray[np.float64]
    counts: NDArray[np.int64]
