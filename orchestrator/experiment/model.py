"""The experiment, as its YAML file describes it; every problem in the file is reported at its line."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from orchestrator.errors import ExperimentError
from orchestrator.experiment import yaml_lines
from orchestrator.experiment.claims import Axis, Claim, Name, Where, unknown
from orchestrator.experiment.operation import MEASURES as OPERATING
from orchestrator.experiment.operation import Operation
from orchestrator.experiment.own_measures import is_own
from orchestrator.experiment.resources import Resources
from orchestrator.experiment.space import Domain
from orchestrator.experiment.tuning import Tuning
from orchestrator.experiment.yaml_lines import Problem
from orchestrator.privacy import visible
from orchestrator.sentences import worded
from orchestrator.statistics.scopes import FEWEST_DATASETS
from trainers import catalogue
from trainers.commands import NAMED, NamedDataset, Trainer, placeholders
from trainers.datasets import Dataset
from trainers.losses import Loss
from trainers.metrics import MEASURES, ON_VALIDATION
from trainers.plugin import Frozen, Plugin
from trainers.recipe import Epochs, Training

AXES: Mapping[Axis, catalogue.Axis] = {"loss": "losses", "backbone": "backbones", "dataset": "datasets"}
"""The singular and the plural name of each axis."""

Model = TypeVar("Model", bound=Frozen)

TimeLimit = Annotated[float, Field(gt=0)]
"""Seconds after which an attempt at a cell is killed."""

Threshold = Literal["validation", "bias", "test"]
"""How the threshold of a deployed model is chosen."""


def _is_visible(label: str) -> str:
    if (shown := visible(label)) != label:
        raise ValueError(f"The label '{shown}' has characters that a terminal would obey: leave them out")
    return label


Label = Annotated[str, Field(pattern=r"^[^\x00-\x1f/\\]+$", max_length=100), AfterValidator(_is_visible)]

ALWAYS = ("sample_wise_accuracy", "uniform_accuracy")
"""What every comparison of trained models shows; claims may be about any measure."""

DEPLOYED: Mapping[Threshold, str] = {
    "validation": "accuracy_at_validation_threshold",
    "bias": "accuracy_at_bias",
    "test": "uniform_accuracy",
}
"""The accuracy of whoever chooses the threshold so."""


class Choice(Frozen):
    """One value of an axis: a plug-in with its parameters, and what this experiment calls it."""

    label: Label
    plugin: SerializeAsAny[Plugin]


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


class CheckpointRule(Frozen):
    """How often a cell saves the state from which another attempt can continue: by epochs or by time."""

    epochs: int | None = Field(default=None, ge=1)
    """Epochs from one saved state to the next."""
    minutes: float | None = Field(default=None, gt=0)
    """Minutes from one saved state to the next."""

    @model_validator(mode="after")
    def _is_either(self) -> CheckpointRule:
        if (self.epochs is None) == (self.minutes is None):
            raise ValueError("'checkpoint' is either {epochs: N} or {minutes: M}")
        return self


class Settled(NamedTuple):
    """How the cells of one combination are trained, with all overrides applied."""

    loss: Loss
    training: Training
    resources: Resources
    time_limit: float | None


def chosen(axis: catalogue.Axis, *, by_command: bool = False) -> Callable[[Any], Any]:
    """A validator from `name` or `{name: …, as: …, parameters …}` to a `Choice`.

    Args:
        axis: The axis.
        by_command: Whether a command trains, so that any name and any parameters will do.
    """

    def choose(value: Any) -> Any:
        if isinstance(value, Choice):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            text = f"An entry of '{axis}' is a name, or a mapping with a 'name' and parameters; found {value!r:.60}."
            raise PydanticCustomError("unknown", "{text}", {"text": text})
        parameters = {str(key): entry for key, entry in value.items()}
        name = parameters.pop("name")
        label = parameters.pop("as", None)
        try:
            if by_command:
                plugin = NAMED[axis].model_validate({"name": name, **parameters})
            else:
                plugin = catalogue.resolve(axis, name, parameters)
        except catalogue.UnknownNameError as error:
            raise PydanticCustomError("unknown", "{text}", {"text": str(error)}) from None
        except ValidationError as error:
            family = NAMED[axis] if by_command else catalogue.plugins(axis)[name.partition(":")[0]]
            raise yaml_lines.nested(list(yaml_lines.problems(error, family))) from None
        return _validated(Choice, {"label": plugin.key if label is None else label, "plugin": plugin})

    return choose


def _validated(model: type[Model], fields: Any) -> Model:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise yaml_lines.nested(list(yaml_lines.problems(error, model))) from None


def _each(entries: Any, validate: Callable[[Any], Any]) -> Any:
    """Validate every entry of a list, so that all problems are reported together."""
    if not isinstance(entries, (list, tuple)):
        return entries
    valid = []
    found = list[Problem]()
    for position, entry in enumerate(entries):
        try:
            valid.append(validate(entry))
        except PydanticCustomError as error:
            below = (error.context or {}).get("problems") or [((), str(error))]
            found += [((position, *location), sentence) for location, sentence in below]
    if found:
        raise yaml_lines.nested(found)
    return valid


def _distinct(values: Sequence[object], noun: str) -> None:
    for value, count in Counter(values).items():
        if count > 1:
            raise PydanticCustomError("repeated", "{text}", {"text": f"The {noun} '{value}' is given {count} times."})


def _distinct_labels(choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    _distinct([choice.label for choice in choices], "entry")
    return choices


def _all_seeds(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if value < 1:
        raise PydanticCustomError("unknown", "{text}", {"text": f"At least 1 seed is needed; found {value}."})
    if value > MOST_SEEDS:
        raise PydanticCustomError("unknown", "{text}", {"text": f"At most {MOST_SEEDS} seeds; found {value}."})
    return tuple(range(value))


MOST_SEEDS = 1_000_000
"""A larger number is taken for a typing error."""


def _distinct_seeds(seeds: tuple[int, ...]) -> tuple[int, ...]:
    _distinct(seeds, "seed")
    return tuple(sorted(seeds))


Allocation = Literal["decisive", "equal"]
"""Where the next seeds of a claim over several settings go: where they decide, or to all settings alike."""


class Sequential(Frozen):
    """As many seeds as the claims need: first `min`, then more while a claim is undecided, up to `max`."""

    min: int = Field(ge=2, strict=True)
    """The number of seeds that always run."""
    max: int = Field(le=MOST_SEEDS, strict=True)
    """The largest number of seeds that may run."""
    until: Literal["decided"]
    """Stop once every claim for which seeds are added has a verdict."""
    allocation: Allocation | None = Field(default=None, exclude_if=lambda allocation: allocation is None)
    """Whether claims over `all`, `some` and `mean` ask for seeds, too: where they decide, or in all settings alike.
    Default: only claims about single settings ask; if there is none, the others do, where they decide."""

    @model_validator(mode="after")
    def _leaves_a_choice(self) -> Sequential:
        if self.min >= self.max:
            raise ValueError("'max' must be above 'min'; write a fixed number of seeds as in 'seeds: 5'")
        return self


class Reserve(tuple[int, ...]):  # noqa: SLOT001 - a tuple has slots for nothing but its entries
    """The seeds 0 … max - 1, of which only as many run as a rule requests."""

    rule: Sequential

    @classmethod
    def by(cls, rule: Sequential) -> Reserve:
        """All seeds that the rule may request."""
        seeds = cls(range(rule.max))
        seeds.rule = rule
        return seeds


def _sequential(value: Any, validate: ValidatorFunctionWrapHandler) -> tuple[int, ...]:
    if isinstance(value, Reserve):
        return value
    return Reserve.by(_validated(Sequential, value)) if isinstance(value, dict) else validate(value)


def _written(seeds: tuple[int, ...]) -> dict[str, Any] | list[int]:
    """Seeds as written in an experiment file."""
    return seeds.rule.model_dump() if isinstance(seeds, Reserve) else list(seeds)


def _imported(modules: tuple[str, ...]) -> tuple[str, ...]:
    for module in modules:
        try:
            catalogue.add(module)
        except ImportError as error:
            raise ValueError(f"The plug-in module '{module}' cannot be imported: {error}") from None
        except TypeError as error:
            raise ValueError(f"The plug-in module '{module}' cannot be used: {error}") from None
    return modules


Chosen = Annotated[tuple[Choice, ...], Field(min_length=1), AfterValidator(_distinct_labels)]
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]


class Experiment(Frozen):
    """A question, and the grid losses x backbones x datasets x seeds that answers it."""

    measures: ClassVar[Collection[str]] = (*MEASURES, *OPERATING)
    """The built-in measures that claims may be about."""
    name: Name
    """Names its results table, its report and its MLflow experiment: letters, digits, `.`, `_` and `-`."""
    question: str = ""
    """The question that the experiment answers, in one sentence; the heading of the report."""
    plugins: Annotated[tuple[str, ...], AfterValidator(_imported)] = ()
    """Your own modules with plug-ins; imported before names are looked up."""
    trainer: Trainer | None = Field(default=None, exclude_if=lambda trainer: trainer is None)
    """Your own training code, as a command; losses, backbones and datasets are then names with parameters for it."""
    losses: Chosen
    """The losses to compare."""
    backbones: Chosen
    """The networks that each loss trains."""
    datasets: Chosen
    """The data sets that each network is trained and tested on."""
    seeds: Annotated[
        tuple[Seed, ...],
        BeforeValidator(_all_seeds),
        Field(min_length=1),
        AfterValidator(_distinct_seeds),
        WrapValidator(_sequential),
        PlainSerializer(_written),
    ] = (0, 1, 2, 3, 4)
    """A number N means 0 … N - 1; with a mapping of `min`, `max` and `until`, the claims decide the number."""
    recipe: SerializeAsAny[Training] = Field(default=Training(), validate_default=True)
    """How all networks are trained, unless an override says otherwise."""
    tuning: Tuning | None = None
    """Finds a recipe for each combination of labels, beyond `recipe` and `overrides`."""
    threshold: Threshold = "validation"
    """The threshold with which a model would be deployed: chosen on validation images, the learnt bias, or the best one
    on the test images, which no deployment can know."""
    overrides: tuple[Override, ...] = ()
    """Other values for some cells; if several overrides select a cell, the last one wins."""
    resources: Resources = Resources()
    """What one cell occupies while it runs."""
    time_limit: TimeLimit | None = None
    """Seconds that one attempt at a cell may take. Default: ten times the mean of earlier cells of its kind, and at
    least ten minutes."""
    checkpoint: CheckpointRule = CheckpointRule(minutes=1)
    """How often a cell saves its state."""
    log_models: bool = False
    """Whether trained models are kept in MLflow, with their signature."""
    baseline: str
    """The label of the loss that all others are compared with."""
    claims: tuple[Claim, ...] = ()
    """Hypotheses stated before the run; each gets a verdict."""
    operation: Operation | None = None
    """How a model would be used; `decide` then says which one to deploy, at which threshold."""

    @field_validator("losses", "backbones", "datasets", mode="before")
    @classmethod
    def _choose(cls, entries: Any, info: ValidationInfo) -> Any:
        axis: Any = info.field_name
        return _each(entries, chosen(axis, by_command=_trains_by_command(info)))

    @field_validator("recipe", mode="before")
    @classmethod
    def _recipe_is_of_the_loop_or_of_a_command(cls, recipe: Any, info: ValidationInfo) -> Any:
        if not _trains_by_command(info):
            return recipe
        return Epochs() if recipe == Training() else _validated(Epochs, recipe)

    @field_validator("tuning")
    @classmethod
    def _tuned_is_what_there_is(cls, tuning: Tuning | None, info: ValidationInfo) -> Tuning | None:
        return tuning.of_parameters() if tuning and _trains_by_command(info) else tuning

    @field_validator("overrides", mode="before")
    @classmethod
    def _overrides_apply(cls, overrides: Any, info: ValidationInfo) -> Any:
        return _each(overrides, lambda entry: _applying(_validated(Override, entry), info))

    @field_validator("baseline")
    @classmethod
    def _baseline_is_a_loss(cls, baseline: str, info: ValidationInfo) -> str:
        if complaint := _stranger("loss", baseline, info):
            raise PydanticCustomError("unknown", "{text}", {"text": f"'baseline': {complaint}"})
        return baseline

    @field_validator("claims", mode="before")
    @classmethod
    def _claims_are_about_losses(cls, claims: Any, info: ValidationInfo) -> Any:
        return _each(claims, lambda entry: _deciding(_validated(Claim, entry), info, cls.measures))

    @field_validator("operation")
    @classmethod
    def _operation_is_about_a_dataset(cls, operation: Operation | None, info: ValidationInfo) -> Operation | None:
        if operation and (complaint := _stranger("dataset", operation.dataset, info)):
            raise yaml_lines.nested([(("dataset",), complaint)])
        return operation

    @field_validator("claims")
    @classmethod
    def _claims_are_distinct(cls, claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
        _distinct([claim.id for claim in claims], "claim")
        return claims

    @model_validator(mode="after")
    def _recipes_are_valid_and_distinct(self) -> Experiment:
        seen: dict[object, tuple[str, str, str]] = {}
        for loss, backbone, dataset in product(self.losses, self.backbones, self.datasets):
            labels = (loss.label, backbone.label, dataset.label)
            try:
                settled = self.settled(*labels)
            except ValidationError as error:
                model = Training if error.title == Training.__name__ else type(loss.plugin)
                sentences = " ".join(text for _, text in yaml_lines.problems(error, model))
                raise yaml_lines.nested([(("overrides",), f"For {'/'.join(labels)}: {sentences}")]) from None
            if settled.loss.decide_by == "calibrated" and not settled.training.validation_fraction:
                text = f"{'/'.join(labels)} is calibrated on a validation split: 'validation_fraction' must be above 0."
                raise yaml_lines.nested([(("losses",), text)])
            known = _without_tuned(settled, self.tuning)
            first = seen.setdefault((known.loss, backbone.plugin, dataset.plugin, known.training), labels)
            if first != labels:
                axis = next(axis for axis, a, b in zip(AXES.values(), first, labels, strict=True) if a != b)
                text = f"{'/'.join(first)} and {'/'.join(labels)} are the same recipe: leave out one."
                raise yaml_lines.nested([((axis,), text)])
        return self

    @model_validator(mode="after")
    def _a_command_is_told_what_differs(self) -> Experiment:
        if self.trainer and (found := list(_unfit(self, self.trainer))):
            raise yaml_lines.nested(found)
        return self

    @model_validator(mode="after")
    def _claims_have_their_operation(self) -> Experiment:
        if self.operation is None:
            asked = [(number, metric) for number, claim in enumerate(self.claims) for metric in claim.metrics]
            if found := [each for each in asked if each[1] in OPERATING]:
                text = "is measured in an operation: say in 'operation' how a model would be used."
                raise yaml_lines.nested([(("claims", number), f"'{metric}' {text}") for number, metric in found])
        return self

    @model_validator(mode="after")
    def _a_command_keeps_nothing_apart(self) -> Experiment:
        if self.trainer and self.operation and self.operation.certify:
            text = "'certify' keeps test images apart from training code of your own only in that code: leave it out."
            raise yaml_lines.nested([(("operation", "certify"), text)])
        return self

    @model_validator(mode="after")
    def _more_seeds_have_something_to_decide(self) -> Experiment:
        if self.sequence and not any(claim.is_followed or claim.is_followed_together for claim in self.claims):
            text = (
                "No claim can decide the number of seeds: 'until' needs a primary claim without 'than', 'trend' and "
                "'population', about a built-in measure. State one, or give a number of seeds."
            )
            raise yaml_lines.nested([(("seeds",), text)])
        return self

    @model_validator(mode="after")
    def _tuning_fits(self) -> Experiment:
        if self.tuning and (found := [(("tuning", *where), text) for where, text in _misfits(self, self.tuning)]):
            raise yaml_lines.nested(found)
        return self

    def kept_apart(self, dataset: str) -> float:
        """The share of a data set's test images that is kept apart for a promise; 0 if none is."""
        if self.operation is None or self.operation.dataset not in {None, dataset}:
            return 0.0
        return self.operation.certify or 0.0

    @property
    def sequence(self) -> Sequential | None:
        """The rule that requests seeds; None if their number is fixed."""
        return self.seeds.rule if isinstance(self.seeds, Reserve) else None

    @property
    def allocation(self) -> Allocation | None:
        """Where seeds go that claims over several settings ask for; None if no such claim asks for any."""
        if self.sequence is None or self.sequence.allocation:
            return self.sequence and self.sequence.allocation
        return None if any(claim.is_followed for claim in self.claims) else "decisive"

    @property
    def shown(self) -> tuple[str, ...]:
        """The measures that are shown, and whose differences are tested; all, in all settings, are one family."""
        return tuple(dict.fromkeys((*ALWAYS, DEPLOYED[self.threshold])))

    def loss(self, label: str) -> Loss:
        """The loss with this label."""
        return cast("Loss", next(choice.plugin for choice in self.losses if choice.label == label))

    def settled(self, loss: str, backbone: str, dataset: str) -> Settled:
        """How the cells with these labels are trained, with all overrides applied."""
        fields = self.recipe.model_dump()
        resources = self.resources
        time_limit = self.time_limit
        parameters: dict[str, Any] = {}
        for override in self.overrides:
            if override.where.matches(loss, backbone, dataset):
                fields |= override.recipe
                parameters |= override.loss
                resources = override.resources or resources
                time_limit = override.time_limit or time_limit
        training = type(self.recipe).model_validate(fields)
        return Settled(given(self.loss(loss), parameters), training, resources, time_limit)


