"""The command line: its verbs, and what becomes of an error.

What a verb needs and what is slow to import (rich, pyarrow, scipy, torch, ray) is imported inside it: `--help` imports
all verbs, and `plan` needs few of these.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import typer

from orchestrator import extras
from orchestrator.cli import add, deployment, launch, results, upkeep
from orchestrator.cli.options import DEBUG, SOME_FAILED, WRONG
from orchestrator.errors import OrchestratorError, RequestError

app = typer.Typer(
    help="Is one loss really better than another? Plan, run and compare grids of models.",
    epilog="With --debug, anywhere, errors show their traceback.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# In the order of the help. Four verbs have names that mean something else in Python or here.
app.command()(launch.launch)
app.command("plan")(launch.show_plan)
app.command()(launch.status)
app.command()(add.add)
app.command()(results.aggregate)
app.command()(results.compare)
app.command()(results.report)
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
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does, for an experiment's `plugins:`
    # A batch system's polite end is a Ctrl-C, also where a background job ignores the keyboard's.
    for polite in (signal.SIGINT, signal.SIGTERM):
        signal.signal(polite, signal.default_int_handler)
    words = [argument for argument in arguments if argument != "--debug"]
    try:
        app(words, prog_name="orchestrator", obj=DEBUG if debug else None)
    except Exception as error:
        if debug:
            raise
        error = extras.told(error) or error
        if isinstance(error, OrchestratorError):
            print(error, file=sys.stderr)
        else:
            print(f"Unexpected {type(error).__name__}: {error}\n--debug shows where.", file=sys.stderr)
        sys.exit(WRONG if isinstance(error, RequestError) else SOME_FAILED)
