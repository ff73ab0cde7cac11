"""Train one model from one recipe and evaluate it. The loop is `_trained`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from trainers.allocator import freed_memory_kept
from trainers.brief import Brief, Pace
from trainers.checkpoint import Checkpointing, Progress
from trainers.classifier import Classifier
from trainers.compilation import Compiled, worthwhile
from trainers.data import Batch, Splits, batches, split
from trainers.datasets import TrainTest
from trainers.evaluation import Evaluation
from trainers.inference import evaluate
from trainers.losses import Seen, one_per_sample
from trainers.metrics import measure, under_shift
from trainers.metrics.uniform import sample_wise_accuracy, uniform_accuracy
from trainers.observation import look_back, observe
from trainers.optimisation import Average, build_optimizer, schedule
from trainers.parallel import ALONE, World
from trainers.recipe import Recipe
from trainers.reproducibility import deterministic
from trainers.seeds import derive
from trainers.weights import MissingWeightsError, Weights

DATA = Path("data")
"""The folder of data and weights where nobody names one."""

Observer = Callable[[int, dict[str, float]], None]
"""Called after each epoch with its number, counted from 1, and its metrics."""


class DivergedError(ArithmeticError):
    """Loss, weights or scores became NaN or infinite in `epoch`, counted from 1."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"loss, weights or scores became NaN or infinite in epoch {epoch}")
        self.epoch = epoch


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained model and its evaluation.

    `metrics` have the names of the results table; `history` has one entry per epoch.
    """

    evaluation: Evaluation
    """Scores on the test split."""
    validation: Evaluation | None
    """Scores on the validation split, if there is one."""
    temperature: float | None
    """The temperature that calibrates softmax on the validation split."""
    classes: int
    """Number of classes that the model was trained on."""
    class_names: tuple[str, ...]
    """Their names, in the order of their numbers; empty where the data have none."""
    metrics: dict[str, float | None]
    shifts: dict[str, dict[str, float]]
    """Accuracies under each shift of the test set, by its name."""
    learned_bias: list[float]
    bias: list[float]
    """The bias, learnt or fixed, on the scale of the evaluation's scores: none, one, or one per class."""
    sigmoid: bool
    """Whether sigmoid(score - bias) is a probability under this loss, and the evaluation holds such scores."""
    history: list[dict[str, float]]
    parameters: int | None
    train_seconds: float
    images_per_second: float | None
    model: Classifier | None
    """None, as the two numbers above, where a command trained it."""
    example: NDArray[np.float32]
    """The first two test images as the model sees them, (2, C, H, W)."""
    mean: NDArray[np.float32]
    """Of the training pixels, per channel (C,); images are normalised by it and `deviation`."""
    deviation: NDArray[np.float32]
    collapse: str | None = None
    """Why the model counts as collapsed, judged on its training images; None if it does not."""
    certification: Evaluation | None = None
    """Scores of the test images that are kept apart, if there are any."""
    resumed_from: tuple[int, int] | None = None
    """The epoch, counted from 1, and the number of its batches that an earlier attempt had done."""
    compiled: bool = False
    """Whether the backbone was compiled: training was long enough, and torch could."""
    step_seconds: tuple[float, ...] = ()
    """The seconds of each step of this attempt, if training is cut short."""


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
    data_dir: Path = DATA,
    brief: Brief | None = None,
) -> Fit:
    """Train the recipe's model on the training split and evaluate it on the test split.

    Args:
        recipe: What to train.
        data: Both splits of the recipe's dataset; samples of its `unknowns` are loaded if they are not there.
        device: Where to train.
        observer: Called after each epoch of this attempt, in every process.
        checkpointing: Where an earlier attempt's state is, and when this one saves its own.
        world: The processes that train this model together; each returns the same, except for the seconds.
        data_dir: The folder to which a file of pretrained weights is relative, and which holds the data.
        brief: Cuts training and evaluation short, for a rehearsal.

    Raises:
        DivergedError: Loss, weights or scores became NaN or infinite.
        MissingWeightsError: The backbone's weights are not here, or are not those of the recipe.
        StoppedError: Training was asked to stop; its state is saved.
        ValueError: The recipe does not fit the data or the number of processes.

    Examples:
        >>> from pathlib import Path
        >>> from trainers.fit import fit
        >>> from trainers.recipe import Recipe, Training
        >>> training = Training(epochs=1, batch_size=64, learning_rate=0.1)
        >>> recipe = Recipe(loss="bce_unified", backbone="resnet8", dataset="digits", seed=0, training=training)
        >>> found = fit(recipe, recipe.dataset.load(Path("data")))
        >>> found.metrics["sample_wise_accuracy"] > 0.5  # chance is 0.1
        True
        >>> found.evaluation.positive.shape, len(found.history)  # one score per test image, one entry per epoch
        ((797,), 1)
    """
    world.check(recipe.training.batch_size, recipe.training.accumulation)
    device = torch.device(device)
    weights = _weights(recipe, data_dir)
    # The loss is not part of this seed, so that all losses start from the same weights.
    seed = derive("weights", recipe.backbone.model_dump(mode="json"), recipe.seed)
    with deterministic(seed, device, tf32=recipe.training.precision == "tf32"), freed_memory_kept():
        splits = split(recipe.dataset.with_unknown(data, data_dir), recipe, device, weights and weights.preprocessing)
        model = Classifier(recipe.backbone, recipe.loss, splits.shape, splits.classes, weights)
        model = model.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        quick = worthwhile(recipe.training, len(splits.train), splits.shape) and (brief is None or brief.compiles)
        objective = Objective(model, recipe, _network(model, splits, world, compiles=quick), _counts(splits))
        splits = brief.cut(splits) if brief else splits
        pace = Pace(brief, device)
        progress, model = _trained(
            objective, recipe, splits, pace, observer=observer, checkpointing=checkpointing, world=world
        )
        seconds = progress.seconds
        trained = look_back(model, recipe, brief.some(splits.train) if brief else splits.train)
        observed, apart = observe(model, recipe, splits, trained)
    # Finite weights can still give infinite scores.
    if not all(_finite(split) for split in (observed.test, observed.validation, apart) if split):
        raise DivergedError(recipe.training.epochs)
    steps = pace.steps(len(splits.train) // recipe.training.batch_size)
    threshold = uniform_accuracy(observed.test.positive, observed.test.rival).threshold
    validation = observed.validation
    chosen = validation and uniform_accuracy(validation.positive, validation.rival).threshold
    tested = data.train.groups if recipe.scored_on == "validation" else data.test.groups
    return Fit(
        evaluation=_grouped(observed.test, tested),
        validation=observed.validation and _grouped(observed.validation, data.train.groups),
        certification=apart and _grouped(apart, tested),
        temperature=None if math.isnan(observed.temperature) else observed.temperature,
        classes=splits.classes,
        class_names=_known(data.names, recipe),
        metrics=measure(observed),
        shifts={name: under_shift(found, threshold, chosen) for name, found in (observed.shifted or {}).items()},
        learned_bias=model.learned_bias(),
        bias=list(observed.bias),
        sigmoid=observed.sigmoid,
        history=progress.history,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        train_seconds=seconds,
        images_per_second=len(progress.history) * steps * recipe.training.batch_size / seconds,
        model=model,
        example=splits.test.images(slice(0, 2)).contiguous().cpu().numpy(),
        mean=splits.test.mean.flatten().cpu().numpy(),
        deviation=splits.test.deviation.flatten().cpu().numpy(),
        collapse=trained.collapse,
        resumed_from=progress.resumed_from,
        compiled=isinstance(objective.network, Compiled) and objective.network.done,
        step_seconds=tuple(pace.seconds),
    )


def _grouped(rows: Evaluation, groups: NDArray[np.int64] | None) -> Evaluation:
    """The rows with the groups of their samples, which are positions in a split of these groups (n,)."""
    return rows if groups is None else replace(rows, group=groups[rows.sample].astype(np.int32))


def _known(names: tuple[str, ...], recipe: Recipe) -> tuple[str, ...]:
    """The names of the classes that are not held out."""
    return tuple(name for number, name in enumerate(names) if number not in recipe.dataset.hold_out)


def _weights(recipe: Recipe, data_dir: Path) -> Weights | None:
    """The file of the backbone's weights, checked against the recipe."""
    found = recipe.backbone.pretrained(data_dir)
    if found and recipe.weights_digest not in {None, found.sha256}:
        raise MissingWeightsError(
            f"the weights '{found.name}' have changed since the cell was planned: put the old ones back or launch again"
        )
    return found


def _counts(splits: Splits) -> Tensor:
    """The training images of each class, (K,)."""
    labels = splits.train.labels
    return torch.bincount(labels.cpu(), minlength=splits.classes).to(labels.device)


def _network(model: Classifier, splits: Splits, world: World, *, compiles: bool) -> nn.Module:
    """The network that computes features in training: the backbone, compiled if that pays."""
    # Several processes average gradients during the backward pass; a compiled backbone would leave no gap for that.
    if world.size > 1 or not compiles:
        return model.backbone
    return Compiled(model.backbone, splits.train.labels.device)


def _trained(
    objective: Objective,
    recipe: Recipe,
    splits: Splits,
    pace: Pace,
    *,
    observer: Observer,
    checkpointing: Checkpointing | None,
    world: World,
) -> tuple[Progress, Classifier]:
    """Train the remaining epochs; return the progress and the model to evaluate, the average if there is one."""
    model = objective.model
    device = splits.train.labels.device
    steps = len(splits.train) // recipe.training.batch_size
    optimizer = build_optimizer(model, recipe)
    factor = schedule(recipe.training, steps)
    scheduler = LambdaLR(optimizer, factor)
    average = Average(model, recipe.training.ema) if recipe.training.ema else None
    final = model if average is None else cast("Classifier", average.module)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    parts |= {} if average is None else {"average": average}
    progress = Progress(parts, recipe, device, world.shared(checkpointing, device))
    progress.resume()
    loss_of = world.joined(objective, device)
    for epoch in range(progress.epoch, pace.epochs(recipe.training.epochs) + 1):
        model.train()
        objective.epoch = epoch
        for batch in pace.over(batches(splits.train, recipe, epoch, progress.place)):
            optimizer.zero_grad(set_to_none=True)
            loss = _descend(loss_of, world.share(batch), recipe.training.accumulation)
            if recipe.training.gradient_clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.training.gradient_clip)
            optimizer.step()
            scheduler.step()
            if average is not None:
                average.update_parameters(model)
            progress.advance(batch.after, world.mean(loss))
        mean = float(progress.mean_loss())
        # A finite loss does not prove that the weights are finite: the last step may have ruined them.
        if not (math.isfinite(mean) and all(bool(weights.isfinite().all()) for weights in model.parameters())):
            raise DivergedError(epoch)
        world.agree(final)
        rate = recipe.training.learning_rate * factor((epoch - 1) * steps)
        figures = {"train_loss": mean, "learning_rate": rate, **_validate(final, splits)}
        observer(epoch, figures)
        progress.complete(figures)
    return progress, final


