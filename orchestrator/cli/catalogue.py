"""What an experiment can name: lists, and one plug-in with its parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli.options import Json
from orchestrator.errors import RequestError
from orchestrator.report.terminal.console import console

if TYPE_CHECKING:
    from trainers.catalogue import Axis

AXES: Mapping[str, Axis] = {"loss": "losses", "backbone": "backbones", "dataset": "datasets"}


def list_catalogue(
    what: Annotated[Literal["losses", "backbones", "datasets", "measures"], typer.Argument(show_default=False)],
    *,
    as_json: Json = False,
) -> None:
    """List the losses, backbones, datasets or measures an experiment can name, plug-ins included."""
    from orchestrator.report.terminal.catalogue import catalogue

    known = _measures() if what == "measures" else _plugins(what)
    if as_json:
        print(json.dumps(known))
    else:
        console().print(catalogue(known))


def _plugins(axis: Axis) -> dict[str, str]:
    from trainers.catalogue import plugins

    return {name: plugin.summary() for name, plugin in plugins(axis).items()}


def _measures() -> dict[str, str]:
    from orchestrator.experiment import operation
    from trainers.metrics.names import MEASURES

    return {**MEASURES, **operation.MEASURES}


def show(
    kind: Annotated[Literal["loss", "backbone", "dataset"], typer.Argument(show_default=False)],
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `list` has it.", show_default=False)],
    *,
    as_json: Json = False,
) -> None:
    """Show a loss, backbone or dataset: what it is, its parameters with their defaults, and where its code is."""
    from pydantic import ValidationError

    from orchestrator.experiment.field_texts import described
    from orchestrator.report.terminal.catalogue import plugin
    from trainers.catalogue import UnknownNameError, plugins, resolve

    axis = AXES[kind]
    try:
        with suppress(ValidationError):  # it lacks parameters without a default, which are to be shown
            resolve(axis, name)
    except UnknownNameError as error:
        raise RequestError(str(error)) from None
    found = described(plugins(axis)[name.partition(":")[0]])
    if as_json:
        print(json.dumps(found.to_json()))
    else:
        console().print(plugin(found))
