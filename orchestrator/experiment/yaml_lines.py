"""YAML with line numbers, so that every error message can say where."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from orchestrator.errors import ExperimentError
from orchestrator.experiment.plain_yaml import Loader, misread
from trainers.catalogue import nearest

Location = tuple[str | int, ...]
Problem = tuple[Location, str]


@dataclass(frozen=True)
class YamlSource:
    """A YAML document and the line on which each of its entries starts."""

    path: Path
    document: Any
    lines: dict[Location, int]

    def error(self, error: ValidationError, model: type[BaseModel]) -> ExperimentError:
        """All problems of the document with their lines, in the order of the file."""
        found = sorted((self.line(location), sentence) for location, sentence in problems(error, model))
        return ExperimentError([f"{self.path}:{line}: {sentence}" for line, sentence in found])

    def line(self, location: Location) -> int:
        """The line on which an entry starts, or that of the nearest around it."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)


def read(path: Path) -> YamlSource:
    """Read one YAML document safely.

    Raises:
        ExperimentError: The file is missing, not UTF-8 or not YAML, or has an unreadable value, a repeated key,
            or a value that YAML reads as something else than it looks like.
    """
    try:
        return parse(path, path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExperimentError([f"{path}: cannot be read: {error.strerror}."]) from None
    except UnicodeDecodeError as error:
        raise ExperimentError([f"{path}: is not a UTF-8 text file ({error.reason})."]) from None


def parse(path: Path, text: str) -> YamlSource:
    """The same of a text that is, or is to be, that of a file; raises as `read` does."""
    try:
        root = yaml.compose(text, Loader=Loader)
        lines: dict[Location, int] = {}
        found = [] if root is None else list(_walk(root, (), lines))
        document = None if root is None else Loader(text).get_single_data()
    except yaml.YAMLError as error:
        raise ExperimentError([_syntax(path, text, error)]) from None
    except RecursionError:
        raise ExperimentError([f"{path}: is nested too deeply, or refers to itself."]) from None
    except _TooLargeError as error:
        raise ExperimentError([f"{path}: {error}."]) from None
    if found:
        raise ExperimentError([f"{path}:{line}: {sentence}" for line, sentence in found])
    return YamlSource(path, document, lines)


LARGEST = 100_000
"""The most entries of a document after expanding its aliases: a few lines of aliases can expand to billions."""


class _TooLargeError(Exception):
    """A document has too many entries."""


def _syntax(path: Path, text: str, error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f"{path}:{line}: not valid YAML: the character {error.character!r} is not allowed."
    mark = getattr(error, "problem_mark", None)
    where = f"{path}:{mark.line + 1}" if mark else str(path)
    reason = " ".join(str(getattr(error, "problem", None) or error).split())
    return f"{where}: not valid YAML: {reason}."


def _walk(node: yaml.Node, location: Location, lines: dict[Location, int]) -> Iterator[tuple[int, str]]:
    """Record the line of every entry; yield repeated keys and values that YAML changes, with their lines."""
    if len(lines) > LARGEST:
        raise _TooLargeError(f"has more than {LARGEST} entries, its aliases written out")
    lines.setdefault(location, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for position, child in enumerate(node.value):
            yield from _walk(child, (*location, position), lines)
    elif isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            below = (*location, str(key.value))
            if below in lines:
                yield key.start_mark.line + 1, f"The key '{key.value}' is given twice."
            lines[below] = key.start_mark.line + 1
            yield from _walk(child, below, lines)
    elif isinstance(node, yaml.ScalarNode) and (problem := misread(node)):
        yield node.start_mark.line + 1, problem


def nested(found: list[Problem]) -> PydanticCustomError:
    """An error that contains several problems below the field that is being validated."""
    text = " ".join(sentence for _, sentence in found)
    return PydanticCustomError("nested", "{text}", {"text": text, "problems": found})


def problems(error: ValidationError, model: type[BaseModel]) -> Iterator[Problem]:
    """Each problem of a failed validation: its location in the document, and a sentence."""
    alternatives: dict[Location, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        location = detail["loc"] if detail["type"] == "extra_forbidden" else _of_fields(detail["loc"])
        alternatives.setdefault(location, []).append(detail)
    for location, details in alternatives.items():
        if len(details) > 1:  # a value of several possible types fits none of them
            yield location, _misfit(location, details)
        elif details[0]["type"] == "nested":
            below: list[Problem] = details[0].get("ctx", {})["problems"]
            yield from ((location + rest, sentence) for rest, sentence in below)
        else:
            yield location, _sentence(location, details[0], model)


def _of_fields(location: Location) -> Location:
    """A location without the names of types, which pydantic adds if a value may have one of several."""
    return tuple(part for part in location if not (isinstance(part, str) and _TYPE.fullmatch(part)))


_TYPE = re.compile(r"float|int|str|literal\[.*\]")


def _misfit(location: Location, details: list[ErrorDetails]) -> str:
    expected = [detail.get("ctx", {}).get("expected") or str(detail["loc"][-1]) for detail in details]
    return f"'{_dotted(location)}' must be {' or '.join(expected)} (found: {_shown(details[0]['input'])})."


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location if isinstance(part, str))


def _sentence(location: Location, detail: ErrorDetails, model: type[BaseModel]) -> str:
    name = _dotted(location)
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            known = sorted(_model_at(model, location[:-1]).model_fields)
            return f"Unknown key '{location[-1]}'.{nearest(str(location[-1]), known)} Known: {', '.join(known)}."
        case "missing":
            return f"'{name}' is missing."
        case "literal_error":
            known = context["expected"].replace(" or ", ", ").replace("'", "").split(", ")
            listed = f" Known: {', '.join(known)}." if len(known) <= MANY else ""
            return f"'{name}' cannot be '{detail['input']}'.{nearest(str(detail['input']), known)}{listed}"
        case "string_pattern_mismatch":
            return f"'{name}' cannot be {_shown(detail['input'])}: it must match {context['pattern']}."
        case "value_error":
            return f"{str(context['error']).rstrip('.')}."
        case "unknown" | "repeated":
            return detail["msg"]
        case "string_type" if isinstance(detail["input"], (bool, int, float)):
            return f"'{name}' must be a text, but YAML reads {_shown(detail['input'])}: put it in quotes."
        case _:
            subject = f"'{name}'" if name else "The file"
            return f"{subject} {detail['msg'].removeprefix('Input ')} (found: {_shown(detail['input'])})."


MANY = 20
"""The most names that a message lists."""

WIDTH = 60
"""The most characters of a value that a message quotes."""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def _model_at(model: type[BaseModel], location: Location) -> type[BaseModel]:
    """The model that validates a location of a document."""
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = next(_models_in(model.model_fields[part].annotation), model)
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
