"""The experiment, as its YAML file describes it; every problem in the file is reported at its line."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import product
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from orchestrator.experiment import yaml_lines
from orchestrator.experiment.choices import (
    AXES,
    Choice,
    Chosen,
    chosen,
    distinct,
    each_valid,
    trains_by_command,
    validated,
)
from orchestrator.experiment.claims import Claim, Name, unknown
from orchestrator.experiment.operation import MEASURES as OPERATING
from orchestrator.experiment.operation import Operation
from orchestrator.experiment.overrides import Override, Settled, TimeLimit, applying, given, without_tuned
from orchestrator.experiment.references import deciding, stranger
from orchestrator.experiment.resources import Resources
from orchestrator.experiment.seed_rule import (
    Allocation,
    Reserve,
    Seed,
    Sequential,
    all_seeds,
    distinct_seeds,
    sequential,
    written,
)
from orchestrator.experiment.space import Domain
from orchestrator.experiment.tuning import Tuning
from orchestrator.experiment.yaml_lines import Problem
from trainers import catalogue
from trainers.commands import Trainer, placeholders
from trainers.losses import Loss
from trainers.metrics import MEASURES, ON_VALIDATION
from trainers.plugin import Frozen
from trainers.recipe import Epochs, Training

Threshold = Literal["validation", "bias", "test"]
"""How the threshold of a deployed model is chosen."""


ALWAYS = ("sample_wise_accuracy", "uniform_accuracy")
"""What every comparison of trained models shows; claims may be about any measure."""

DEPLOYED: Mapping[Threshold, str] = {
    "validation": "accuracy_at_validation_threshold",
    "bias": "accuracy_at_bias",
    "test": "uniform_accuracy",
}
"""The accuracy of whoever chooses the threshold so."""


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


def _imported(modules: tuple[str, ...]) -> tuple[str, ...]:
    for module in modules:
        try:
            catalogue.add(module)
        except ImportError as error:
            raise ValueError(f"The plug-in module '{module}' cannot be imported: {error}") from None
        except TypeError as error:
            raise ValueError(f"The plug-in module '{module}' cannot be used: {error}") from None
    return modules


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
        BeforeValidator(all_seeds),
        Field(min_length=1),
        AfterValidator(distinct_seeds),
        WrapValidator(sequential),
        PlainSerializer(written),
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
        return each_valid(entries, chosen(axis, by_command=trains_by_command(info)))

    @field_validator("recipe", mode="before")
    @classmethod
    def _recipe_is_of_the_loop_or_of_a_command(cls, recipe: Any, info: ValidationInfo) -> Any:
        if not trains_by_command(info):
            return recipe
        return Epochs() if recipe == Training() else validated(Epochs, recipe)

    @field_validator("tuning")
    @classmethod
    def _tuned_is_what_there_is(cls, tuning: Tuning | None, info: ValidationInfo) -> Tuning | None:
        return tuning.of_parameters() if tuning and trains_by_command(info) else tuning

    @field_validator("overrides", mode="before")
    @classmethod
    def _overrides_apply(cls, overrides: Any, info: ValidationInfo) -> Any:
        return each_valid(overrides, lambda entry: applying(validated(Override, entry), info))

    @field_validator("baseline")
    @classmethod
    def _baseline_is_a_loss(cls, baseline: str, info: ValidationInfo) -> str:
        if complaint := stranger("loss", baseline, info):
            raise PydanticCustomError("unknown", "{text}", {"text": f"'baseline': {complaint}"})
        return baseline

    @field_validator("claims", mode="before")
    @classmethod
    def _claims_are_about_losses(cls, claims: Any, info: ValidationInfo) -> Any:
        return each_valid(claims, lambda entry: deciding(validated(Claim, entry), info, cls.measures))

    @field_validator("operation")
    @classmethod
    def _operation_is_about_a_dataset(cls, operation: Operation | None, info: ValidationInfo) -> Operation | None:
        if operation and (complaint := stranger("dataset", operation.dataset, info)):
            raise yaml_lines.nested([(("dataset",), complaint)])
        return operation

    @field_validator("claims")
    @classmethod
    def _claims_are_distinct(cls, claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
        distinct([claim.id for claim in claims], "claim")
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
            known = without_tuned(settled, self.tuning)
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