def given(loss: Loss, parameters: Mapping[str, Any]) -> Loss:
    """The loss with other values for some of its parameters.

    Raises:
        ValidationError: An unknown parameter or an invalid value.
    """
    if not parameters:
        return loss
    return type(loss).model_validate(loss.parameters | {**parameters})


def own_space(loss: Loss, tuning: Tuning) -> dict[str, Domain]:
    """The part of a tuning space that applies to a loss: the shared fields, and the loss's own parameters."""
    own = loss.parameters
    return {name: domain for name, domain in tuning.space.items() if name in tuning.shared or name in own}


def _without_tuned(settled: Settled, tuning: Tuning | None) -> Settled:
    """The recipe with tuned values replaced by fixed ones, so that recipes can be compared before tuning."""
    if tuning is None:
        return settled
    sought = {name: domain.at(0.0) for name, domain in own_space(settled.loss, tuning).items()}
    shared = {name: value for name, value in sought.items() if name in tuning.shared}
    own = {name: value for name, value in sought.items() if name not in shared}
    loss = settled.loss.model_copy(update=own)
    training = settled.training.model_copy(update=shared)
    return settled._replace(loss=loss, training=training)


def _misfits(experiment: Experiment, tuning: Tuning) -> Iterator[Problem]:
    """The problems of a tuning stage in its experiment."""
    if complaint := unknown(tuning.metric, [*MEASURES, *OPERATING], "measure"):
        yield ("metric",), complaint
    elif tuning.metric in OPERATING:
        yield from ((("metric",), text) for text in _untunable(experiment, tuning))
    elif tuning.metric in ON_VALIDATION:
        text = "A trial is scored on its validation split, so no images remain on which to choose a threshold or"
        yield ("metric",), f"{text} temperature, which '{tuning.metric}' needs: tune by another measure."
    if shared := set(tuning.seeds) & set(experiment.seeds):
        yield (
            ("seeds",),
            f"Seed {min(shared)} is also a seed of the final cells, which must not influence the choice of the recipe.",
        )
    losses = [experiment.loss(choice.label) for choice in experiment.losses]
    parameters = {name for loss in losses for name in loss.parameters} - {"scores", "name"}
    known = [*tuning.fields, *sorted(parameters)]
    for name, domain in tuning.space.items():
        if complaint := unknown(name, known, "recipe field or loss parameter"):
            yield ("space", name), complaint
            continue
        try:
            _try_ends(experiment, losses, name, domain)
        except ValidationError as error:
            yield from ((("space", name), text) for _, text in yaml_lines.problems(error, Training))
    labels = product(experiment.losses, experiment.backbones, experiment.datasets)
    settled = [experiment.settled(*(choice.label for choice in choices)) for choices in labels]
    if not all(each.training.validation_fraction for each in settled):
        yield (), "Tuning scores recipes on a validation split: 'validation_fraction' must be above 0 for all cells."


