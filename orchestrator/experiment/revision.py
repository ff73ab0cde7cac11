"""An experiment as changed on the command line: axis values added or left out, other seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from orchestrator.errors import ExperimentError
from orchestrator.experiment import plain_yaml, yaml_lines
from orchestrator.experiment.choices import AXES, Choice, chosen
from orchestrator.experiment.claims import Axis, Claim, Where, unknown
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.questions import parts
from orchestrator.experiment.tuning import Tuning
from trainers.recipe import Training

OF_RECIPE = "recipe."
"""How a setting of `--set` begins."""


def revise(
    experiment: Experiment,
    named: Mapping[Axis, Sequence[str]],
    *,
    only: bool = False,
    seeds: Sequence[int] | int | None = None,
) -> Experiment:
    """The experiment with axis values added or, with `only`, narrowed to the named ones.

    A narrowed experiment loses the claims, overrides and tuned parameters that refer to what was left out.

    Raises:
        ExperimentError: An unknown name; the message names the option.
    """
    fields: dict[str, Any] = {name: getattr(experiment, name) for name in Experiment.model_fields}
    found: list[str] = []
    for axis, names in named.items():
        present = fields[AXES[axis]]
        by_command = experiment.trainer is not None
        try:
            if only:
                fields[AXES[axis]] = _narrowed(axis, present, names)
            else:
                fields[AXES[axis]] = _extended(axis, present, names, by_command=by_command)
        except ExperimentError as error:
            found += error.problems
    if found:
        raise ExperimentError(found)
    if only:
        labels: dict[Axis, set[str]] = {axis: {choice.label for choice in fields[AXES[axis]]} for axis in AXES}
        if experiment.baseline not in labels["loss"]:
            name = experiment.baseline
            raise ExperimentError(
                [f"--only leaves out the baseline '{name}', with which all losses are compared: add --loss {name}."]
            )
        fields["claims"] = [claim for claim in experiment.claims if _speaks_of(claim, labels, experiment)]
        fields["overrides"] = [override for override in experiment.overrides if _selects(override.where, labels)]
        fields["tuning"] = experiment.tuning and _of_losses(experiment.tuning, fields["losses"])
    if seeds is not None:
        fields["seeds"] = seeds
    try:
        return Experiment.model_validate(fields)
    except ValidationError as error:
        raise ExperimentError([sentence for _, sentence in yaml_lines.problems(error, Experiment)]) from None


def with_recipe(experiment: Experiment, settings: Sequence[str]) -> Experiment:
    """The experiment with other values for fields of its recipe, in all cells, whatever overrides say.

    Args:
        experiment: The experiment.
        settings: `recipe.FIELD=VALUE`, with values as a file has them.

    Raises:
        ExperimentError: A setting cannot be read, or the recipe cannot be so.
    """
    if not settings:
        return experiment
    found = dict[str, Any]()
    problems = list[str]()
    for setting in settings:
        name, _, text = setting.removeprefix(OF_RECIPE).partition("=")
        if complaint := _complaint(setting, name, experiment):
            problems.append(f"--set {setting}: {complaint}")
            continue
        try:
            found[name] = plain_yaml.value_of(text)
        except yaml.YAMLError:
            problems.append(f"--set {setting}: '{text}' cannot be read as a value.")
    fields: dict[str, Any] = {name: getattr(experiment, name) for name in Experiment.model_fields}
    try:
        fields["recipe"] = type(experiment.recipe).model_validate(experiment.recipe.model_dump() | found)
        fields["overrides"] = [
            override.model_copy(update={"recipe": {k: v for k, v in override.recipe.items() if k not in found}})
            for override in experiment.overrides
        ]
        if not problems:
            return Experiment.model_validate(fields)
    except ValidationError as error:
        model = Training if error.title == Training.__name__ else Experiment
        problems += [f"--set: {sentence}" for _, sentence in yaml_lines.problems(error, model)]
    raise ExperimentError(problems)


def _complaint(setting: str, name: str, experiment: Experiment) -> str | None:
    if not setting.startswith(OF_RECIPE) or "=" not in setting:
        return "A setting is recipe.FIELD=VALUE, such as recipe.epochs=1."
    if experiment.tuning and name in experiment.tuning.space:
        return f"'tuning' seeks '{name}': leave it out there."
    return unknown(name, list(Training.model_fields), "recipe field")


def _extended(axis: Axis, present: tuple[Choice, ...], names: Sequence[str], *, by_command: bool) -> tuple[Choice, ...]:
    labels = {choice.label for choice in present}
    try:
        fresh = [chosen(AXES[axis], by_command=by_command)(name) for name in names if name not in labels]
    except PydanticCustomError as error:
        raise ExperimentError([f"--{axis}: {error}"]) from None
    return (*present, *dict.fromkeys(fresh))


def _narrowed(axis: Axis, present: tuple[Choice, ...], names: Sequence[str]) -> tuple[Choice, ...]:
    known = [choice.label for choice in present]
    found = [complaint for name in names if (complaint := unknown(name, known, f"{axis} in this experiment is"))]
    if found:
        raise ExperimentError([f"--{axis}: {complaint}" for complaint in found])
    return tuple(choice for choice in present if choice.label in names) if names else present


def _of_losses(tuning: Tuning, losses: Sequence[Choice]) -> Tuning | None:
    """The tuning stage without parameters that none of these losses has; None if nothing is left to tune."""
    own = {name for choice in losses for name in choice.plugin.parameters}
    space = {name: domain for name, domain in tuning.space.items() if name in own or name in tuning.shared}
    return tuning.model_copy(update={"space": space}) if space else None


def _speaks_of(claim: Claim, labels: Mapping[Axis, set[str]], experiment: Experiment) -> bool:
    """Whether everything that a claim is about is still in the experiment."""
    if claim.is_combined:
        asked = [question for part in parts(claim, experiment) for question in part.questions]
        return all(
            {question.claim.challenger, question.claim.baseline or question.claim.challenger} <= labels["loss"]
            and question.dataset in labels["dataset"]
            and question.backbone in labels["backbone"]
            for question in asked
        )
    return {claim.challenger, claim.baseline or claim.challenger} <= labels["loss"] and _selects(claim.where, labels)


def _selects(where: Where, labels: Mapping[Axis, set[str]]) -> bool:
    return all(getattr(where, axis) in {None, *labels[axis]} for axis in AXES)
