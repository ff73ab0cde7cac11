"""One streaming pass of a model over a split: what it says of each sample, and how features lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.classifier import Classifier
from trainers.data import Resident
from trainers.evaluation import Evaluation
from trainers.metrics.chance import Spread
from trainers.metrics.features import Geometry
from trainers.metrics.score_kinds import Temperatures, log_probabilities
from trainers.reproducibility import rounding

BATCH = 1024
"""Samples a forward pass; more only costs memory."""

Witness = Callable[[Tensor, Tensor, Tensor], None]
"""Sees each batch of a pass: features (m, d), scores (m, K) and labels (m,)."""


def summarise(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Prediction, positive, rival and logsumexp, each (n,), of scores (n, K) and labels (n,); see `decide`."""
    return *decide(scores, labels), scores.logsumexp(dim=1)


def decide(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, positive and rival, each (n,), of scores (n, K) and labels (n,), by a single pass over the scores.

    Meanwhile -inf stands in place of the own scores, and then they are back: a copy would take as long as the pass.
    Of equal scores the first is the prediction; where NaN has a part, positive or rival is NaN.
    """
    own = labels[:, None]
    positive = scores.gather(1, own)
    rival, other = scores.scatter_(1, own, -torch.inf).max(dim=1)  # a class is no rival to itself
    scores.scatter_(1, own, positive)
    positive = positive.squeeze(1)
    ahead = (positive > rival) | ((positive == rival) & (labels < other))
    return torch.where(ahead, labels, other), positive, rival


@torch.inference_mode()
@rounding(tf32=False)
def evaluate(
    model: Classifier, split: Resident, *, temperature: float = 1.0, witnesses: Sequence[Witness] = ()
) -> Evaluation:
    """Every sample of `split` in order, through the model in evaluation mode, in float32 however it was trained.

    Args:
        model: Whose scores.
        split: The samples, at least one.
        temperature: What scores are divided by for `logsumexp_tuned`.
        witnesses: What else is to see the batches, so that one pass serves all.
    """
    model.eval()
    columns: list[tuple[Tensor, ...]] = []
    for start in range(0, len(split), BATCH):
        rows = slice(start, start + BATCH)
        features = model.features(split.images(rows)).float()
        scores, labels = model.scores(features).float(), split.labels[rows]
        *decision, logsumexp = summarise(scores, labels)
        tuned = logsumexp if temperature == 1 else (scores / temperature).logsumexp(dim=1)
        columns.append((*decision, logsumexp, tuned))
        for witness in witnesses:
            witness(features, scores, labels)
    prediction, positive, rival, logsumexp, tuned = (
        torch.cat(column).cpu().numpy() for column in zip(*columns, strict=True)
    )
    return Evaluation(
        sample=split.sample.astype(np.int32),
        label=split.labels.cpu().numpy().astype(np.int32),
        prediction=prediction.astype(np.int32),
        positive=positive,
        rival=rival,
        logsumexp=logsumexp,
        logsumexp_tuned=tuned,
    )


def by_probability(look: Callable[..., Evaluation], temperature: float, split: Resident, **options: Any) -> Evaluation:
    """A pass whose scores are the log-probabilities of softmax(scores / T): whoever deploys it decides by these.

    Args:
        look: Makes the pass, at that temperature.
        temperature: T, from the validation split.
        split: The samples.
        options: Of the pass.

    Raises:
        ValueError: There was no validation split to find a temperature on.
    """
    if math.isnan(temperature):
        raise ValueError("a calibrated loss needs a validation split: 'validation_fraction' must be above 0")
    found = look(split, **options)
    pair = log_probabilities(found.positive / temperature, found.rival / temperature, found.logsumexp_tuned)
    positive, rival = (scores.astype(np.float32) for scores in pair)
    certain = np.zeros_like(found.logsumexp)  # probabilities sum to one
    return replace(found, positive=positive, rival=rival, logsumexp=certain, logsumexp_tuned=certain)


@dataclass(eq=False)
class TemperatureSearch:
    """Finds the temperature of least negative log-likelihood, a witness of memory 61 x batch."""

    temperatures: Temperatures = field(default_factory=Temperatures)

    def __call__(self, features: Tensor, scores: Tensor, labels: Tensor) -> None:
        """Count a batch."""
        del features
        exact = scores.double()
        logsumexp = torch.stack([(exact / temperature).logsumexp(dim=1) for temperature in self.temperatures.grid])
        positive = exact.gather(1, labels[:, None]).squeeze(1)
        self.temperatures.add(logsumexp.cpu().numpy(), positive.cpu().numpy())


def measuring(geometry: Geometry) -> Witness:
    """A witness that counts a pass's features."""

    def see(features: Tensor, scores: Tensor, labels: Tensor) -> None:
        del scores
        geometry.add(features.cpu().numpy(), labels.cpu().numpy())

    return see


def spreading(spread: Spread) -> Witness:
    """A witness that looks for the lowest and highest value of each feature of a pass."""

    def see(features: Tensor, scores: Tensor, labels: Tensor) -> None:
        del scores, labels
        spread.add(features.cpu().numpy())

    return see


def keeping(batches: list[NDArray[np.float32]]) -> Witness:
    """A witness that keeps a pass's features: for the few samples of held-out classes."""

    def see(features: Tensor, scores: Tensor, labels: Tensor) -> None:
        del scores, labels
        batches.append(features.cpu().numpy())

    return see
