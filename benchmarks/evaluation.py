"""The cost of exact uniform accuracy from a matrix of scores, compared with a plain maximum and with threshold sweeps.

    python benchmarks/evaluation.py [--samples 50000] [--classes 1000] [--repeats 7]

Ours computes positive, rival and prediction of each sample, the uniform accuracy with its interval, and accuracy as a
function of the threshold. The sweep over all scores is timed at a few thresholds and extrapolated to all.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.table import Row, against, arguments, progress, text
from trainers.inference import BATCH, decide, ranked
from trainers.metrics.uniform import Optimum, accuracy_curve, uniform_accuracy

THRESHOLDS = 1_000
TIMED = 5


def drawn(samples: int, classes: int) -> tuple[Tensor, Tensor]:
    """Scores (samples, classes) with an accuracy of about 75 %, and labels."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (samples,), generator=draw)
    scores = torch.randn(samples, classes, generator=draw)
    return scores.scatter_add_(1, labels[:, None], torch.full((samples, 1), 4.0)), labels


def exact(scores: Tensor, labels: Tensor) -> Optimum:
    """Everything that ours computes."""
    _, positive, rival = decide(scores, labels)
    best = uniform_accuracy(positive.numpy(), rival.numpy())
    _, heights = accuracy_curve(positive.numpy(), rival.numpy())
    assert heights.max() == best.accuracy
    return best


def bare(scores: Tensor) -> None:
    """The lower limit: one pass for each sample's maximum and argmax, and one sort of one number per sample."""
    highest, _ = scores.max(dim=1)
    highest.sort()


def grid(scores: Tensor) -> Tensor:
    """The thresholds of a sweep."""
    return torch.linspace(float(scores.min()), float(scores.max()), THRESHOLDS)


def swept(scores: Tensor, own: Tensor, thresholds: Tensor) -> float:
    """The best of these thresholds, each compared with all scores; `own` (samples, classes) is true at the labels."""
    return max(share(((scores > threshold) == own).all(dim=1)) for threshold in thresholds)


def swept_pairs(scores: Tensor, labels: Tensor, thresholds: Tensor) -> float:
    """The best of these thresholds, each compared with positives and rivals."""
    _, positive, rival = decide(scores, labels)
    return max(share((rival <= threshold) & (threshold < positive)) for threshold in thresholds)


def share(right: Tensor) -> float:
    """Share of true values."""
    return int(right.count_nonzero()) / len(right)


def check(scores: Tensor, labels: Tensor, own: Tensor, thresholds: Tensor) -> float:
    """Check that all agree; return how much accuracy the sweep misses."""
    best = exact(scores, labels)
    assert torch.equal(decide(scores, labels)[0], scores.argmax(dim=1))
    found = (scores.numpy() > np.float64(best.threshold)) == own.numpy()  # torch would round the threshold to float32
    assert found.all(axis=1).mean() == best.accuracy
    approximate = swept_pairs(scores, labels, thresholds)
    assert swept(scores, own, thresholds[:: THRESHOLDS // TIMED]) <= approximate <= best.accuracy
    return best.accuracy - approximate


def in_batches(scores: Tensor, highest: Tensor) -> None:
    """Everything that a cell's file keeps besides positives and rivals, batch by batch as in a real pass."""
    for part, best in zip(scores.split(BATCH), highest.split(BATCH), strict=True):
        ranked(part, best)


def seconds(way: Callable[[], object]) -> float:
    """Seconds that a function takes."""
    began = time.perf_counter()
    way()
    return time.perf_counter() - began


def rows(
    *, quick: bool = False, size: tuple[int, int] = (50_000, 1_000), repeats: int = 7, tell: Callable[[str], None]
) -> list[Row]:
    """Milliseconds for samples x classes scores; with `quick`, 10 000 x 100."""
    samples, classes = (10_000, 100) if quick else size
    scores, labels = drawn(samples, classes)
    own = torch.nn.functional.one_hot(labels, classes).bool()
    thresholds = grid(scores)
    missed = check(scores, labels, own, thresholds)
    tell(f"all agree on {samples:,} x {classes:,} scores")

    ours = f"ours: exact, with the curve, of {samples:,} x {classes:,}"
    one = "one torch.max and one sort of N"
    all_scores = f"sweep of {THRESHOLDS:,} thresholds over all scores"
    pairs = f"sweep of {THRESHOLDS:,} thresholds over positives and rivals"
    some = thresholds[:: THRESHOLDS // TIMED]
    times = THRESHOLDS // TIMED
    ways: dict[str, tuple[Callable[[], object], int]] = {
        ours: (lambda: exact(scores, labels), 1),
        one: (lambda: bare(scores), 1),
        all_scores: (lambda: swept(scores, own, some), times),
        pairs: (lambda: swept_pairs(scores, labels, thresholds), 1),
    }
    found = {name: list[float]() for name in ways}
    reference = list[float]()
    kept = list[float]()
    highest = scores.argmax(dim=1)
    for _ in range(repeats):
        for name, (way, factor) in ways.items():
            found[name].append(1000 * factor * seconds(way))
        reference.append(1000 * seconds(lambda: scores.logsumexp(dim=1)))
        kept.append(1000 * seconds(lambda: in_batches(scores, highest)))
    part = "evaluation"
    notes = {
        ours: f"{torch.get_num_threads()} threads",
        one: "the aim at 50,000 x 1,000: 0.67 or more",
        all_scores: f"extrapolated from {TIMED} thresholds",
        pairs: f"misses {100 * missed:.2g} points of accuracy",
    }
    compared = against(part, "ms", found, more_is_better=False, notes=notes)
    return [
        *compared,
        Row(part, "logsumexp of all scores", tuple(reference), "ms", note="for reference"),
        Row(
            part,
            "runner-up, log-odds and scores to keep",
            tuple(kept),
            "ms",
            note="beside ours, of test and validation",
        ),
    ]


if __name__ == "__main__":
    parser = arguments(__doc__)
    for name, default in (("samples", 50_000), ("classes", 1_000), ("repeats", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    wanted = parser.parse_args()
    print(text(rows(size=(wanted.samples, wanted.classes), repeats=wanted.repeats, tell=progress)))
