"""Train one model from one recipe and evaluate it. The loop is `_trained`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from trainers.allocator import freed_memory_kept
from trainers.checkpoint import Checkpointing, Progress
from trainers.classifier import Classifier
from trainers.compilation import Compiled, worthwhile
from trainers.data import Batch, Resident, Splits, Verify, batches, shifted, split
from trainers.datasets import TrainTest
from trainers.division import drawn_from
from trainers.evaluation import Evaluation
from trainers.inference import TemperatureSearch, by_probability, evaluate, keeping, measuring, spreading
from trainers.losses import one_per_sample
from trainers.metrics import Observed, measure, under_shift
from trainers.metrics.chance import Spread, collapse, looked_at
from trainers.metrics.features import Geometry
from trainers.metrics.uniform import sample_wise_accuracy, uniform_accuracy
from trainers.metrics.verification import cosine
from trainers.optimisation import Average, build_optimizer, schedule
from trainers.parallel import ALONE, World
from trainers.recipe import Recipe
from trainers.reproducibility import deterministic
from trainers.seeds import derive, stable_random

Observer = Callable[[int, dict[str, float]], None]
"""Told after each epoch: the number of epochs done, and their figures."""


class DivergedError(ArithmeticError):
    """Loss, weights or scores became NaN or infinite in `epoch`, counted from 1."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"loss, weights or scores became NaN or infinite in epoch {epoch}")
        self.epoch = epoch


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained model's account of itself.

    `metrics` are named as in the results table; `history` has one entry an epoch.
    """

    evaluation: Evaluation
    """Of the test split."""
    validation: Evaluation | None
    """Of the validation split, where there is one."""
    temperature: float | None
    """By which softmax is calibrated on the validation split."""
    classes: int
    """How many there are to choose from."""
    metrics: dict[str, float | None]
    shifts: dict[str, dict[str, float]]
    """Accuracies under each shift of the test set, by its name."""
    learned_bias: list[float]
    history: list[dict[str, float]]
    parameters: int
    train_seconds: float
    images_per_second: float
    model: Classifier
    example: NDArray[np.float32]
    """The first two test images as the model sees them, (2, C, H, W)."""
    collapse: str | None = None
    """Why the model counts as collapsed, by its training images; None where it does not."""
    resumed_from: tuple[int, int] | None = None
    """The epoch, counted from 1, and how many of its batches an earlier attempt had done."""
    compiled: bool = False
    """Whether the training was long enough for the backbone to be compiled, and it could be."""


def _silent(epoch: int, figures: dict[str, float]) -> None:
    del epoch, figures


def fit(
    recipe: Recipe,
    data: TrainTest,
    *,
    device: torch.device | str = "cpu",
    observer: Observer = _silent,
    checkpointing: Checkpointing | None = None,
    world: World = ALONE,
) -> Fit:
    """Train the recipe's model on the training split and evaluate it on the test split.

    Args:
        recipe: What to train.
        data: Both splits of the recipe's dataset.
        device: Where to train.
        observer: Told after each epoch of this attempt, in every process.
        checkpointing: Where an earlier attempt's state lies, and when this one saves its own.
        world: The processes that train this model together; each returns the same but for the seconds.

    Raises:
        DivergedError: Loss, weights or scores became NaN or infinite.
        StoppedError: It was asked to stop; its state is on the shelf.
        ValueError: The recipe does not fit the data, or the world.
    """
    world.check(recipe.training.batch_size)
    device = torch.device(device)
    # The loss is no part of this seed: all losses start from the same weights.
    seed = derive("weights", recipe.backbone.model_dump(mode="json"), recipe.seed)
    with deterministic(seed, device, tf32=recipe.training.precision == "tf32"), freed_memory_kept():
        splits = split(data, recipe, device)
        model = Classifier(recipe.backbone, recipe.loss, splits.shape, splits.classes)
        model = model.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        objective = Objective(model, recipe, _network(model, recipe, splits, world))
        progress, model = _trained(
            objective, recipe, splits, observer=observer, checkpointing=checkpointing, world=world
        )
        seconds = progress.seconds
        observed, temperature = _observe(model, recipe, splits)
        collapsed = _collapse(model, recipe, splits.train)
    if not all(_finite(split) for split in (observed.test, observed.validation) if split):
        raise DivergedError(recipe.training.epochs)
    steps = len(splits.train) // recipe.training.batch_size
    threshold = uniform_accuracy(observed.test.positive, observed.test.rival).threshold
    return Fit(
        evaluation=observed.test,
        validation=observed.validation,
        temperature=None if math.isnan(temperature) else temperature,
        classes=splits.classes,
        metrics=measure(observed),
        shifts={name: under_shift(found, threshold) for name, found in (observed.shifted or {}).items()},
        learned_bias=model.learned_bias(),
        history=progress.history,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        train_seconds=seconds,
        images_per_second=len(progress.history) * steps * recipe.training.batch_size / seconds,
        model=model,
        example=splits.test.images(slice(0, 2)).contiguous().cpu().numpy(),
        collapse=collapsed,
        resumed_from=progress.resumed_from,
        compiled=isinstance(objective.network, Compiled) and objective.network.done,
    )


def _network(model: Classifier, recipe: Recipe, splits: Splits, world: World) -> nn.Module:
    """What makes features in training: the backbone, compiled if that pays."""
    # Several processes average gradients while the backward pass runs, which one compiled piece would not let them.
    if world.size > 1 or not worthwhile(recipe.training, len(splits.train), splits.shape):
        return model.backbone
    return Compiled(model.backbone, splits.train.labels.device)


def _trained(
    objective: Objective,
    recipe: Recipe,
    splits: Splits,
    *,
    observer: Observer,
    checkpointing: Checkpointing | None,
    world: World,
) -> tuple[Progress, Classifier]:
    """All epochs that are left; returns how they went, and the model to evaluate: the average, where one is kept."""
    model, device = objective.model, splits.train.labels.device
    steps = len(splits.train) // recipe.training.batch_size
    optimizer, factor = build_optimizer(model, recipe), schedule(recipe.training, steps)
    scheduler = LambdaLR(optimizer, factor)
    average = Average(model, recipe.training.ema) if recipe.training.ema else None
    final = model if average is None else cast("Classifier", average.module)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    parts |= {} if average is None else {"average": average}
    progress = Progress(parts, recipe, device, world.shared(checkpointing, device))
    progress.resume()
    loss_of = world.joined(objective, device)
    for epoch in range(progress.epoch, recipe.training.epochs + 1):
        model.train()
        for batch in batches(splits.train, recipe, epoch, progress.place):
            loss = loss_of(world.share(batch))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
            if average is not None:
                average.update_parameters(model)
            progress.advance(batch.after, world.mean(loss.detach()))
        mean = float(progress.mean_loss())
        # A finite loss does not vouch for the weights: the last step may have thrown them away.
        if not (math.isfinite(mean) and all(bool(weights.isfinite().all()) for weights in model.parameters())):
            raise DivergedError(epoch)
        world.agree(final)
        rate = recipe.training.learning_rate * factor((epoch - 1) * steps)
        figures = {"train_loss": mean, "learning_rate": rate, **_validate(final, splits)}
        observer(epoch, figures)
        progress.complete(figures)
    return progress, final


class Objective(nn.Module):
    """The mean loss of a batch, as one module, so that several processes can train it together.

    Args:
        model: Whose loss.
        recipe: Which loss, and with which precision features are made for it.
        network: What makes them: the model's backbone or, compiled, the same.
    """

    def __init__(self, model: Classifier, recipe: Recipe, network: nn.Module) -> None:
        super().__init__()
        self.model, self.loss, self.network = model, recipe.loss, network
        self._bfloat16 = recipe.training.precision == "bfloat16"

    def forward(self, batch: Batch) -> Tensor:
        """A batch to a number."""
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=self._bfloat16):
            features = self.network(batch.images)
        return batch.loss(partial(self._per_sample, features.float())).mean()

    def _per_sample(self, features: Tensor, labels: Tensor) -> Tensor:
        return one_per_sample(self.loss, self.model.logits(features, labels), labels)


def _validate(model: Classifier, splits: Splits) -> dict[str, float]:
    figures: dict[str, float] = {}
    if model.bias is not None:
        figures["learned_bias"] = float(model.bias.detach().mean())
    if len(splits.validation):
        found = evaluate(model, splits.validation)
        best = uniform_accuracy(found.positive, found.rival)
        figures["validation_sample_wise_accuracy"] = sample_wise_accuracy(found.positive, found.rival)
        figures["validation_uniform_accuracy"] = best.accuracy
        if not math.isnan(best.threshold):
            figures["validation_unified_threshold"] = best.threshold
    return figures


def _finite(evaluation: Evaluation) -> bool:
    kept = (evaluation.positive, evaluation.rival, evaluation.scores)
    return all(bool(np.isfinite(scores).all()) for scores in kept if scores is not None)


def _observe(model: Classifier, recipe: Recipe, splits: Splits) -> tuple[Observed, float]:
    """Everything the measures need, one pass a split (two over validation, to choose T and to use it), and T."""
    geometry, search = Geometry(splits.classes, model.width), TemperatureSearch()
    temperature = math.nan
    if len(splits.validation):
        evaluate(model, splits.validation, witnesses=[search])
        temperature = search.temperatures.best()
    look = partial(evaluate, model, temperature=1.0 if math.isnan(temperature) else temperature)
    if recipe.loss.calibrated:
        look = partial(by_probability, look, temperature)
    observed = Observed(
        test=look(splits.test, odds=1.0, witnesses=[measuring(geometry)]),
        learned_bias=model.learned_bias(),
        validation=look(splits.validation, odds=1.0) if len(splits.validation) else None,
        temperature=1.0 if recipe.loss.calibrated else temperature,
        geometry=geometry,
        weight=model.class_weights().detach().double().cpu().numpy(),
        unknown=look(_unlabelled(splits.unknown)) if len(splits.unknown) else None,
        similarity=None if splits.verify is None else _similarity(model, splits.verify),
        genuine=None if splits.verify is None else splits.verify.genuine,
        shifted={name: look(copy) for name, copy in shifted(splits.test, recipe)},
    )
    return observed, temperature


def _collapse(model: Classifier, recipe: Recipe, train: Resident) -> str | None:
    """Why the model is no better than a guess on images and labels that it was trained on; None where it is."""
    draw = stable_random("chance", drawn_from(recipe.dataset), recipe.seed)
    rows = looked_at(train.labels.cpu().numpy(), draw)
    spread = Spread()
    found = evaluate(model, train.take(rows), witnesses=[spreading(spread)])
    return collapse(found.label, found.prediction, constant_features=spread.is_constant)


def _similarity(model: Classifier, verify: Verify) -> NDArray[np.float64]:
    kept: list[NDArray[np.float32]] = []
    evaluate(model, _unlabelled(verify.images), witnesses=[keeping(kept)])
    return cosine(np.concatenate(kept), verify.pairs)


def _unlabelled(unknown: Resident) -> Resident:
    """Held-out classes have no score of their own: labelled 0, only their top scores mean anything."""
    return replace(unknown, labels=torch.zeros_like(unknown.labels))
