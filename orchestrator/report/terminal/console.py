"""Where people read: a console, sentences on it, and paths as seen from the working folder."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.privacy import public
from orchestrator.workspace import Location

if TYPE_CHECKING:  # rich is imported when something is printed, so that `--help` starts without it
    from rich.console import Console, RenderableType


def console(*, stderr: bool = False) -> Console:
    """A console for people; a pipe has no width, and 80 columns would fold the tables."""
    from rich.console import Console

    from orchestrator.report.terminal.visible import Visible

    made = Console(stderr=stderr, highlight=False)
    made.push_render_hook(Visible())
    if not made.is_terminal:
        made.width = 160
    return made


def say(console: Console, sentence: str) -> None:
    """Print a sentence as it is, whatever brackets and colons it has."""
    console.print(public(sentence), markup=False, emoji=False, soft_wrap=True)


def complain(console: Console, sentence: str) -> None:
    """Say what is wrong with something, without stopping for it."""
    console.print(public(sentence), style="red", markup=False, emoji=False, soft_wrap=True)


def as_html(shown: RenderableType) -> str:
    """What a notebook shows in place of a terminal."""
    from rich.console import Console

    # In Jupyter, a console shows what it prints by itself: the notebook would show it twice.
    made = Console(record=True, width=120, file=StringIO(), force_jupyter=False)
    made.print(shown)
    return made.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def near(place: Location) -> Location:
    """The path as seen from here, where that is shorter."""
    if isinstance(place, Path) and place.is_relative_to(Path.cwd()):
        return place.relative_to(Path.cwd())
    return place
