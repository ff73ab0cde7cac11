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
    """One row a sample, arrays of shape (n,). Scores exclude the bias."""

    sample: NDArray[np.int32]
    """Position in the dataset's test split."""
    label: NDArray[np.int32]
    prediction: NDArray[np.int32]
    positive: NDArray[np.float32]
    """Score of the sample's own class."""
    rival: NDArray[np.float32]
    """Highest score of any other class."""
    logsumexp: NDArray[np.float32]
    """Over all classes' scores, so that softmax probabilities at T = 1 follow as well."""
    logsumexp_tuned: NDArray[np.float32]
    """Over all classes' scores divided by the temperature chosen on validation, likewise."""
