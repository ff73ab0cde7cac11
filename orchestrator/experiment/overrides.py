"""Other values for some cells, and how a cell is trained once they are applied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import Field, ValidationError, ValidationInfo

from orchestrator.experiment import yaml_lines
from orchestrator.experiment.choices import trains_by_command
from orchestrator.experiment.claims import Where
from orchestrator.experiment.references import strangers
from orchestrator.experiment.resources import Resources
from orchestrator.experiment.tuning import Tuning, own_space
from trainers.losses import Loss
from trainers.plugin import Frozen
from trainers.recipe import Epochs, Training

TimeLimit = Annotated[float, Field(gt=0)]
"""Seconds after which an attempt at a cell is killed."""


class Override(Frozen):
    """Recipe fields, loss parameters, resources or a time limit for the selected cells; the last override wins."""

    where: Where
    """The cells that it applies to."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    """Fields of the recipe."""
    loss: dict[str, Any] = Field(default_factory=dict)
    """Parameters of the loss."""
    resources: Resources | None = None
    """What one of these cells occupies."""
    time_limit: TimeLimit | None = None
    """Seconds that one attempt at such a cell may take."""


class Settled(NamedTuple):
    """How the cells of one combination are trained, with all overrides applied."""

    loss: Loss
    training: Training
    resources: Resources
    time_limit: float | None


def given(loss: Loss, parameters: Mapping[str, Any]) -> Loss:
    """The loss with other values for some of its parameters.

    Raises:
        ValidationError: An unknown parameter or an invalid value.
    """
    if not parameters:
        return loss
    return type(loss).model_validate(loss.parameters | {**parameters})


def without_tuned(settled: Settled, tuning: Tuning | None) -> Settled:
    """The recipe with tuned values replaced by fixed ones, so that recipes can be compared before tuning."""
    if tuning is None:
        return settled
    sought = {name: domain.at(0.0) for name, domain in own_space(settled.loss, tuning).items()}
    shared = {name: value for name, value in sought.items() if name in tuning.shared}
    own = {name: value for name, value in sought.items() if name not in shared}
    loss = settled.loss.model_copy(update=own)
    training = settled.training.model_copy(update=shared)
    return settled._replace(loss=loss, training=training)


def applying(override: Override, info: ValidationInfo) -> Override:
    """Return the override if its labels exist and each of its fields is valid by itself."""
    found = [(("where", *rest), text) for rest, text in strangers(override.where, info)]
    training = Epochs if trains_by_command(info) else Training
    try:
        training.model_validate(override.recipe)
    except ValidationError as error:
        # Rules about several fields at once are checked after merging, in `_recipes_are_valid_and_distinct`.
        found += [(("recipe", *rest), text) for rest, text in yaml_lines.problems(error, training) if rest]
    if found:
        raise yaml_lines.nested(found)
    return override
