"""The recipe: everything that determines a result, and nothing else.

Two recipes with equal fields train the same model; what is not here (machine,
worker count, retries) may change how long that takes, never what comes out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from trainers import catalogue
from trainers.backbones import Backbone
from trainers.datasets import Dataset
from trainers.losses import Loss
from trainers.plugin import Frozen, Plugin


class Training(Frozen):
    """How a network is trained, the same for every axis value unless overridden.

    Defaults follow arXiv 2505.05813 (SGD with momentum 0.9, decay 5e-4, cosine
    schedule, batch 128, no augmentation) where it states a value.
    """

    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=128, ge=2)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """SGD's momentum; AdamW uses its betas (0.9, 0.999)."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """Of the network and the classifier. The bias has its own, in the loss."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Per step: cosine from the learning rate to 0, or no change."""
    warmup_epochs: int = Field(default=0, ge=0)
    """Linear warm-up from 0, counted within `epochs`."""
    augmentation: tuple[Literal["crop", "flip"], ...] = ()
    """`crop`: a random crop after padding by an eighth of the side (4 at 32); `flip`: horizontal."""
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the training split held out to choose a threshold a user can deploy."""

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
        parameters = dict(value)
        return catalogue.resolve(axis, parameters.pop("name"), parameters)

    return BeforeValidator(resolve)


class Recipe(Frozen):
    """One model: a loss, a backbone, a dataset, a seed, and how to train."""

    loss: Annotated[SerializeAsAny[Loss], _resolved("losses")]
    backbone: Annotated[SerializeAsAny[Backbone], _resolved("backbones")]
    dataset: Annotated[SerializeAsAny[Dataset], _resolved("datasets")]
    seed: int = Field(ge=0)
    training: Training = Training()
