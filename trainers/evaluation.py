"""A model's scores for each sample of a split: values only, without torch.

`positive` and `rival` determine the accuracy at any single threshold, and every curve over
thresholds. Thresholds per class, other temperatures and ensembles also need the scores of all
classes; docs/theory.md says which metric follows from what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DecideBy = Literal["raw", "probability", "calibrated", "sigmoid"]
"""What is compared with a threshold: the score (`raw`); the log of the softmax probability at T = 1 (`probability`)
or at the temperature from the validation split (`calibrated`); score minus bias, the logit of the sigmoid
(`sigmoid`)."""

ALL = 100
"""Up to this many classes, all scores are kept."""

TOP = 10
"""With more classes, this many of the highest scores are kept per sample."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One row per sample; arrays have shape (n,) except `scores` and `classes`. Scores exclude the bias.

    Scores are what is compared with a threshold: raw unless the loss sets `decide_by`.
    """

    sample: NDArray[np.int32]
    """Position in the dataset's test split."""
    label: NDArray[np.int32]
    prediction: NDArray[np.int32]
    positive: NDArray[np.float32]
    """Score of the true class."""
    rival: NDArray[np.float32]
    """Highest score of any other class."""
    logsumexp: NDArray[np.float32]
    """Logsumexp of all classes' scores; gives softmax probabilities at T = 1."""
    logsumexp_tuned: NDArray[np.float32]
    """The same with scores divided by the temperature chosen on validation."""
    runner_up: NDArray[np.int32] | None = None
    """The class with the second highest score, whether or not it is the true class."""
    runner_up_score: NDArray[np.float32] | None = None
    log_odds: NDArray[np.float64] | None = None
    """Highest score minus the logsumexp of all others: ranks samples even where the probability rounds to 1."""
    log_odds_tuned: NDArray[np.float64] | None = None
    """The same with scores divided by the temperature chosen on validation; not stored in any file."""
    scores: NDArray[np.float32] | None = None
    """Scores of all K classes, (n, K), for K up to `ALL`; otherwise the `TOP` highest, descending, (n, TOP)."""
    classes: NDArray[np.int32] | None = None
    """The classes of the highest scores, (n, TOP); None where all scores are kept, in order of classes."""
    group: NDArray[np.int32] | None = None
    """Which samples belong together, such as images of one part; None if each is one of its own."""
