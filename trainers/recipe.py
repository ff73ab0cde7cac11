"""The recipe: everything that determines a result, and nothing else.

Two recipes with equal fields train the same model. What is not here (machine, number of
workers, retries) can change only the time, and the last digits, since threads and processors
add in another order. It is recorded as provenance.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, SerializeAsAny, model_serializer, model_validator

from trainers import catalogue
from trainers.backbones import Backbone
from trainers.commands import Trainer, named
from trainers.datasets import Dataset
from trainers.losses import Loss
from trainers.plugin import Frozen

TENTH = 0.1
"""Default factor of the step schedule."""


class Training(Frozen):
    """How a network is trained: the same for all losses, backbones and datasets unless overridden.

    Defaults are those of arXiv 2505.05813 where it states a value: SGD with momentum 0.9,
    weight decay 5e-4, cosine schedule, batch size 128, no augmentation.
    """

    epochs: int = Field(default=100, ge=1)
    """Passes over the training images."""
    batch_size: int = Field(default=128, ge=2)
    """Images per step."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Stochastic gradient descent with momentum, or AdamW."""
    learning_rate: float = Field(default=0.01, gt=0, le=1e30)
    """The limit keeps a step within the range of float32."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD; AdamW always has betas (0.9, 0.999)."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """Weight decay of the backbone and the class weights. The bias has its own, in the loss."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """`cosine`: from the learning rate to 0, updated every step; `step`: times `step_factor` at each milestone."""
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.75)
    """Where the step schedule steps, as fractions of `epochs` (ResNet on CIFAR: 0.5 and 0.75)."""
    step_factor: float = Field(default=TENTH, gt=0, le=1, exclude_if=lambda factor: factor == TENTH)
    """Factor of the step schedule; arXiv 2505.05813's `SOTA` recipe has 0.2 at 0.3, 0.6 and 0.8. Left out of the
    cell's id at its default, as `precision` is, so that the ids of older cells do not change."""
    warmup_epochs: int = Field(default=0, ge=0)
    """Epochs of linear warm-up from 0; they are part of `epochs`."""
    augmentation: tuple[Literal["crop", "flip", "cutout", "rand_augment", "resized_crop", "rotate", "jitter"], ...] = ()
    """Applied in this order. `crop`: a random crop after padding by an eighth of the side (4 pixels at 32);
    `flip`: horizontal; `cutout`: a square of zeros with a quarter of the side; `rand_augment`: 2 operations
    at magnitude 9; `resized_crop`: a crop of 8 to 100 % of the area, scaled to the whole; `rotate`: by up to 15
    degrees; `jitter`: brightness, contrast and saturation by up to 40 %. arXiv 2505.05813's `SOTA` recipe has
    crop and flip."""
    mixing: tuple[Literal["mixup", "cutmix"], ...] = ()
    """Each batch is mixed by one of these, chosen at random. arXiv 2505.05813's `MIX` has both, with
    alpha 0.8 for mixup and 1.0 for cutmix, as here."""
    label_noise: float = Field(default=0.0, ge=0, le=1)
    """Fraction of training labels replaced by another class, drawn once from (dataset, seed). This includes the
    labels of the validation split, which is cut from the training images, but never those of the test split."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay per step of an exponential moving average of the weights, which is then evaluated; 0 means none. The decay
    warms up as in timm: after n steps it is at most 1 - (1 + n)^(-2/3)."""
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        default="float32", exclude_if=lambda precision: precision == "float32"
    )
    """Precision of matrix products and convolutions in training. `tf32` rounds factors to 10 bits, on GPUs only;
    `bfloat16` is torch's autocast, with 7 bits. The loss, the weights and every evaluation are in float32. Left out
    of the cell's id at its default, so that the ids of older cells do not change."""
    head_learning_rate: float = Field(default=1.0, gt=0, exclude_if=lambda factor: factor == 1)
    """Factor on the learning rate of the class weights, which are new where the backbone has pretrained weights. Left
    out of the cell's id at its default, as `precision` is and as the next four fields are."""
    gradient_clip: float | None = Field(default=None, gt=0, exclude_if=lambda clip: clip is None)
    """Longest gradient of a step, over all weights together; a longer one is scaled to it."""
    accumulation: int = Field(default=1, ge=1, exclude_if=lambda parts: parts == 1)
    """Parts into which a batch is divided; their gradients are added up. It saves memory: a step still sees
    `batch_size` images, but batch normalisation sees one part at a time."""
    nesterov: bool = Field(default=False, exclude_if=lambda nesterov: not nesterov)
    """Nesterov's momentum; for SGD with momentum."""
    decay: Literal["all", "weights"] = Field(default="all", exclude_if=lambda decay: decay == "all")
    """What decays: `weights` leaves out norms and biases, all parameters that are vectors."""
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Fraction of the training split held out to choose a threshold that can be deployed: about this fraction of each
    class, at least one image if the class has two or more, and never its last one."""

    @property
    def stated(self) -> dict[str, Any]:
        """Every field by its name."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Training:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs}) must be below epochs ({self.epochs})")
        return self

    @model_validator(mode="after")
    def _steps_fit(self) -> Training:
        if self.nesterov and not (self.optimizer == "sgd" and self.momentum):
            raise ValueError("'nesterov' is for 'optimizer: sgd' with a 'momentum' above 0")
        if self.batch_size % self.accumulation or self.batch_size < 2 * self.accumulation:
            raise ValueError(
                f"'accumulation' ({self.accumulation}) must divide batch_size ({self.batch_size}) into parts of at "
                "least 2 images"
            )
        return self