def _untunable(experiment: Experiment, tuning: Tuning) -> Iterator[str]:
    """Why recipes cannot be ranked by a measure of the operation."""
    of = experiment.operation
    if of is None:
        yield f"'{tuning.metric}' is measured in an operation: say in 'operation' how a model would be used."
    elif of.dataset is not None and len(experiment.datasets) > 1:
        yield f"'{tuning.metric}' is measured on {of.dataset} alone, and recipes are sought for every data set."
    if tuning.metric == "operating_threshold":
        yield "'operating_threshold' is a place, and no threshold is better than another: tune by 'expected_cost'."
    elif tuning.direction == "higher":
        yield f"A lower '{tuning.metric}' is better: add 'direction: lower'."


def _try_ends(experiment: Experiment, losses: Iterable[Loss], name: str, domain: Domain) -> None:
    """Try the lowest and the highest value of a field, in the recipe or in every loss that has it."""
    for end in domain.ends:
        if experiment.tuning and name in experiment.tuning.fields:
            Training.model_validate(experiment.recipe.model_dump() | {name: end})
        else:
            for loss in losses:
                given(loss, {name: end} if name in loss.parameters else {})


def _trains_by_command(info: ValidationInfo) -> bool:
    """Whether the experiment has a trainer, right or wrong: then no entry of an axis is looked up."""
    return "trainer" not in info.data or info.data["trainer"] is not None


