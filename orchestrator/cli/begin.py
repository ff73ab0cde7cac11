"""Begin with images of one's own."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from orchestrator.errors import RequestError
from orchestrator.report.terminal.console import complain, console, say


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Images in folders, or Parquet files.", show_default=False)
    ],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.yaml]", help="Default: the folder's name, here.", show_default=False)
    ] = None,
) -> None:
    """Look at a folder of images, and write a commented experiment file for it."""
    from orchestrator.experiment.draft import draft, name_of
    from orchestrator.records.files.contents import DATA

    written = file or Path(f"{name_of(folder)}.yaml")
    if written.suffix not in {".yaml", ".yml"}:
        raise RequestError(f"{written} is no name of an experiment file: it ends in .yaml.")
    if written.exists() or written.is_symlink():
        other = f"orchestrator init {quote(str(folder))} OTHER.yaml"
        raise RequestError(f"{written} exists and is left as it is. Name another file: {other}.")
    found = draft(folder, written, DATA)
    try:
        with written.open("x", encoding="utf-8") as new:
            new.write(found.text)
    except OSError as error:
        raise RequestError(f"{written} cannot be written ({error.strerror}).") from None
    people = console()
    for sentence in found.facts:
        say(people, f"{sentence[:1].upper()}{sentence[1:]}.")
    for sentence in found.cautions:
        complain(people, sentence)
    program = "python -m orchestrator"
    target = quote(str(written))
    say(people, f"{written} is written. Read it, and then:")
    say(people, f"  {program} launch {target}    # train, and compare")
    say(people, f"  {program} report {target}    # the page to read and to show")
