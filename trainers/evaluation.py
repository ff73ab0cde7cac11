"""What a model says of each sample of a split: values only, without torch.

Every accuracy at every single threshold, and every curve over thresholds, follows from
`positive` and `rival`. Where the scores of all classes are kept, so do thresholds per class,
other temperatures and ensembles; docs/theory.md says which figure follows from what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALL = 100
"""Classes up to which the scores of all are kept."""

TOP = 10
"""Scores kept of each sample where there are more classes: the highest."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One row a sample, arrays of shape (n,) but for `scores` and `classes`. Scores exclude the bias.

    They are what decides: raw scores or, of a calibrated loss, log-probabilities of softmax(scores / T).
    """

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
    runner_up: NDArray[np.int32] | None = None
    """The class that scores second, whichever is the own one."""
    runner_up_score: NDArray[np.float32] | None = None
    log_odds: NDArray[np.float64] | None = None
    """Highest score less the logsumexp of all other classes' scores: ranks samples whose probability rounds to one."""
    scores: NDArray[np.float32] | None = None
    """Of all K classes, (n, K), for K up to `ALL`; else the `TOP` highest, descending, (n, TOP)."""
    classes: NDArray[np.int32] | None = None
    """Of the highest scores, (n, TOP); None where all scores are kept, each in its class's place."""