def _unfit(experiment: Experiment, trainer: Trainer) -> Iterator[Problem]:
    """What does not go with a command."""
    axes: dict[str, tuple[Choice, ...]] = {axis: getattr(experiment, name) for axis, name in AXES.items()}
    counts = {axis: len(choices) for axis, choices in axes.items()} | {"seed": len(experiment.seeds)}
    for axis, count in counts.items():
        told = any(name == "cell" or name.partition(".")[0] == axis for name in trainer.names)
        if count > 1 and not told:
            text = f"There is more than one {axis}, but 'command' does not say which: use {{{axis}}}, or {{cell}}."
            yield ("trainer", "command"), text
    for place, word in enumerate(trainer.command):
        for name in placeholders(word):
            axis, _, parameter = name.partition(".")
            lacking = [
                each.label for each in axes.get(axis, ()) if parameter and parameter not in each.plugin.parameters
            ]
            if lacking:
                listed = ", ".join(lacking)
                yield ("trainer", "command", place), f"'{{{name}}}': {axis} {listed} has no parameter '{parameter}'."
    if experiment.log_models:
        yield ("log_models",), "A command keeps its model by writing it to {model}: leave out 'log_models'."
    places = [(("resources",), experiment.resources)]
    places += [(("overrides", number, "resources"), each.resources) for number, each in enumerate(experiment.overrides)]
    for where, resources in places:
        if resources and resources.devices > 1:
            yield where, "A command is one process of the cell: leave out 'devices', and ask for more 'gpus' or 'cpus'."


