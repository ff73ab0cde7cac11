"""Train one model from one recipe and evaluate it. The loop is the whole of `_train`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from trainers.classifier import Classifier
from trainers.data import Splits, batches, split
from trainers.datasets import TrainTest
from trainers.evaluation import Evaluation
from trainers.inference import evaluate
from trainers.losses import BiasedLoss
from trainers.metrics import measure
from trainers.recipe import Recipe, Training
from trainers.reproducibility import derive, deterministic

Observer = Callable[[int, dict[str, float]], None]
"""Told after each epoch: the number of epochs done, and their figures."""


class DivergedError(ArithmeticError):
    """The loss became NaN or infinite in `epoch`, counted from 1."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the loss became NaN or infinite in epoch {epoch}")
        self.epoch = epoch


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained model's account of itself.

    `metrics` are named as in the results table; `history` has one entry an epoch.
    """

    evaluation: Evaluation
    metrics: dict[str, float | None]
    learned_bias: list[float]
    history: list[dict[str, float]]
    parameters: int
    train_seconds: float
    images_per_second: float


def _silent(epoch: int, figures: dict[str, float]) -> None:
    del epoch, figures


def fit(recipe: Recipe, data: TrainTest, *, device: torch.device | str = "cpu", observer: Observer = _silent) -> Fit:
    """Train the recipe's model on the training split and evaluate it on the test split.

    Args:
        recipe: What to train.
        data: Both splits of the recipe's dataset.
        device: Where to train.
        observer: Told after each epoch.

    Raises:
        DivergedError: The loss became NaN or infinite.
        ValueError: The recipe does not fit the data.
    """
    device = torch.device(device)
    # The loss is no part of this seed: all losses start from the same weights.
    seed = derive("weights", recipe.backbone.model_dump(mode="json"), recipe.seed)
    with deterministic(seed, device):
        splits = split(data, recipe, device)
        model = Classifier(recipe.backbone, recipe.loss, splits.shape, splits.classes)
        model = model.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        started = time.perf_counter()
        history = list(_epochs(model, recipe, splits, observer))
        seconds = time.perf_counter() - started
        evaluation, features = evaluate(model, splits.test)
        validation = evaluate(model, splits.validation)[0] if len(splits.validation) else None
    steps = len(splits.train) // recipe.training.batch_size
    return Fit(
        evaluation=evaluation,
        metrics=measure(evaluation, features, model.learned_bias(), validation),
        learned_bias=model.learned_bias(),
        history=history,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        train_seconds=seconds,
        images_per_second=len(history) * steps * recipe.training.batch_size / seconds,
    )


def _epochs(model: Classifier, recipe: Recipe, splits: Splits, observer: Observer) -> Iterator[dict[str, float]]:
    optimizer = build_optimizer(model, recipe)
    steps = len(splits.train) // recipe.training.batch_size
    factor = schedule(recipe.training, steps)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for epoch in range(1, recipe.training.epochs + 1):
        loss = _train(model, recipe, batches(splits.train, recipe, epoch), optimizer, scheduler)
        if not math.isfinite(loss):
            raise DivergedError(epoch)
        figures = {"train_loss": loss, "learning_rate": float(scheduler.get_last_lr()[0]), **_validate(model, splits)}
        observer(epoch, figures)
        yield figures


def _train(
    model: Classifier,
    recipe: Recipe,
    epoch: Iterator[tuple[Tensor, Tensor]],
    optimizer: Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    """One epoch; returns the mean loss."""
    model.train()
    losses: list[Tensor] = []
    for images, labels in epoch:
        loss = recipe.loss.per_sample(model(images), labels).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.detach())  # read once an epoch: reading each would stall a GPU
    return float(torch.stack(losses).mean())


def _validate(model: Classifier, splits: Splits) -> dict[str, float]:
    figures: dict[str, float] = {}
    if model.bias is not None:
        figures["learned_bias"] = float(model.bias.detach().mean())
    if len(splits.validation):
        measured = measure(*evaluate(model, splits.validation), model.learned_bias())
        figures |= {
            f"validation_{name}": value
            for name in ("sample_wise_accuracy", "uniform_accuracy", "unified_threshold")
            if (value := measured[name]) is not None
        }
    return figures


def build_optimizer(model: Classifier, recipe: Recipe) -> Optimizer:
    """The recipe's optimiser, with the bias in a group of its own."""
    training = recipe.training
    weights = [parameter for name, parameter in model.named_parameters() if name != "bias"]
    groups: list[dict[str, Any]] = [{"params": weights}]
    if model.bias is not None and isinstance(recipe.loss, BiasedLoss):
        groups.append(
            {
                "params": [model.bias],
                "lr": training.learning_rate * recipe.loss.bias_learning_rate,
                "weight_decay": recipe.loss.bias_weight_decay,
            }
        )
    if training.optimizer == "adamw":
        return AdamW(groups, lr=training.learning_rate, weight_decay=training.weight_decay)
    return SGD(groups, lr=training.learning_rate, momentum=training.momentum, weight_decay=training.weight_decay)


def schedule(training: Training, steps: int) -> Callable[[int], float]:
    """The factor on the learning rate at each step, for `steps` steps an epoch."""
    warmup, total = training.warmup_epochs * steps, training.epochs * steps

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if training.schedule == "constant":
            return 1.0
        return (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2

    return factor
