"""A pydantic model's fields as a table in Markdown: type, default, and what its code says below each."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestrator.experiment.choices import Choice
from orchestrator.experiment.field_texts import MANY, docstrings, type_text, value_text
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.seed_rule import Sequential
from orchestrator.experiment.space import Domain
from trainers.plugin import Frozen, Plugin

Model = type[BaseModel]

ENTRY = ("entry", "entries-of-losses-backbones-and-datasets")
RANGE = ("range", "values-of-space")
BY_HAND: Mapping[Model, tuple[str, str]] = {Choice: ENTRY, Domain: RANGE}
"""Models that a file writes otherwise than as a mapping of their fields: title and anchor of the text on each."""


MAPPINGS: Mapping[tuple[Model, str], Sequence[Model]] = {(Experiment, "seeds"): [Sequential]}
"""Models of a mapping that a file may have where the field holds a list."""


def table(model: Model, names: Sequence[str] | None = None) -> str:
    """The fields of a model, all or those named."""
    told = docstrings(model)
    fields = {name: model.model_fields[name] for name in (model.model_fields if names is None else names)}
    rows = [[code(name), cell(told.get(name, "")), _type(field), _default(field)] for name, field in fields.items()]
    below = [text for name, field in fields.items() if (text := _many_options(name, field))]
    return "\n\n".join([grid(["field", "is", "type", "default"], rows), *below])


def models(root: Model) -> dict[Model, str]:
    """The models that the fields of a model have, and their fields in turn, each by the name of its first field."""
    found: dict[Model, str] = {}
    waiting = [root]
    while waiting:
        model = waiting.pop(0)
        for name, field in model.model_fields.items():
            used = [*_models_in(field.annotation), *MAPPINGS.get((model, name), ())]
            new = [each for each in map(_general, used) if each not in {root, *found, *BY_HAND}]
            found |= dict.fromkeys(new, name)
            waiting += new
    return found


def _models_in(annotation: Any) -> Iterator[Model]:
    if inspect.isclass(annotation) and issubclass(annotation, Plugin):
        return "name, or mapping with `name` and parameters"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _general(model: Model) -> Model:
    """The class that defines the fields of a model, where a subclass has other defaults only."""
    return next(each for each in reversed(model.__mro__) if issubclass(each, Frozen) and each not in {Frozen, Plugin})


def _many_options(name: str, field: FieldInfo) -> str:
    options = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return f"Values of `{name}`: {', '.join(map(code, options))}." if len(options) > MANY else ""


def _type(field: FieldInfo) -> str:
    return cell(type_text(field, code, _link))


def _link(model: Model) -> str:
    general = _general(model).__name__
    title, anchor = BY_HAND.get(model, (general, general.lower()))
    return f"[{title}](#{anchor})"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        usual = _general(type(default)).model_fields
        given = {name: value for name, value in default if value != usual[name].get_default()}
        return code(value_text(given)) if given else "its defaults"
    return "none" if default is None else code(value_text(default))


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, whose second column is the widest."""
    lines = [f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows]]
    return "\n".join(['<div class="reference" markdown>', "", *lines, "", "</div>"])


def cell(text: str) -> str:
    """A text on one line, safe in a table."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """A text as code; a bar in code is no end of a table's column."""
    return f"`{text}`" if text else ""
