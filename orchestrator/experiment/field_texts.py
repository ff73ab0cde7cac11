"""What people read of a plug-in and of a model's fields: types, limits, defaults, and what the code says below each."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trainers.plugin import Plugin

Model = type[BaseModel]

MANY = 12
"""Options above which a type says only how many there are."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a plug-in, as people read it."""

    name: str
    """`margin`, or `scores.margin` within a mapping."""
    type: str
    default: str
    meaning: str


@dataclass(frozen=True)
class PluginText:
    """A plug-in as people read it."""

    name: str
    text: str
    """What its class says."""
    parameters: tuple[Parameter, ...]
    module: str
    file: str

    def to_json(self) -> dict[str, Any]:
        """The same for machines."""
        return asdict(self)


def described(plugin: type[Plugin]) -> PluginText:
    """What a plug-in is, with its parameters and where its code is."""
    file = inspect.getsourcefile(plugin) or ""
    text = inspect.getdoc(plugin) or ""
    return PluginText(plugin.name, text, tuple(_parameters(plugin)), plugin.__module__, file)


def _parameters(model: Model, within: str = "") -> Iterator[Parameter]:
    told = docstrings(model)
    for name, field in model.model_fields.items():
        inner = _mapping(field)
        if inner:
            yield from _parameters(inner, f"{within}{name}.")
        else:
            meaning = " ".join(told.get(name, "").split())
            yield Parameter(f"{within}{name}", type_text(field), default_text(field), meaning)


def _mapping(field: FieldInfo) -> Model | None:
    """The model whose fields a field's default has; None if it is no mapping."""
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return type(default) if isinstance(default, BaseModel) and not isinstance(default, Plugin) else None


def docstrings(model: Model) -> dict[str, str]:
    """What stands below each field of a model in its code, or in that of a class that it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            found.update(_written_below(base))
    return found


def _written_below(model: Model) -> Iterator[tuple[str, str]]:
    try:
        source = textwrap.dedent(inspect.getsource(model))
    except OSError:  # it was made in a session, without a file
        return
    (definition,) = ast.parse(source).body
    for pair in pairwise(definition.body if isinstance(definition, ast.ClassDef) else []):
        match pair:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, inspect.cleandoc(text)
            case _:
                pass


def type_text(field: FieldInfo, mark: Callable[[str], str] = str, link: Callable[[Model], str] | None = None) -> str:
    """A field's type and limits in words.

    Args:
        field: The field.
        mark: Marks what a file has word for word.
        link: Names another model; by default as a mapping.
    """
    return f"{_words(field.annotation, mark, link or _a_mapping)}{_limits(field.metadata)}"


def _a_mapping(model: Model) -> str:
    return f"mapping ({', '.join(model.model_fields)})"


def _words(annotation: Any, mark: Callable[[str], str], link: Callable[[Model], str]) -> str:
    origin = get_origin(annotation)
    inner = [each for each in get_args(annotation) if each not in {NoneType, Ellipsis}]
    if origin is Annotated:
        return _words(inner[0], mark, link) + _limits(annotation.__metadata__)
    if origin is Literal:
        few = " or ".join(mark(value_text(each)) for each in inner)
        return f"one of {len(inner)} names" if len(inner) > MANY else few
    words = [_words(each, mark, link) for each in inner]
    if origin in {Union, UnionType}:
        return " or ".join(words)
    if origin is tuple:
        return f"list of {', '.join(words)}"
    if origin in {dict, Mapping}:
        return f"mapping of {' to '.join(words)}"
    if inspect.isclass(annotation) and issubclass(annotation, Plugin):
        return f"name, or mapping with {mark('name')} and parameters"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return link(annotation)
    plain: dict[Any, str] = {str: "text", int: "whole number", float: "number"}
    return f"{mark('true')} or {mark('false')}" if annotation is bool else plain.get(annotation, "any value")


SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def _limits(metadata: Iterable[Any]) -> str:
    """The limits of a number, such as ` ≥ 1 and < 10`."""
    flat = [each for extra in metadata for each in (extra.metadata if isinstance(extra, FieldInfo) else [extra])]
    limits = [
        f"{sign} {value_text(getattr(each, name))}"
        for each in flat
        for name, sign in SIGNS.items()
        if hasattr(each, name)
    ]
    return " " + " and ".join(limits) if limits else ""


def default_text(field: FieldInfo) -> str:
    """A field's default as a file has it; `required` and `none` where there is none."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    return "none" if default is None else value_text(default)


def value_text(value: Any) -> str:
    """A value as a YAML file has it."""
    match value:
        case bool():
            return str(value).lower()
        case list() | tuple():
            return f"[{', '.join(map(value_text, value))}]"
        case dict():
            return "{" + ", ".join(f"{name}: {value_text(entry)}" for name, entry in value.items()) + "}"
        case float() if math.isfinite(value):
            return f"{value:.12g}"
        case _:
            return str(value) if value != "" else '""'
