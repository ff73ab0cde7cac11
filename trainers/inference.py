"""One streaming pass of a model over a split: scores of each sample, and statistics of the features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.classifier import Classifier
from trainers.data import Resident
from trainers.evaluation import ALL, TOP, DecideBy, Evaluation
from trainers.metrics.chance import Spread
from trainers.metrics.claimed import Claimed, claimed
from trainers.metrics.collapse import Moments
from trainers.metrics.features import Geometry
from trainers.metrics.score_kinds import Temperatures
from trainers.reproducibility import rounding

BATCH = 1024
"""Samples per forward pass; more only costs memory."""

Witness = Callable[[Tensor, Tensor, Tensor], None]
"""Called with each batch of a pass: features (m, d), scores (m, K) and labels (m,)."""


def summarise(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Prediction, positive, rival and logsumexp, each (n,), from scores (n, K) and labels (n,); see `decide`."""
    return *decide(scores, labels), scores.logsumexp(dim=1)


def decide(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, positive and rival, each (n,), from scores (n, K) and labels (n,), in a single pass over the scores.

    The scores of the true classes are set to -inf and then restored: copying would take as long as the pass.
    Ties go to the first class. If a score is NaN, so is positive or rival.
    """
    own = labels[:, None]
    positive = scores.gather(1, own)
    rival, other = scores.scatter_(1, own, -torch.inf).max(dim=1)  # the true class is not its own rival
    scores.scatter_(1, own, positive)
    positive = positive.squeeze(1)
    ahead = (positive > rival) | ((positive == rival) & (labels < other))
    return torch.where(ahead, labels, other), positive, rival


@dataclass(frozen=True, eq=False)
class Rule:
    """Turns a model's scores (n, K) into what is compared with a threshold; by default the scores themselves."""

    by: DecideBy = "raw"
    temperature: float = 1.0
    """From the validation split; used by `calibrated` only."""
    bias: Tensor | float = 0.0
    """One for all classes, or one per class (K,); used by `sigmoid` only."""

    def __call__(self, scores: Tensor) -> Tensor:
        """Raw scores unchanged, others in float64, because in float32 the subtraction would lose most digits."""
        if self.by == "raw":
            return scores
        if self.by == "sigmoid":
            return scores.double() - self.bias
        temperature = self.temperature if self.by == "calibrated" else 1.0
        return (scores.double() / temperature).log_softmax(dim=1)


def ranked(scores: Tensor, highest: Tensor, temperature: float = 1.0) -> dict[str, Tensor]:
    """The columns of an evaluation that `summarise` does not give, by name.

    Args:
        scores: Of all classes, (n, K).
        highest: The class with the highest score, (n,).
        temperature: For the log-odds of scores / temperature.
    """
    others = scores.to(torch.float64, copy=True)
    place = highest[:, None]
    top = others.gather(1, place).squeeze(1)
    others.scatter_(1, place, -torch.inf)  # leave it out of the sum: subtracting it afterwards would cancel
    score, runner_up = others.max(dim=1)
    odds = top - others.logsumexp(dim=1)
    tuned = odds if temperature == 1 else top / temperature - (others / temperature).logsumexp(dim=1)
    found = {"runner_up": runner_up, "runner_up_score": score.float(), "log_odds": odds, "log_odds_tuned": tuned}
    if scores.shape[1] <= ALL:
        return {**found, "scores": scores.float()}
    kept, classes = scores.topk(TOP, dim=1)
    return {**found, "scores": kept.float(), "classes": classes}


def rows_of(scores: NDArray[np.float32], label: NDArray[np.int32], sample: NDArray[np.int32]) -> Evaluation:
    """The evaluation that scores (n, K) of samples (n,) with labels (n,) are."""
    found = torch.from_numpy(np.ascontiguousarray(scores))
    prediction, positive, rival, logsumexp = summarise(found, torch.from_numpy(label.astype(np.int64)))
    columns = {"prediction": prediction, "positive": positive, "rival": rival, "logsumexp": logsumexp}
    columns |= {"logsumexp_tuned": logsumexp, **ranked(found, prediction)}
    arrays = {name: column.numpy() for name, column in columns.items()}
    arrays |= {name: column.astype(np.int32) for name, column in arrays.items() if column.dtype == np.int64}
    return Evaluation(sample, label, **arrays)


@torch.inference_mode()
@rounding(tf32=False)
def evaluate(
    model: Classifier,
    split: Resident,
    *,
    rule: Rule | None = None,
    temperature: float = 1.0,
    ranks: bool = False,
    witnesses: Sequence[Witness] = (),
) -> Evaluation:
    """Evaluate every sample of `split` in order, in evaluation mode and in float32, however the model was trained.

    Args:
        model: The model.
        split: The samples, at least one.
        rule: Transforms the scores; all columns hold the result.
        temperature: The divisor of these scores for `logsumexp_tuned`.
        ranks: Whether to keep the columns of `ranked`.
        witnesses: Functions called with each batch, so that one pass serves all; they get the transformed scores.
    """
    model.eval()
    rule = rule or Rule()
    batches: list[dict[str, Tensor]] = []
    for start in range(0, len(split), BATCH):
        rows = slice(start, start + BATCH)
        features = model.features(split.images(rows)).float()
        scores = rule(model.scores(features).float())
        labels = split.labels[rows]
        prediction, positive, rival, logsumexp = summarise(scores, labels)
        tuned = logsumexp if temperature == 1 else (scores / temperature).logsumexp(dim=1)
        summary = {"positive": positive, "rival": rival, "logsumexp": logsumexp, "logsumexp_tuned": tuned}
        columns = {"prediction": prediction, **{name: column.float() for name, column in summary.items()}}
        batches.append(columns | ranked(scores, prediction, temperature) if ranks else columns)
        for witness in witnesses:
            witness(features, scores.float(), labels)
    found = {name: torch.cat([columns[name] for columns in batches]).cpu().numpy() for name in batches[0]}
    found |= {name: column.astype(np.int32) for name, column in found.items() if column.dtype == np.int64}
    return Evaluation(split.sample.astype(np.int32), split.labels.cpu().numpy().astype(np.int32), **found)


@dataclass(eq=False)
class TemperatureSearch:
    """A witness that finds the temperature with the lowest negative log-likelihood; its memory is 93 x batch."""

    temperatures: Temperatures = field(default_factory=Temperatures)

    def __call__(self, features: Tensor, scores: Tensor, labels: Tensor) -> None:
        """Count a batch."""
        del features
        exact = scores.double()
        logsumexp = torch.stack([(exact / temperature).logsumexp(dim=1) for temperature in self.temperatures.grid])
        positive = exact.gather(1, labels[:, None]).squeeze(1)
        self.temperatures.add(logsumexp.cpu().numpy(), positive.cpu().numpy())


def measuring(geometry: Geometry) -> Witness:
    """A witness that adds the features of a pass to a geometry."""

    def see(features: Tensor, scores: Tensor, labels: Tensor) -> None:
        del scores
        geometry.add(features.cpu().numpy(), labels.cpu().numpy())

    return see


def claiming(batches: list[Claimed], bias: Sequence[float]) -> Witness:
    """A witness that collects the probabilities that the scores imply; `bias` as in `claimed`."""

    def see(features: Tensor, scores: Tensor, labels: Tensor) -> None:
        del features
        batches.append(claimed(scores.cpu().numpy(), labels.cpu().numpy(), bias))

    return see


def counting(moments: Moments) -> Witness:
    """A witness that adds the features of a pass to their moments."""

    def see(features: Tensor, scores: Tensor, labels: Tensor) -> None:
        del scores
        moments.add(features.cpu().numpy(), labels.cpu().numpy())

    return see


def spreading(spread: Spread) -> Witness:
    """A witness that finds the lowest and highest value of each feature."""

    def see(features: Tensor, scores: Tensor, labels: Tensor) -> None:
        del scores, labels
        spread.add(features.cpu().numpy())

    return see


def keeping(batches: list[NDArray[np.float32]]) -> Witness:
    """A witness that keeps the features: only for the few samples of held-out classes."""

    def see(features: Tensor, scores: Tensor, labels: Tensor) -> None:
        del scores, labels
        batches.append(features.cpu().numpy())

    return see
