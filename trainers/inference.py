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
from trainers.evaluation import ALL, TOP, Evaluation
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


def ranked(scores: Tensor, highest: Tensor, temperature: float = 1.0) -> dict[str, Tensor]:
    """What a cell's file keeps of scores (n, K) beside `summarise`, by column.

    Args:
        scores: Of all classes.
        highest: The class that scores highest, (n,).
        temperature: What scores are divided by for the log-odds.
    """
    others, place = scores.double(), highest[:, None]
    top = others.gather(1, place).squeeze(1)
    others.scatter_(1, place, -torch.inf)  # left out of the sum rather than subtracted, which would cancel
    score, runner_up = others.max(dim=1)
    rest = (others if temperature == 1 else others / temperature).logsumexp(dim=1)
    found = {"runner_up": runner_up, "runner_up_score": score.float(), "log_odds": top / temperature - rest}
    if scores.shape[1] <= ALL:
        return {**found, "scores": scores}
    kept, classes = scores.topk(TOP, dim=1)
    return {**found, "scores": kept, "classes": classes}


@torch.inference_mode()
@rounding(tf32=False)
def evaluate(
    model: Classifier,
    split: Resident,
    *,
    temperature: float = 1.0,
    odds: float | None = None,
    witnesses: Sequence[Witness] = (),
) -> Evaluation:
    """Every sample of `split` in order, through the model in evaluation mode, in float32 however it was trained.

    Args:
        model: Whose scores.
        split: The samples, at least one.
        temperature: What scores are divided by for `logsumexp_tuned`.
        odds: What scores are divided by for the log-odds; without it, the columns of `ranked` are left out.
        witnesses: What else is to see the batches, so that one pass serves all.
    """
    model.eval()
    batches: list[dict[str, Tensor]] = []
    for start in range(0, len(split), BATCH):
        rows = slice(start, start + BATCH)
        features = model.features(split.images(rows)).float()
        scores, labels = model.scores(features).float(), split.labels[rows]
        prediction, positive, rival, logsumexp = summarise(scores, labels)
        tuned = logsumexp if temperature == 1 else (scores / temperature).logsumexp(dim=1)
        columns = {"prediction": prediction, "positive": positive, "rival": rival}
        columns |= {"logsumexp": logsumexp, "logsumexp_tuned": tuned}
        batches.append(columns if odds is None else columns | ranked(scores, prediction, odds))
        for witness in witnesses:
            witness(features, scores, labels)
    found = {name: torch.cat([columns[name] for columns in batches]).cpu().numpy() for name in batches[0]}
    found |= {name: column.astype(np.int32) for name, column in found.items() if column.dtype == np.int64}
    return Evaluation(split.sample.astype(np.int32), split.labels.cpu().numpy().astype(np.int32), **found)


def by_probability(
    look: Callable[..., Evaluation], temperature: float, split: Resident, *, odds: float | None = None, **options: Any
) -> Evaluation:
    """A pass whose scores are the log-probabilities of softmax(scores / T): whoever deploys it decides by these.

    All columns of scores hold them. Times T they are the raw scores but for a constant per sample, so what
    follows from raw scores by softmax at any temperature follows from them, too.

    Args:
        look: Makes the pass, at that temperature.
        temperature: T, from the validation split.
        split: The samples.
        odds: As `evaluate` has it, of the log-probabilities.
        options: Of the pass.

    Raises:
        ValueError: There was no validation split to find a temperature on.
    """
    if math.isnan(temperature):
        raise ValueError("a calibrated loss needs a validation split: 'validation_fraction' must be above 0")
    found = look(split, odds=None if odds is None else odds * temperature, **options)

    def logarithm(scores: NDArray[np.float32]) -> NDArray[np.float32]:
        level = found.logsumexp_tuned.reshape(-1, *[1] * (scores.ndim - 1))
        return log_probabilities(scores / temperature, scores / temperature, level)[0].astype(np.float32)

    certain = np.zeros_like(found.logsumexp)  # probabilities sum to one
    return replace(
        found,
        positive=logarithm(found.positive),
        rival=logarithm(found.rival),
        logsumexp=certain,
        logsumexp_tuned=certain,
        runner_up_score=None if found.runner_up_score is None else logarithm(found.runner_up_score),
        scores=None if found.scores is None else logarithm(found.scores),
    )


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
