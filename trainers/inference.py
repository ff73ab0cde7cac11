"""One streaming pass of a model over a split: what it says of each sample, and how features cluster."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainers.classifier import Classifier
from trainers.data import Resident
from trainers.evaluation import Evaluation, FeatureSums

BATCH = 1024
"""Samples a forward pass; more only costs memory."""


def summarise(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Prediction, positive, rival and logsumexp, each (n,), of scores (n, K) and labels (n,)."""
    own = labels[:, None]
    positive = scores.gather(1, own).squeeze(1)
    rival = scores.scatter(1, own, -torch.inf).amax(dim=1)  # a class is no rival to itself
    return scores.argmax(dim=1), positive, rival, scores.logsumexp(dim=1)


@torch.inference_mode()
def evaluate(model: Classifier, split: Resident) -> tuple[Evaluation, FeatureSums]:
    """Every sample of `split` in order, through the model in evaluation mode."""
    model.eval()
    columns: list[tuple[Tensor, ...]] = []
    sums = torch.zeros(model.classes, model.width, dtype=torch.float64, device=split.labels.device)
    for start in range(0, len(split), BATCH):
        rows = slice(start, start + BATCH)
        features = model.features(split.images(rows))
        labels = split.labels[rows]
        columns.append(summarise(model.scores(features).float(), labels))
        sums.index_add_(0, labels, torch.nn.functional.normalize(features.double(), dim=1))
    prediction, positive, rival, logsumexp = (torch.cat(column).cpu().numpy() for column in zip(*columns, strict=True))
    label = split.labels.cpu().numpy()
    rows = Evaluation(
        sample=np.arange(len(label), dtype=np.int32),
        label=label.astype(np.int32),
        prediction=prediction.astype(np.int32),
        positive=positive,
        rival=rival,
        logsumexp=logsumexp,
    )
    return rows, FeatureSums(sums.cpu().numpy(), np.bincount(label, minlength=model.classes))