def _stranger(axis: Axis, label: str | None, info: ValidationInfo) -> str | None:
    """The error message if a label is not on its axis; None if the axis itself is invalid."""
    choices = info.data.get(AXES[axis])
    if label is None or choices is None:
        return None
    return unknown(label, [choice.label for choice in choices], worded(f"{axis} in this experiment is"))


def _strangers(where: Where, info: ValidationInfo) -> list[Problem]:
    complaints = {axis: _stranger(axis, getattr(where, axis), info) for axis in AXES}
    return [((axis,), complaint) for axis, complaint in complaints.items() if complaint]


def _applying(override: Override, info: ValidationInfo) -> Override:
    """Return the override if its labels exist and each of its fields is valid by itself."""
    found = [(("where", *rest), text) for rest, text in _strangers(override.where, info)]
    training = Epochs if _trains_by_command(info) else Training
    try:
        training.model_validate(override.recipe)
    except ValidationError as error:
        # Rules about several fields at once are checked after merging, in `_recipes_are_valid_and_distinct`.
        found += [(("recipe", *rest), text) for rest, text in yaml_lines.problems(error, training) if rest]
    if found:
        raise yaml_lines.nested(found)
    return override


def _deciding(claim: Claim, info: ValidationInfo, measures: Collection[str]) -> Claim:
    """Return the claim if its measures, losses and settings exist."""
    strange = [unknown(metric, measures, "measure") for metric in claim.metrics if not is_own(metric)]
    found: list[Problem] = [(("metric",), complaint) for complaint in strange if complaint]
    found += [(("where", *rest), text) for rest, text in _strangers(claim.where, info)]
    for field in ("challenger", "baseline"):
        complaint = _stranger("loss", getattr(claim, field), info)
        found += [((field,), complaint)] if complaint else []
    if claim.challenger == claim.baseline and claim.baseline_metric in (None, claim.metric):
        found.append((("challenger",), worded("Claim '{id}' compares a loss with itself.").format(id=claim.id)))
    found += [*_strange_effects(claim, info), *_out_of_scope(claim, info)]
    if found:
        raise yaml_lines.nested(found)
    return claim


