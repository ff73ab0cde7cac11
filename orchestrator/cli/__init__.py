"""The command line: its verbs, and what becomes of an error.

What a verb needs and what is slow to import (rich, pyarrow, scipy, torch, ray) is imported inside it: `--help` imports
all verbs, and `plan` needs few of these.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator import extras
from orchestrator.cli import (
    add,
    begin,
    catalogue,
    deployment,
    judge,
    launch,
    plan,
    rehearse,
    results,
    status,
    streams,
    upkeep,
)
from orchestrator.cli.options import DEBUG, FINE, INTERRUPTED, SOME_FAILED, WRONG
from orchestrator.errors import OrchestratorError, RequestError
from orchestrator.privacy import public
from orchestrator.process import signals
from orchestrator.process.time_limit import leave

app = typer.Typer(
    help="Is one loss really better than another? Plan, run and compare grids of models.",
    epilog="With --debug, anywhere, errors show their traceback.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from orchestrator.provenance import program

        print(f"orchestrator {program()}")
        raise typer.Exit


@app.callback()
def every_verb(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """What holds for all verbs; the text of the help is that of `app`."""


def _add(verb: Callable[..., Any], name: str | None = None) -> None:
    """Add a verb; its line in the help is the first paragraph of its docstring, which Click would cut."""
    summary = (inspect.getdoc(verb) or "").partition("\n\n")[0]
    app.command(name, short_help=" ".join(summary.split()))(verb)


# In the order of the help. Some verbs have names that mean something else in Python or here.
_add(begin.init)
_add(rehearse.rehearse)
_add(launch.launch)
_add(plan.show_plan, "plan")
_add(status.status)
_add(add.add)
_add(results.aggregate)
_add(results.compare)
_add(results.report)
_add(judge.judge)
_add(deployment.decide)
_add(deployment.deploy)
_add(deployment.check)
_add(results.ui)
_add(results.export)
_add(results.import_cells, "import")
_add(upkeep.gc)
_add(upkeep.rebuild)
_add(upkeep.verify)
_add(upkeep.doctor)
_add(catalogue.list_catalogue, "list")
_add(catalogue.show)


def main() -> None:
    """Run a verb; an error is one message a person can act on, and never a bare traceback."""
    streams.make_lasting()
    signals.listen(signals.interrupt)
    arguments = sys.argv[1:]
    code = _run([argument for argument in arguments if argument != "--debug"], debug="--debug" in arguments)
    sys.stdout.flush()
    # A launch's results are in its workspace; other verbs may have no other product than what they print.
    is_lost = streams.is_incomplete() and "launch" not in arguments
    leave(code or (SOME_FAILED if is_lost else FINE))


def _run(words: list[str], *, debug: bool) -> int | str | None:
    """Run a verb; return its exit code."""
    try:
        _see_working_folder()
        _have_a_home()
        app(words, prog_name="orchestrator", obj=DEBUG if debug else None)
    except SystemExit as end:
        return end.code
    except Exception as error:
        if signals.was_interrupted():  # and a library made an error of it
            return INTERRUPTED
        if debug:
            raise
        error = extras.told(error) or error
        if isinstance(error, OrchestratorError):
            print(public(str(error)), file=sys.stderr)
        else:
            print(f"Unexpected {type(error).__name__}: {public(str(error))}\n--debug shows where.", file=sys.stderr)
        return WRONG if isinstance(error, RequestError) else SOME_FAILED
    return FINE


def _have_a_home() -> None:
    """Give a user whom the system does not know the home that containers give: libraries ask for one."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"


def _see_working_folder() -> None:
    """Let an experiment's `plugins:` be imported from the working folder, as `python -m` does.

    Raises:
        RequestError: It was deleted, or cannot be read.
    """
    try:
        folder = str(Path.cwd())
    except OSError as error:
        raise RequestError(f"The working folder cannot be used ({error.strerror}): change to another.") from None
    if "" not in sys.path and folder not in sys.path:
        sys.path.insert(0, folder)
