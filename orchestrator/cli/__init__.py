"""The command line: its verbs, and what becomes of an error.

What a verb needs and what is slow to import (rich, pyarrow, scipy, torch, ray) is imported inside it: `--help` imports
all verbs, and `plan` needs few of these.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from orchestrator import extras, signals
from orchestrator.cli import add, begin, deployment, judge, launch, results, streams, upkeep
from orchestrator.cli.options import DEBUG, FINE, INTERRUPTED, SOME_FAILED, WRONG
from orchestrator.errors import OrchestratorError, RequestError
from orchestrator.privacy import public

app = typer.Typer(
    help="Is one loss really better than another? Plan, run and compare grids of models.",
    epilog="With --debug, anywhere, errors show their traceback.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# In the order of the help. Four verbs have names that mean something else in Python or here.
app.command()(begin.init)
app.command()(launch.launch)
app.command("plan")(launch.show_plan)
app.command()(launch.status)
app.command()(add.add)
app.command()(results.aggregate)
app.command()(results.compare)
app.command()(results.report)
app.command()(judge.judge)
app.command()(deployment.decide)
app.command()(results.ui)
app.command()(results.export)
app.command("import")(results.import_cells)
app.command()(upkeep.gc)
app.command()(upkeep.rebuild)
app.command()(upkeep.verify)
app.command()(upkeep.doctor)
app.command("list")(upkeep.list_catalogue)


def main() -> None:
    """Run a verb; an error is one message a person can act on, and never a bare traceback."""
    streams.make_lasting()
    signals.listen(signals.interrupt)
    arguments = sys.argv[1:]
    code = _run([argument for argument in arguments if argument != "--debug"], debug="--debug" in arguments)
    sys.stdout.flush()
    # A launch's results are in its workspace; other verbs may have no other product than what they print.
    is_lost = streams.is_incomplete() and "launch" not in arguments
    sys.exit(code or (SOME_FAILED if is_lost else FINE))


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