def _strange_effects(claim: Claim, info: ValidationInfo) -> Iterator[Problem]:
    """The labels in 'than' and 'trend' that do not exist."""
    if than := claim.than:
        axes: dict[str, Axis] = {"challenger": "loss", "baseline": "loss", "backbone": "backbone", "dataset": "dataset"}
        for field, axis in axes.items():
            if complaint := _stranger(axis, getattr(than, field), info):
                yield ("than", field), complaint
        if than.baseline is not None and claim.baseline is None:
            yield ("than", "baseline"), "The claim itself has no baseline."
    if trend := claim.trend:
        for label in trend.positions:
            if complaint := _stranger(trend.axis, label, info):
                yield ("trend", trend.axis, label), complaint


def _out_of_scope(claim: Claim, info: ValidationInfo) -> Iterator[Problem]:
    """Why a claim about a population of data sets cannot be judged."""
    if not claim.population or info.data.get("datasets") is None:
        return
    matching = [choice for choice in info.data["datasets"] if claim.where.dataset in (None, choice.label)]
    if (count := len({identity(choice) for choice in matching})) < FEWEST_DATASETS:
        yield (
            ("population",),
            (
                f"A claim about a population needs at least {FEWEST_DATASETS} data sets; this claim has {count}. "
                "Entries with the same images count once; backbones do not count. Leave out 'population' to make a "
                "claim about exactly these settings."
            ),
        )


