"""Losses: one file a family. A file added here is a plug-in added."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field, model_validator

from trainers.evaluation import DecideBy
from trainers.plugin import Frozen, Plugin

if TYPE_CHECKING:
    from torch import Tensor


class Scores(Frozen):
    """How features x become the scores of the classes, from the class weights w.

    The inner product `w_k . x`, with either side normalised or both; with both, the
    cosine times the scale, as in face recognition (UniFace, ICCV 2023).
    """

    normalise_features: bool = False
    """Scale each feature vector to length 1."""
    normalise_weights: bool = False
    """Scale each class's weight vector to length 1."""
    scale: float = Field(default=1.0, gt=0)
    """γ. A cosine alone is too narrow for a softmax or sigmoid to saturate; faces use 64."""
    learn_scale: bool = False
    """Learn log γ, without weight decay, starting from `scale`."""
    scale_learning_rate: float = Field(default=0.01, ge=0)
    """Factor on the recipe's learning rate: log γ moves all scores at once, so its gradient is far larger."""
    margin: float = Field(default=0.0, ge=0)
    """While training, make the own class's score this much harder to reach."""
    margin_kind: Literal["cosine", "angular"] = "cosine"
    """`γ (cos θ - m)` (CosFace) or `γ cos(θ + m)` (ArcFace)."""

    @model_validator(mode="after")
    def _margins_are_of_cosines(self) -> Scores:
        if self.margin and not (self.normalise_features and self.normalise_weights):
            raise ValueError("a margin needs normalise_features and normalise_weights: it is one of cosines")
        return self


class Loss(Plugin, ABC):
    """A per-sample loss on the scores of all classes, and the biases it learns."""

    scores: Scores = Scores()
    """How scores are computed from features and class weights."""
    decide_by: DecideBy = "raw"
    """What a threshold is compared with, and what all scores of the results are. It changes nothing in training:
    `raw` is the score; `probability` the softmax probability; `calibrated` that of scores divided by the temperature
    from the validation split; `sigmoid` the sigmoid of score less bias, which is `raw` again unless each class has a
    bias of its own."""
    one_vs_rest: ClassVar[bool] = False
    """Whether each class's score is judged by itself, against the bias, rather than against the other scores."""
    is_sigmoid: ClassVar[bool] = False
    """Whether it makes the sigmoid of score less bias a probability, of which the calibration is then measured."""

    @abstractmethod
    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each sample.

        Args:
            logits: Scores less the bias, shape (n, K).
            labels: Class indices, shape (n,).

        Returns:
            Losses, shape (n,). Averaging is the caller's job.
        """

    def biases(self, classes: int) -> int:
        """How many biases are learnt: 0, 1 for all classes, or one per class."""
        del classes
        return 0

    def initial_bias(self, classes: int) -> float:
        """The bias before the first step, learnt or not; 0 where there is none."""
        del classes
        return 0.0


class BiasedLoss(Loss, ABC):
    """A loss that learns its bias together with the network.

    The bias is *subtracted* from the scores, so that it compares directly with a
    decision threshold (arXiv 2505.05813, `Wh - b`).
    """

    bias_init: float | Literal["prior"] = "prior"
    """Starting value; `prior` is log(K - 1), at which every class starts at probability 1/K.

    A start far below it can end the training before it begins: K - 1 classes push a score down
    where one pushes it up, until all features are 0.
    """
    bias_learning_rate: float = Field(default=1.0, ge=0)
    """Factor on the recipe's learning rate."""
    bias_weight_decay: float = Field(default=0.0, ge=0)
    """L2 decay of the bias itself; any decay pulls the threshold towards 0."""

    def initial_bias(self, classes: int) -> float:
        """The bias before the first step."""
        return prior(classes) if self.bias_init == "prior" else self.bias_init


class UnifiedLoss(BiasedLoss, ABC):
    """A loss that learns one bias for all classes."""

    def biases(self, classes: int) -> int:
        """One bias, shared by every class."""
        del classes
        return 1


class DiverseLoss(BiasedLoss, ABC):
    """A loss that learns a bias for each class."""

    def biases(self, classes: int) -> int:
        """A bias for each class."""
        return classes


def one_per_sample(loss: Loss, logits: Tensor, labels: Tensor) -> Tensor:
    """The losses (n,) of logits (n, K) and labels (n,), checked: anything else would train at another rate, unseen.

    Raises:
        TypeError: The loss does not return one floating-point number per sample, on the device of the labels and
            with a gradient.
    """
    from torch import Tensor

    found = cast("object", loss.per_sample(logits, labels))  # a plug-in may return anything
    needed = tuple(labels.shape)
    if not isinstance(found, Tensor):
        what = f"a {type(found).__name__}"
        remedy = f"one number per sample is needed, a tensor of shape {needed}."
    elif found.shape != labels.shape:
        what = f"shape {tuple(found.shape)}"
        remedy = f"one number per sample, shape {needed}, is needed: {_reshaped(found, logits)}."
    elif not found.is_floating_point():
        what = str(found.dtype)
        remedy = "floating-point numbers are needed: they are what has a gradient."
    elif found.device != labels.device:
        what = f"numbers on {found.device}"
        remedy = f"they are needed on {labels.device}, where the labels are."
    elif logits.requires_grad and not found.requires_grad:
        what = "numbers without a gradient"
        remedy = "compute them from the logits by torch alone, without detach(), item(), numpy() or no_grad()."
    else:
        return found
    raise TypeError(f"Loss '{loss.key}' returned {what}; {remedy}")


def _reshaped(found: Tensor, logits: Tensor) -> str:
    """How a loss of the wrong shape is put right."""
    if not found.ndim:
        return "leave the averaging over samples to the caller (reduction='none' in torch.nn.functional)"
    if found.shape == logits.shape:
        return "sum over classes"
    if found.shape == (len(logits), 1):
        return "squeeze the last dimension"
    return "return the loss of each sample, in the order of the labels"


def prior(classes: int) -> float:
    """The bias at which zero scores give every class the probability 1/K: log(K - 1)."""
    return math.log(classes - 1)
