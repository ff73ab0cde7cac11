"""What the verbs share: arguments, options and exit codes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from orchestrator.privacy import masked
from orchestrator.stores import Stores
from orchestrator.study import Study

FINE = 0
SOME_FAILED = 1
WRONG = 2
UNDECIDED = 3
INTERRUPTED = 130
"""Exit codes: every cell finished; some cell failed; the request is wrong; interrupted by the user."""

RUNS = "runs"

DEBUG = "debug"
"""The object of a verb's context where the user gave --debug."""

File = Annotated[Path, typer.Argument(metavar="FILE.yaml", help="The experiment file.", show_default=False)]
Root = Annotated[
    str,
    typer.Option(
        "--workspace",
        metavar="DIR|URI",
        envvar="ORCHESTRATOR_WORKSPACE",
        help="The folder, or s3://BUCKET/PREFIX, where a launch stores everything.",
    ),
]
RegistryURL = Annotated[
    str | None,
    typer.Option("--registry", metavar="URL", envvar="ORCHESTRATOR_REGISTRY", help="Default: SQLite in the workspace."),
]
TrackingURI = Annotated[
    str | None,
    typer.Option("--tracking", metavar="URI", envvar="MLFLOW_TRACKING_URI", help="Default: SQLite in the workspace."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        envvar="ORCHESTRATOR_DATA",
        help="The folder that holds or receives datasets. Default: data, else where the last launch here had them.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option("--address", envvar="RAY_ADDRESS", help="A Ray cluster to join. Default: a local Ray."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Rehash = Annotated[bool, typer.Option("--rehash", help="Read all data again, even if sizes and dates are unchanged.")]


def names(axis: Literal["losses", "backbones", "datasets"]) -> Callable[[str], list[str]]:
    """Completes a name of the catalogue."""

    def complete(incomplete: str) -> list[str]:
        from trainers.catalogue import plugins

        return [name for name in plugins(axis) if name.startswith(incomplete)]

    return complete


@dataclass(frozen=True)
class Axes:
    """The six options that change which cells an experiment has."""

    loss: Annotated[
        list[str] | None,
        typer.Option("--loss", metavar="NAME", help="Add a loss; repeatable.", autocompletion=names("losses")),
    ] = None
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            "--backbone", metavar="NAME", help="Add a backbone; repeatable.", autocompletion=names("backbones")
        ),
    ] = None
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", metavar="NAME", help="Add a dataset; repeatable.", autocompletion=names("datasets")),
    ] = None
    only: Annotated[
        bool, typer.Option("--only", help="Narrow the axes to the names given, instead of adding them.")
    ] = False
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="N|LIST", help="5 for 0…4, or a list such as 0,3,7.")
    ] = None

    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change the recipe, as in recipe.epochs=1; repeatable."),
    ] = None

    def study(self, file: Path, stores: Stores, data_dir: Path | None = None) -> Study:
        """The study of a file, as the options change its experiment."""
        return Study.of_file(file, stores, data_dir, **asdict(self))


ALL = Axes()


def with_axes(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb, with the options of `Axes` in place of its parameter `axes`."""
    hints = get_type_hints(Axes, include_extras=True)
    options = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        for field in fields(Axes)
    ]

    @wraps(verb)
    def run(**given: Any) -> None:
        axes = Axes(**{option.name: given.pop(option.name) for option in options})
        verb(**given, axes=axes)

    signature = inspect.signature(verb, eval_str=True)
    parameters = list[Parameter]()
    for parameter in signature.parameters.values():
        parameters += options if parameter.name == "axes" else [parameter]
    # typer reads the options from here
    run.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportAttributeAccessIssue]
    return run


def given(context: typer.Context, *names: str) -> list[str]:
    """The words of options that the user gave on the command line; passwords in them are not shown."""
    words: list[str] = []
    for name in names:
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        option = next(parameter.opts[0] for parameter in context.command.params if parameter.name == name)
        for each in value if isinstance(value, (list, tuple)) else [value]:
            words += [option] if each is True else [option, masked(str(each))]
    return words


def launch_command(context: typer.Context, file: Path) -> str:
    """The command that launches what this one shows, with its stores and axes as they were given."""
    from orchestrator.report.terminal.hints import command

    options = ("workspace", "registry", "data_dir", *(field.name for field in fields(Axes)))
    return command(["launch", str(file), *given(context, *options)])