def identity(dataset: Choice) -> tuple[str, str | None]:
    """The images of an entry of 'datasets': the catalogue's name, and the folder of the user's own images."""
    name = dataset.plugin.key if isinstance(dataset.plugin, NamedDataset) else dataset.plugin.name
    return name, getattr(dataset.plugin, "path", None)


def recalled(document: Mapping[str, Any]) -> Experiment:
    """Read an experiment from the JSON of `model_dump`.

    Raises:
        ExperimentError: It cannot be read here, for example because a plug-in is missing.
    """
    given = _without_none(document)
    for axis in AXES.values():
        given[axis] = [{**choice["plugin"], "as": choice["label"]} for choice in given[axis]]
    try:
        return Experiment.model_validate(given)
    except ValidationError as error:
        raise ExperimentError([sentence for _, sentence in yaml_lines.problems(error, Experiment)]) from None


def _without_none(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without entries that are None, which mean the default."""
    return {
        name: _without_none(cast("dict[str, Any]", value)) if isinstance(value, dict) else value
        for name, value in document.items()
        if value is not None
    }


def load(path: Path) -> Experiment:
    """Read an experiment file.

    Raises:
        ExperimentError: The file is wrong; the message has every problem with its line.
    """
    text = yaml_lines.read(path)
    if not isinstance(text.document, dict):
        found = "nothing" if text.document is None else f"a {type(text.document).__name__}"
        needed = ", ".join(name for name, field in Experiment.model_fields.items() if field.is_required())
        sentence = f"{path}:1: An experiment is a mapping with at least {needed}; found {found}."
        raise ExperimentError([sentence])
    try:
        found = beside(Experiment.model_validate(text.document), path.parent)
    except ValidationError as error:
        raise text.error(error, Experiment) from None
    if found.trainer is None:
        return found
    words = range(len(found.trainer.command))
    lines = [f"{path}:{text.line(('trainer', 'command', place))}" for place in words]
    return found.model_copy(update={"trainer": found.trainer.written(lines)})


def beside(experiment: Experiment, folder: Path) -> Experiment:
    """The experiment with its command, and relative paths of data sets, in a folder, that of its file."""
    root = Path(os.path.abspath(folder))  # noqa: PTH100 - a link to a file's folder stays what its user calls it
    placed = tuple(
        choice.model_copy(update={"plugin": _beside(cast("Dataset", choice.plugin), root)})
        for choice in experiment.datasets
    )
    trainer = experiment.trainer and experiment.trainer.beside(root)
    return experiment.model_copy(update={"datasets": placed, "trainer": trainer})


def _beside(dataset: Dataset, root: Path) -> Dataset:
    placed = dataset.beside(root)
    others = dataset.unknowns and dataset.unknowns.beside(root)
    return placed.model_copy(update={"unknowns": others}) if others else placed


def folder(experiment: Experiment) -> Path | None:
    """The folder of the file, where relative paths of data sets or a command need it; None where nothing does."""
    datasets = [cast("Dataset", choice.plugin) for choice in experiment.datasets]
    folders = [source.relative_to for dataset in datasets for source in dataset.sources]
    if experiment.trainer:
        folders.append(experiment.trainer.relative_to)
    return next((folder for folder in folders if folder), None)