class Epochs(Training):
    """What a recipe says to a command: how many epochs to train for, if it asks. All else is the command's."""

    epochs: int = Field(default=1, ge=1)
    """As `{epochs}` says to the command, and as progress is counted."""

    @model_validator(mode="before")
    @classmethod
    def _is_all(cls, values: Any) -> Any:
        if isinstance(values, dict) and (others := [name for name in values if name != "epochs"]):
            raise ValueError(
                f"'{others[0]}' is read by the program's own training loop only: with a 'trainer', write it into the "
                "command, or as a parameter of a loss, backbone or dataset"
            )
        return values

    @property
    def stated(self) -> dict[str, Any]:
        """The number of epochs alone."""
        return {"epochs": self.epochs}

    @model_serializer(mode="plain")
    def _only(self) -> dict[str, Any]:
        return self.stated


def _resolved(axis: catalogue.Axis) -> BeforeValidator:
    return BeforeValidator(partial(catalogue.chosen, axis))


def _words(trainer: Trainer | None) -> dict[str, Any] | None:
    """What of a command determines a result."""
    return trainer and {"command": list(trainer.command)}


class Recipe(Frozen):
    """One model: a loss, a backbone, a dataset, a seed, and how to train.

    Examples:
        >>> from trainers.recipe import Recipe
        >>> loss = {"name": "bce_unified", "smoothing": 0.1}
        >>> recipe = Recipe(loss=loss, backbone="resnet8", dataset="digits", seed=0, training={"epochs": 5})
        >>> recipe.loss.smoothing, recipe.training.epochs, recipe.training.batch_size  # the last is a default
        (0.1, 5, 128)
    """

    loss: Annotated[SerializeAsAny[Loss], _resolved("losses")]
    backbone: Annotated[SerializeAsAny[Backbone], _resolved("backbones")]
    dataset: Annotated[SerializeAsAny[Dataset], _resolved("datasets")]
    seed: int = Field(ge=0)
    training: SerializeAsAny[Training] = Training()
    scored_on: Literal["test", "validation"] = Field(default="test", exclude_if=lambda split: split == "test")
    """`validation` for a tuning trial, which never sees the test split. Left out of the cell's id at its default, so
    that the ids of older cells do not change."""
    certify: float = Field(default=0.0, ge=0, lt=1, exclude_if=lambda share: share == 0)
    """Share of the test images that is kept apart: scored like the others, but not part of any figure. The same for
    every loss, backbone and seed. Left out of the cell's id at its default."""
    data_digest: str | None = Field(default=None, pattern="^[0-9a-f]{64}$", exclude_if=lambda digest: digest is None)
    """Digest of the data, if the dataset's name does not fix its content (`datasets.content`). Random draws do not
    depend on it, so seeds still pair after a folder has changed. Left out of the cell's id for official datasets."""
    weights_digest: str | None = Field(default=None, pattern="^[0-9a-f]{64}$", exclude_if=lambda digest: digest is None)
    """SHA-256 of the file of the backbone's weights, if it has any; as `data_digest`."""
    trainer: Annotated[Trainer | None, PlainSerializer(_words)] = Field(
        default=None, exclude_if=lambda trainer: trainer is None
    )
    """The command that trains it, instead of `trainers.fit`; only its words count. Left out of the cell's id where
    there is none."""

    @model_validator(mode="before")
    @classmethod
    def _axes_of_a_command_are_names(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("trainer") is None:
            return values
        axes: dict[str, catalogue.Axis] = {"loss": "losses", "backbone": "backbones", "dataset": "datasets"}
        training = values.get("training") or {}
        return {
            **values,
            **{name: named(axis, values[name]) for name, axis in axes.items() if name in values},
            "training": training if isinstance(training, Training) else Epochs.model_validate(training),
        }
