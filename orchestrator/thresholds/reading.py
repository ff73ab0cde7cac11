"""The rows of a cell's file, as an operation sees them."""

from __future__ import annotations

import numpy as np

from orchestrator.thresholds.consequences import Samples
from trainers.evaluation import Evaluation


def samples_of(rows: Evaluation) -> Samples:
    """The rows of a cell's file, as an operation sees them.

    Raises:
        ValueError: The rows do not hold the second highest score of each image.
    """
    if rows.runner_up_score is None:
        raise ValueError("The second highest score of each image is missing.")
    positive, rival, second = (
        np.asarray(scores, np.float64) for scores in (rows.positive, rows.rival, rows.runner_up_score)
    )
    unit = None if rows.group is None else rows.group.astype(np.int64)
    return Samples(rows.label, rows.prediction, np.maximum(positive, rival), second, positive, rival, unit)
