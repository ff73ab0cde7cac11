"""The recipe: everything that determines a result, and nothing else.

Two recipes with equal fields train the same model; what is not here (machine,
worker count, retries) may change how long that takes, and by rounding the last digits:
threads and processors add in another order. They are recorded as provenance.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from trainers import catalogue
from trainers.backbones import Backbone
from trainers.datasets import Dataset
from trainers.losses import Loss
from trainers.plugin import Frozen, Plugin

TENTH = 0.1
"""What the step schedule leaves of the learning rate, unless asked otherwise."""


class Training(Frozen):
    """How a network is trained, the same for every axis value unless overridden.

    Defaults follow arXiv 2505.05813 (SGD with momentum 0.9, decay 5e-4, cosine
    schedule, batch 128, no augmentation) where it states a value.
    """

    epochs: int = Field(default=100, ge=1)
    """Passes over the training images."""
    batch_size: int = Field(default=128, ge=2)
    """Images per step."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Stochastic gradient descent with momentum, or AdamW."""
    learning_rate: float = Field(default=0.01, gt=0, le=1e30)
    """At most what a step in float32 can hold."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """SGD's momentum; AdamW uses its betas (0.9, 0.999)."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """Of the network and the classifier. The bias has its own, in the loss."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """Per step: cosine from the learning rate to 0, times `step_factor` after each of `milestones`, or no change."""
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.75)
    """Where the step schedule steps, as shares of `epochs` (ResNet on CIFAR: 0.5 and 0.75)."""
    step_factor: float = Field(default=TENTH, gt=0, le=1, exclude_if=lambda factor: factor == TENTH)
    """By which the step schedule multiplies the learning rate; arXiv 2505.05813's `SOTA` setting has 0.2 at 0.3, 0.6
    and 0.8. Left out of the identity where it is 0.1, as `precision` is where it is `float32`."""
    warmup_epochs: int = Field(default=0, ge=0)
    """Linear warm-up from 0, counted within `epochs`."""
    augmentation: tuple[Literal["crop", "flip", "cutout", "rand_augment"], ...] = ()
    """In this order. `crop`: a random crop after padding by an eighth of the side (4 at 32); `flip`:
    horizontal; `cutout`: a square of zeros, a quarter of the side; `rand_augment`: 2 operations at
    magnitude 9. arXiv 2505.05813 has crop and flip for its `SOTA` setting."""
    mixing: tuple[Literal["mixup", "cutmix"], ...] = ()
    """Mix the images of every batch, by one of these at random; arXiv 2505.05813's `MIX` has both,
    with alpha 0.8 for mixup and 1.0 for cutmix, as here."""
    label_noise: float = Field(default=0.0, ge=0, le=1)
    """Share of training labels replaced by another class, drawn once from (dataset, seed). Those of the validation
    split, which is cut from the same images, are replaced, too; those of the test split never are."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Evaluate an exponential moving average of the weights with this decay a step; 0 is none. The decay warms up as in
    timm: after n steps it is at most 1 - (1 + n)^(-2/3)."""
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        default="float32", exclude_if=lambda precision: precision == "float32"
    )
    """Of products and convolutions in training: as they are, or on GPUs from factors rounded to 10 bits, or with
    weights and features of 7 bits by torch's autocast. Losses, weights and every evaluation are float32. Left out of
    the identity where it is `float32`, so that cells from before this field exist go on being the same."""
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the training split held out to choose a threshold a user can deploy: about this share of each class, one
    image at least of a class of two or more, and never its last."""

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Training:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs}) must be below epochs ({self.epochs})")
        return self


def _resolved(axis: catalogue.Axis) -> BeforeValidator:
    def resolve(value: Any) -> Plugin:
        if isinstance(value, Plugin):
            return value
        if isinstance(value, str):
            return catalogue.resolve(axis, value)
        if not (isinstance(value, dict) and isinstance(value.get("name"), str)):
            raise ValueError("a plug-in is a name, or a mapping with a 'name' and parameters")  # noqa: TRY004 - pydantic's
        parameters: dict[str, Any] = {**value}
        return catalogue.resolve(axis, parameters.pop("name"), parameters)

    return BeforeValidator(resolve)


class Recipe(Frozen):
    """One model: a loss, a backbone, a dataset, a seed, and how to train."""

    loss: Annotated[SerializeAsAny[Loss], _resolved("losses")]
    backbone: Annotated[SerializeAsAny[Backbone], _resolved("backbones")]
    dataset: Annotated[SerializeAsAny[Dataset], _resolved("datasets")]
    seed: int = Field(ge=0)
    training: Training = Training()
    scored_on: Literal["test", "validation"] = Field(default="test", exclude_if=lambda split: split == "test")
    """`validation` for a trial, by which a recipe is chosen: its test split is not looked at. Left out of the
    identity where it is `test`, so that cells from before this field exist go on being the same."""
    data_digest: str | None = Field(default=None, pattern="^[0-9a-f]{64}$", exclude_if=lambda digest: digest is None)
    """What the dataset holds, where its name does not say so (`datasets.content`). Nothing is drawn from it, so that
    seeds pair across the states of a folder. Left out of the identity of official datasets."""
