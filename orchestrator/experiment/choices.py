"""One value of an axis, as an entry of an experiment file names it: a plug-in with its parameters, and its label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, SerializeAsAny, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from orchestrator.experiment import yaml_lines
from orchestrator.experiment.claims import Axis
from orchestrator.experiment.yaml_lines import Problem
from orchestrator.privacy import visible
from trainers import catalogue
from trainers.commands import NAMED, NamedDataset
from trainers.plugin import Frozen, Plugin

AXES: Mapping[Axis, catalogue.Axis] = {"loss": "losses", "backbone": "backbones", "dataset": "datasets"}
"""The singular and the plural name of each axis."""

Model = TypeVar("Model", bound=Frozen)


def _is_visible(label: str) -> str:
    if (shown := visible(label)) != label:
        raise ValueError(f"The label '{shown}' has characters that a terminal would obey: leave them out")
    return label


Label = Annotated[str, Field(pattern=r"^[^\x00-\x1f/\\]+$", max_length=100), AfterValidator(_is_visible)]


class Choice(Frozen):
    """One value of an axis: a plug-in with its parameters, and what this experiment calls it."""

    label: Label
    plugin: SerializeAsAny[Plugin]


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
        return validated(Choice, {"label": plugin.key if label is None else label, "plugin": plugin})

    return choose


def validated(model: type[Model], fields: Any) -> Model:
    """The value of an entry; its problems are raised so that they nest in those of the file."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise yaml_lines.nested(list(yaml_lines.problems(error, model))) from None


def each_valid(entries: Any, validate: Callable[[Any], Any]) -> Any:
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


def distinct(values: Sequence[object], noun: str) -> None:
    """Refuse values that are given more than once."""
    for value, count in Counter(values).items():
        if count > 1:
            raise PydanticCustomError("repeated", "{text}", {"text": f"The {noun} '{value}' is given {count} times."})


def distinct_labels(choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """Return the entries of an axis if no label is given twice."""
    distinct([choice.label for choice in choices], "entry")
    return choices


Chosen = Annotated[tuple[Choice, ...], Field(min_length=1), AfterValidator(distinct_labels)]


def identity(dataset: Choice) -> tuple[str, str | None]:
    """The images of an entry of 'datasets': the catalogue's name, and the folder of the user's own images."""
    name = dataset.plugin.key if isinstance(dataset.plugin, NamedDataset) else dataset.plugin.name
    return name, getattr(dataset.plugin, "path", None)


def trains_by_command(info: ValidationInfo) -> bool:
    """Whether the experiment has a trainer, right or wrong: then no entry of an axis is looked up."""
    return "trainer" not in info.data or info.data["trainer"] is not None
