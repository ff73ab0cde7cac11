"""What a model says of each sample of a split: values only, without torch.

Every accuracy at every single threshold, and every curve over thresholds, follows from
`positive` and `rival`. Where the scores of all classes are kept, so do thresholds per class,
other temperatures and ensembles; docs/theory.md says which figure follows from what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DecideBy = Literal["raw", "probability", "calibrated", "sigmoid"]
"""What is compared with a threshold: the scores; the softmax probabilities of a sample's scores, at T = 1 or at the
temperature from the validation split, as logarithms; the sigmoid of each score less the bias, as score less bias."""

ALL = 100
"""Classes up to which the scores of all are kept."""

TOP = 10
"""Scores kept of each sample where there are more classes: the highest."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One row a sample, arrays of shape (n,) but for `scores` and `classes`. Scores exclude the bias.

    They are what decides: raw scores unless the loss has another `decide_by`.
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
    log_odds_tuned: NDArray[np.float64] | None = None
    """The same of scores divided by the temperature chosen on validation; no file keeps it."""
    scores: NDArray[np.float32] | None = None
    """Of all K classes, (n, K), for K up to `ALL`; else the `TOP` highest, descending, (n, TOP)."""
    classes: NDArray[np.int32] | None = None
    """Of the highest scores, (n, TOP); None where all scores are kept, each in its class's place."""
