"""What the pages of the reference say that follows from the code: verbs, fields, plug-ins, measures, classes.

A page has a line `<!-- generated: NAME -->`, which `hooks.py` replaces by what the function NAME returns. That is never
committed.
"""

from __future__ import annotations

import inspect
import math
import re
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer.main
from fields import Model, cell, code, grid, models, table

import orchestrator
from orchestrator.analysis.comparison import Comparison
from orchestrator.cli import app
from orchestrator.experiment import operation
from orchestrator.experiment.model import Experiment
from orchestrator.report.web.figure import Figure
from trainers import backbones as backbone_classes
from trainers import catalogue
from trainers import datasets as dataset_classes
from trainers import losses as loss_classes
from trainers import plugin as plugin_classes
from trainers.commands import AXES, PLACEHOLDERS
from trainers.metrics import MEASURES
from trainers.metrics.names import NEEDED, ON_VALIDATION
from trainers.metrics.traits import TRAITS

# ---- Command line ----


def command_line() -> str:
    """The verbs with their arguments and options."""
    group: Any = typer.main.get_command(app)
    return "\n\n".join(_verb(name, command) for name, command in group.commands.items())


def _verb(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument" and not each.hidden]
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    usage = " ".join(["python -m orchestrator", name, *map(_argument, arguments), "[OPTIONS]"])
    parts = [f"## {name}", inspect.cleandoc(command.help or ""), f"```text\n{usage}\n```"]
    if arguments:
        parts.append(grid(["argument", "is"], [[code(_argument(each)), cell(each.help or "")] for each in arguments]))
    if options:
        parts.append(grid(["option", "does", "default", "environment variable"], map(_option, options)))
    return "\n\n".join(parts)


def _argument(parameter: Any) -> str:
    name = _value(parameter).strip("[]") + (" …" if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _option(parameter: Any) -> list[str]:
    names = ", ".join(parameter.opts)
    default = "" if parameter.default in {None, False} else str(parameter.default)
    written = names if parameter.is_flag else f"{names} {_value(parameter)}"
    return [code(written), cell(parameter.help or ""), code(default), code(parameter.envvar or "")]


def _value(parameter: Any) -> str:
    """What stands for the value of an argument or option."""
    annotation = parameter.type_descriptor.annotation
    if get_origin(annotation) is Literal:
        return "/".join(get_args(annotation))
    return parameter.metavar or {int: "N"}.get(annotation, "TEXT")


# ---- Experiment file ----


def experiment_file() -> str:
    """The fields of the file, part by part."""
    parts = [_section(model, name) for model, name in models(Experiment).items()]
    return "\n\n".join([_section(Experiment, "Top level"), *parts])


def _section(model: Model, title: str, level: int = 2) -> str:
    """What a model is, and its fields; links to it have its class's name in small letters."""
    return f"{'#' * level} {title} {{ #{model.__name__.lower()} }}\n\n{_docstring(model)}\n\n{table(model)}"


# ---- Plug-ins ----


def losses() -> str:
    """Every loss with its parameters."""
    return _plugins("losses", loss_classes.Loss)


def backbones() -> str:
    """Every backbone with its parameters."""
    return _plugins("backbones", backbone_classes.Backbone)


def datasets() -> str:
    """Every data set with its parameters."""
    return _plugins("datasets", dataset_classes.Dataset)


def _plugins(axis: catalogue.Axis, base: type[plugin_classes.Plugin]) -> str:
    """All plug-ins of an axis with their parameters; those that all have stand once, at the beginning."""
    head = [f"## Parameters of every {base.__name__.lower()}\n\n{table(base)}"] if base.model_fields else []
    parts = [_section(model, name, level=3) for model, name in models(base).items()]
    known = [each for each in catalogue.plugins(axis).values() if each.__module__.startswith("trainers.")]
    return "\n\n".join([*head, *parts, *(_plugin(each, base) for each in known)])


def _plugin(found: type[plugin_classes.Plugin], base: type[plugin_classes.Plugin]) -> str:
    own = [name for name, field in found.model_fields.items() if repr(field) != repr(base.model_fields.get(name))]
    parameters = table(found, own) if own else "It has no parameters of its own."
    return f"## {found.name}\n\n{_docstring(found)}\n\n{parameters}"


# ---- Commands ----


def placeholders() -> str:
    """What a command may say of its cell."""
    rows = [[code(f"{{{name}}}"), cell(meaning)] for name, meaning in PLACEHOLDERS.items()]
    rows += [[code(f"{{{axis}.PARAMETER}}"), f"a parameter of the {axis}"] for axis in AXES]
    return grid(["placeholder", "stands for"], rows)


# ---- Measures ----


def measures() -> str:
    """All measures of the results table."""
    rows = [[code(name), cell(text), *_trait(name)] for name, text in MEASURES.items()]
    return grid(["measure", "is", "better", "range", "needs"], rows)


def operation_measures() -> str:
    """The measures of an operation."""
    return grid(["measure", "is"], [[code(name), meaning] for name, meaning in operation.MEASURES.items()])


def _trait(name: str) -> list[str]:
    trait = TRAITS[name]
    needs = [f"{NEEDED[name]} images or pairs"] if name in NEEDED else []
    needs += ["a validation split"] if name in ON_VALIDATION else []
    ends = [f"{end:g}" if math.isfinite(end) else "" for end in (trait.low, trait.high)]
    span = {(True, True): " to ".join(ends), (True, False): f"≥ {ends[0]}"}.get((bool(ends[0]), bool(ends[1])), "any")
    return [trait.better or "–", span, ", ".join(needs)]


# ---- Classes ----


def plugin_bases() -> str:
    """The public classes that plug-ins are made of, package by package."""
    parts: list[str] = []
    for module in (plugin_classes, loss_classes, backbone_classes, dataset_classes):
        parts += [f"## {module.__name__}", *(_described(each, level=3) for each in _classes(module))]
    return "\n\n".join(parts)


def _classes(module: ModuleType) -> list[type]:
    """The public classes that a module defines, or names in `__all__`."""
    public = [(name, each) for name, each in vars(module).items() if inspect.isclass(each) and not name.startswith("_")]
    exported = getattr(module, "__all__", ())
    return [each for name, each in public if name in exported or each.__module__ == module.__name__]


def notebook() -> str:
    """The notebook's functions, and what they return."""
    doors = (orchestrator.results, orchestrator.judge)
    found = [each for door in doors for each in (door, get_type_hints(door)["return"])]
    return "\n\n".join(map(_described, [*found, Figure, Comparison, *_rows(Comparison)]))


def _rows(model: type) -> list[type]:
    """The classes that the fields of a class consist of, from the same package."""
    names = re.findall(r"\w+", " ".join(model.__annotations__.values()))
    found = [getattr(inspect.getmodule(model), name, None) for name in dict.fromkeys(names)]
    package = model.__module__.rpartition(".")[0]
    return [each for each in found if inspect.isclass(each) and each.__module__.rpartition(".")[0] == package]


def _described(thing: Any, level: int = 2) -> str:
    """What mkdocstrings replaces by signature and docstrings."""
    return f"::: {thing.__module__}.{thing.__qualname__}\n    options:\n      heading_level: {level}"


def _docstring(thing: type) -> str:
    return inspect.cleandoc(vars(thing).get("__doc__") or "")


# ---- Decisions ----


def decisions() -> str:
    """A link to each record, by its title."""
    records = sorted((Path(__file__).parent / "decisions").glob("[0-9]*.md"))
    return "\n".join(f"- [{_title(record)}]({record.name})" for record in records)


def _title(record: Path) -> str:
    """What its first line says, without the number, which Markdown would take for that of an item."""
    return record.read_text(encoding="utf-8").partition("\n")[0].partition(". ")[2]


SECTIONS = {
    each.__name__: each
    for each in (
        command_line,
        experiment_file,
        losses,
        backbones,
        datasets,
        placeholders,
        measures,
        operation_measures,
        plugin_bases,
        notebook,
        decisions,
    )
}
"""What a page may ask for, by name."""