def _descend(loss_of: nn.Module, batch: Batch, parts: int) -> Tensor:
    """Add the gradients of a batch's mean loss, part by part; return that loss."""
    losses: list[Tensor] = []
    for part in batch.parts(parts):
        loss = loss_of(part)
        (loss if parts == 1 else loss / parts).backward()
        losses.append(loss.detach())
    return losses[0] if parts == 1 else torch.stack(losses).mean()


class Objective(nn.Module):
    """The mean loss of a batch as one module, which is what `DistributedDataParallel` needs.

    Args:
        model: The model to train.
        recipe: Gives the loss, and the precision in which features are computed.
        network: Computes the features: the model's backbone, compiled or not.
        class_counts: The training images of each class, (K,).
    """

    epoch = 0

    def __init__(self, model: Classifier, recipe: Recipe, network: nn.Module, class_counts: Tensor) -> None:
        super().__init__()
        self.model = model
        self.loss = recipe.loss
        self.network = network
        self._class_counts = class_counts
        self._bfloat16 = recipe.training.precision == "bfloat16"

    def forward(self, batch: Batch) -> Tensor:
        """The mean loss of a batch, a scalar."""
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=self._bfloat16):
            features = self.network(batch.images)
        return batch.loss(partial(self._per_sample, features.float())).mean()

    def _per_sample(self, features: Tensor, labels: Tensor) -> Tensor:
        seen = Seen(self._class_counts, features, self.epoch)
        return one_per_sample(self.loss, self.model.logits(features, labels), labels, seen)


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
