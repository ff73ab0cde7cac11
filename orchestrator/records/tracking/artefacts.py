"""What a finished cell's MLflow run shows beside its numbers: where it comes from, and its curve over thresholds."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.metrics.uniform import accuracy_curve, uniform_accuracy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainers.evaluation import Evaluation

POINTS = 400
"""Thresholds at which the curve is drawn: as many as a screen shows, however many samples there are."""

_WIDTH = 640
_HEIGHT = 400
_EDGE = 48

_STYLE = "font-family='sans-serif' font-size='13' fill='#444'"


def artefacts(provenance: Mapping[str, Any], evaluation: Evaluation | None) -> dict[str, str]:
    """Texts by file name.

    Args:
        provenance: From the cell's account.
        evaluation: What the model says of each sample; None where it diverged.
    """
    texts = {"environment.json": json.dumps(provenance, indent=2, sort_keys=True)}
    if evaluation is None or not evaluation.sample.size:
        return texts
    if names := provenance.get("class_names"):
        texts["classes.csv"] = by_class(names, evaluation)
    thresholds, accuracies = curve(evaluation.positive, evaluation.rival)
    rows = [f"{threshold:.9g},{accuracy:.9g}" for threshold, accuracy in zip(thresholds, accuracies, strict=True)]
    return {
        **texts,
        "accuracy_curve.csv": "\n".join(["threshold,accuracy", *rows, ""]),
        "accuracy_curve.svg": drawing(thresholds, accuracies),
    }


def by_class(names: Sequence[str], evaluation: Evaluation) -> str:
    """A table of the classes, as CSV: how many test samples, and the shares that are right.

    Args:
        names: Of the classes, in the order of their numbers.
        evaluation: What the model says of each sample.
    """
    best = uniform_accuracy(evaluation.positive, evaluation.rival).threshold
    uniform = (evaluation.rival < best) & (best < evaluation.positive)
    sink = io.StringIO()
    table = csv.writer(sink, lineterminator="\n")
    table.writerow(["class", "samples", "sample_wise_accuracy", "accuracy_at_best_threshold"])
    for number, name in enumerate(names):
        mine = evaluation.label == number
        own = evaluation.positive[mine] > evaluation.rival[mine]
        shares = [f"{part.mean():.6g}" if part.size else "" for part in (own, uniform[mine])]
        table.writerow([name, int(mine.sum()), *shares])
    return sink.getvalue()


def curve(positive: NDArray[np.float32], rival: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracy at evenly spaced thresholds, and at the best one, whose height is the uniform accuracy.

    Args:
        positive: Scores of the own class, shape (n,), n > 0.
        rival: Highest score of any other class, shape (n,).

    Returns:
        Thresholds (m,), ascending, and the accuracy at each (m,); empty where no threshold gets any sample right.
    """
    ends, heights = accuracy_curve(positive, rival)
    if not heights.size:
        return np.empty(0), np.empty(0)
    best = int(np.argmax(heights))
    thresholds = np.append(np.linspace(ends[0], ends[-1], POINTS, endpoint=False), ends[best : best + 2].mean())
    thresholds.sort()
    return thresholds, heights[np.searchsorted(ends, thresholds, side="right") - 1]


def drawing(
    thresholds: Sequence[float] | NDArray[np.float64], accuracies: Sequence[float] | NDArray[np.float64]
) -> str:
    """The curve as an SVG, which MLflow's page shows as a picture."""
    right = _WIDTH - _EDGE
    bottom = _HEIGHT - _EDGE
    frame = f"<path d='M{_EDGE},{_EDGE / 2:g}V{bottom}H{right}' fill='none' stroke='#888'/>"
    title = f"<text x='{_WIDTH / 2:g}' y='{_HEIGHT - 8}' text-anchor='middle' {_STYLE}>threshold</text>"
    percents = [
        f"<text x='{_EDGE - 6}' y='{_height(share):.1f}' text-anchor='end' {_STYLE}>{share:.0%}</text>"
        for share in (0.0, 0.5, 1.0)
    ]
    line = ends = ""
    if len(thresholds):
        low = float(thresholds[0])
        high = float(thresholds[-1])
        across = (np.asarray(thresholds) - low) / (high - low or 1.0)
        points = [
            f"{_EDGE + share * (right - _EDGE):.1f},{_height(height):.1f}"
            for share, height in zip(across, accuracies, strict=True)
        ]
        line = f"<polyline points='{' '.join(points)}' fill='none' stroke='#1f77b4' stroke-width='2'/>"
        ends = "".join(
            f"<text x='{x}' y='{bottom + 18}' text-anchor='middle' {_STYLE}>{value:.3g}</text>"
            for x, value in ((_EDGE, low), (right, high))
        )
    size = f"width='{_WIDTH}' height='{_HEIGHT}' viewBox='0 0 {_WIDTH} {_HEIGHT}'"
    paper = "<rect width='100%' height='100%' fill='white'/>"
    content = "".join([paper, frame, *percents, ends, title, line])
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size}>{content}</svg>\n"


def _height(accuracy: float) -> float:
    bottom = _HEIGHT - _EDGE
    top = _EDGE / 2
    return bottom - accuracy * (bottom - top)
