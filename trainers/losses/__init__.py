"""Losses: one file per family. Adding a file here adds its plug-ins."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, cast

from pydantic import Field, model_validator

from trainers.evaluation import DecideBy
from trainers.plugin import Frozen, Plugin

if TYPE_CHECKING:
    from torch import Tensor


class Scores(Frozen):
    """How features x and class weights w give the scores of the classes.

    The score is the inner product `w_k . x` times `scale`; either side can be normalised. With both
    normalised it is the scaled cosine of face recognition (UniFace, ICCV 2023).
    """

    normalise_features: bool = False
    """Scale each feature vector to length 1."""
    normalise_weights: bool = False
    """Scale each class's weight vector to length 1."""
    scale: float = Field(default=1.0, gt=0)
    """γ. The range of a plain cosine is too narrow for softmax or sigmoid to saturate; face recognition uses 64."""
    learn_scale: bool = False
    """Learn log γ, without weight decay, starting from `scale`."""
    scale_learning_rate: float = Field(default=0.01, ge=0)
    """Factor on the recipe's learning rate: log γ moves all scores at once, so its gradient is far larger."""
    margin: float = Field(default=0.0, ge=0)
    """In training only: handicap of the true class, see `margin_kind`."""
    margin_kind: Literal["cosine", "angular"] = "cosine"
    """Score of the true class: `γ (cos θ - m)` (CosFace) or `γ cos(θ + m)` (ArcFace)."""

    @model_validator(mode="after")
    def _margins_are_of_cosines(self) -> Scores:
        if self.margin and not (self.normalise_features and self.normalise_weights):
            raise ValueError("a margin needs normalise_features and normalise_weights: it is one of cosines")
        return self


class Seen(NamedTuple):
    """What a loss may ask for beside logits and labels."""

    class_counts: Tensor
    """Training images of each class, int64 (K,), with the labels that are trained on."""
    features: Tensor
    """The features of the samples, (n, d)."""
    epoch: int
    """The epoch, counted from 1."""


class Loss(Plugin, ABC):
    """A per-sample loss on the scores of all classes, and the biases it learns.

    Import torch inside methods, because planning imports this class and must not import torch.

    Examples:
        >>> from trainers.losses import Loss
        >>> class Squared(Loss):
        ...     name = "squared"
        ...
        ...     def per_sample(self, logits, labels):
        ...         from torch.nn.functional import one_hot
        ...
        ...         return (logits - one_hot(labels, logits.shape[1])).square().sum(dim=1)
        >>> import torch
        >>> logits = torch.tensor([[0.0, 3.0], [2.0, 1.0]])
        >>> Squared().per_sample(logits, labels=torch.tensor([1, 0]))  # 0² + (3 - 1)², (2 - 1)² + 1²
        tensor([4., 2.])
        >>> from trainers.recipe import Recipe
        >>> recipe = Recipe(loss=Squared(), backbone="resnet8", dataset="digits", seed=0)  # train it with trainers.fit
        >>> recipe.loss.key
        'squared'
    """

    scores: Scores = Scores()
    """How scores are computed from features and class weights."""
    decide_by: DecideBy = "raw"
    """What is compared with a threshold, and stored as score. It does not affect training. `raw`: the score;
    `probability`: the softmax probability; `calibrated`: the softmax probability of scores divided by the temperature
    from the validation split; `sigmoid`: the sigmoid of score minus bias, which gives the same accuracies as `raw`
    unless each class has its own bias."""
    one_vs_rest: ClassVar[bool] = False
    """Whether the loss compares each class's score with the bias rather than with the other scores."""
    is_sigmoid: ClassVar[bool] = False
    """Whether sigmoid(score - bias) is a probability under this loss; if so, its calibration is measured."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a loss that asks for what training does not hand out, wherever the class is defined."""
        super().__pydantic_init_subclass__(**kwargs)
        if strange := [name for name in cls.asks() if name not in Seen._fields]:
            known = ", ".join(Seen._fields)
            raise TypeError(f"per_sample of {cls.__name__} asks for '{strange[0]}'; what it can ask for is {known}.")

    @classmethod
    def asks(cls) -> tuple[str, ...]:
        """What `per_sample` takes beside logits and labels: its keyword-only arguments, fields of `Seen`."""
        taken = inspect.signature(cls.per_sample).parameters.values()
        return tuple(each.name for each in taken if each.kind is each.KEYWORD_ONLY)

    @abstractmethod
    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each sample.

        A loss that needs to know more takes fields of `Seen` as keyword-only arguments:
        `def per_sample(self, logits, labels, *, class_counts)`.

        Args:
            logits: Scores minus the bias, shape (n, K).
            labels: Class indices, shape (n,).

        Returns:
            Losses, shape (n,), not averaged.
        """

    def biases(self, classes: int) -> int:
        """Number of learnt biases: 0, 1 (shared by all classes) or K."""
        del classes
        return 0

    def initial_bias(self, classes: int) -> float:
        """The bias before the first step, learnt or fixed; 0 if there is none."""
        del classes
        return 0.0


class BiasedLoss(Loss, ABC):
    """A loss that learns its bias together with the network.

    The bias is *subtracted* from the scores, so that it compares directly with a
    decision threshold (arXiv 2505.05813, `Wh - b`).

    Examples:
        >>> from trainers.losses.bce import BCEUnified
        >>> BCEUnified().initial_bias(classes=101)  # log 100
        4.605170185988092
        >>> BCEUnified(bias_init=0).initial_bias(classes=101)
        0.0
    """

    bias_init: float | Literal["prior"] = "prior"
    """Initial value; `prior` is log(K - 1), at which every class starts at probability 1/K.

    Starting far below it can ruin training in the first steps: for each sample, K - 1 classes push scores
    down and only one pushes up, until all features are 0.
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


def one_per_sample(loss: Loss, logits: Tensor, labels: Tensor, seen: Seen | None = None) -> Tensor:
    """The losses (n,) of logits (n, K) and labels (n,), checked: another shape would silently change the step size.

    Args:
        loss: The loss.
        logits: Scores minus the bias, (n, K).
        labels: Class indices, (n,).
        seen: What the loss may ask for; needed by losses that do.

    Examples:
        >>> import torch
        >>> from trainers.losses import one_per_sample
        >>> from trainers.losses.bce import BCE
        >>> one_per_sample(BCE(), torch.zeros(1, 3), torch.tensor([0]))  # 3 log 2
        tensor([2.0794])

    Raises:
        TypeError: The loss does not return one floating-point number per sample, on the device of the labels and
            with a gradient.
    """
    from torch import Tensor

    told = {name: getattr(seen, name) for name in loss.asks()}
    per_sample: Any = loss.per_sample  # what it takes beyond logits and labels, only the loss knows
    found = cast("object", per_sample(logits, labels, **told))  # a plug-in may return anything
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
    """How to fix a loss of the wrong shape."""
    if not found.ndim:
        return "leave the averaging over samples to the caller (reduction='none' in torch.nn.functional)"
    if found.shape == logits.shape:
        return "sum over classes"
    if found.shape == (len(logits), 1):
        return "squeeze the last dimension"
    return "return the loss of each sample, in the order of the labels"


def prior(classes: int) -> float:
    """log(K - 1), the bias at which scores of 0 give every class the probability 1/K."""
    return math.log(classes - 1)
