"""The optimiser, the learning rate schedule, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trainers.classifier import Classifier
from trainers.losses import BiasedLoss
from trainers.recipe import Recipe, Training


def build_optimizer(model: Classifier, recipe: Recipe) -> Optimizer:
    """The recipe's optimiser, with separate parameter groups for bias and learnt scale; fused on GPUs."""
    training = recipe.training
    groups = _groups(model, training)
    if model.bias is not None and isinstance(recipe.loss, BiasedLoss):
        rate = training.learning_rate * recipe.loss.bias_learning_rate
        decay = recipe.loss.bias_weight_decay
        groups.append({"params": [model.bias], "lr": rate, "weight_decay": decay})
    if isinstance(model.log_scale, nn.Parameter):
        rate = training.learning_rate * recipe.loss.scores.scale_learning_rate
        groups.append({"params": [model.log_scale], "lr": rate, "weight_decay": 0.0})
    common: dict[str, Any] = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
    common["fused"] = True if model.linear.weight.is_cuda else None  # None: torch chooses
    return (
        AdamW(groups, **common)
        if training.optimizer == "adamw"
        else SGD(groups, momentum=training.momentum, nesterov=training.nesterov, **common)
    )


def _groups(model: Classifier, training: Training) -> list[dict[str, Any]]:
    """The weights to train, without bias and scale: one group unless some have another rate or decay."""
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if name in {"bias", "log_scale"} or not parameter.requires_grad:
            continue
        is_head = name == "linear.weight" and training.head_learning_rate != 1
        is_spared = training.decay == "weights" and parameter.ndim <= 1
        group = groups.setdefault((is_head, is_spared), {"params": []})
        group["params"].append(parameter)
        group |= {"lr": training.learning_rate * training.head_learning_rate} if is_head else {}
        group |= {"weight_decay": 0.0} if is_spared else {}
    return [*groups.values()]


def schedule(training: Training, steps: int) -> Callable[[int], float]:
    """The factor on the learning rate at each step, for `steps` steps per epoch."""
    warmup = training.warmup_epochs * steps
    total = training.epochs * steps
    # Subtract a millionth of a step, because 0.3 of 10 steps, or 4/7 of 28, can round up in binary.
    milestones = [milestone * total - 1e-6 for milestone in training.milestones]

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup  # + 1: at a rate of 0 the first step would do nothing
        if training.schedule == "constant":
            return 1.0
        if training.schedule == "step":
            return training.step_factor ** sum(step >= milestone for milestone in milestones)
        return (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2

    return factor


class Average(AveragedModel):
    """An exponential moving average of a model's weights, with a decay that warms up.

    Args:
        model: The model to average.
        decay: Final decay per step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        # Batch norm's statistics are averages already; averaging them too keeps them consistent with the weights.
        super().__init__(model, multi_avg_fn=self._mix, use_buffers=True)

    def _mix(self, averaged: Any, weights: Any, count: Tensor | int) -> None:
        del count  # it is on the weights' device, and reading it would stall a GPU
        get_ema_multi_avg_fn(warmed(self._decay, int(self.n_averaged)))(averaged, weights, self.n_averaged)


def warmed(decay: float, steps: int) -> float:
    """The decay after `steps` steps: `min(decay, 1 - (1 + steps)^(-2/3))`.

    As in timm (`ModelEmaV3` with `use_warmup` and its defaults). Without it, the average after a short training
    would consist mostly of the initial weights.
    """
    return min(decay, 1 - (1 + steps) ** (-2 / 3))
