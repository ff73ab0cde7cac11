"""Fingerprints of commands that train: of the files that they name, and of what these import beside themselves."""

from __future__ import annotations

import ast
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

from orchestrator.provenance.syntax import file_hash, imported, text_hash, written
from trainers.commands import Trainer

PYTHONS = ("python", "python3")
"""Programs that mean the Python that runs this."""

ABSENT = "absent"
"""In place of the content of a file that is not here."""


@dataclass(frozen=True)
class Code:
    """The code of a plug-in, of the training loop or of a command."""

    sha256: str
    source: str
    """The package that it comes from, with its version; for a module without a package, the file's name."""


def is_ours(trainer: Trainer) -> bool:
    """Whether the command is run by the Python that runs this."""
    return trainer.command[0] in (*PYTHONS, sys.executable)


def program(trainer: Trainer) -> Path | None:
    """The program of a command on this machine; None if there is none."""
    name = trainer.command[0]
    if name in PYTHONS:
        return Path(sys.executable)
    beside = trainer.folder / name
    found = str(beside) if "/" in name else shutil.which(name)
    return Path(found) if found and shutil.which(found) else None


def faults(trainer: Trainer) -> Iterator[tuple[int, str]]:
    """Why a command cannot start on this machine: the place of a word, and a sentence."""
    name = trainer.command[0]
    if program(trainer) is None:
        where = str(trainer.folder / name) if "/" in name else "PATH"
        yield 0, f"The command cannot start: there is no program '{name}' ({where})."
    if (place := _script(trainer)) is None:
        return
    word = trainer.command[place]
    if trainer.command[place - 1] == "-m":
        if not _beside(word, trainer.folder) and not _is_installed(word, trainer):
            yield place, f"The command cannot start: there is no module '{word}' in {trainer.folder}."
    elif not (trainer.folder / word).is_file():
        yield place, f"The command cannot start: there is no file {trainer.folder / word}."


def _script(trainer: Trainer) -> int | None:
    """The place of the script or module that a Python runs; None where that is not known."""
    if not Path(trainer.command[0]).name.startswith("python"):
        return None
    for place, word in enumerate(trainer.command[1:], start=1):
        if word in {"-c", "-"}:
            return None
        if word == "-m":
            return place + 1 if place + 1 < len(trainer.command) else None
        if not word.startswith("-") and trainer.command[place - 1] not in {"-W", "-X"}:
            return place
    return None


def _is_installed(module: str, trainer: Trainer) -> bool:
    """Whether a module may be an installed one; in another Python, each may be."""
    return not is_ours(trainer) or module.partition(".")[0] in {*_homes(), *sys.stdlib_module_names}


_homes = cache(packages_distributions)
"""The packages of top-level modules in this Python; to find them takes a second."""


@cache
def of_name() -> Code:
    """The code of an entry that is only a name: that of the command says all."""
    return Code(text_hash(["a name"]), "the command")


def of_command(trainer: Trainer) -> Code:
    """The code of a command: its words, the files they name, what scripts import beside them, and versions of the rest.

    A file that is not here counts as absent, so that results can be read where the code is not.
    """
    parts = list(trainer.command)
    reached, others = _reached(list(_files(trainer, trainer.folder)))
    parts += [f"{name} {_content(reached[name])}" for name in sorted(reached)]
    parts += [f"{name} {version}" for name, version in sorted(_versions(others, trainer).items())]
    if not is_ours(trainer) and (found := program(trainer)):
        parts.append(f"program {file_hash(found)}")
    script = _script(trainer)
    named = trainer.command[0 if script is None else script]
    return Code(text_hash(parts), Path(named).name)


def _files(trainer: Trainer, folder: Path) -> Iterator[tuple[str, Path, Path]]:
    """Every file that a command names: the word, the file, and the folder in which its imports are looked for."""
    script = _script(trainer)
    for place, word in enumerate(trainer.command):
        if place == script and trainer.command[place - 1] == "-m":
            yield from ((word, file, folder) for file in _beside(word, folder))
            yield from ((word, file, folder) for file in _beside(f"{word}.__main__", folder))
        elif place and (folder / word).is_file():
            yield word, folder / word, (folder / word).parent


def _reached(files: list[tuple[str, Path, Path]]) -> tuple[dict[str, Path], set[str]]:
    """Files by name with those that they import beside them, and the top-level names of all other imports."""
    found = dict[str, Path]()
    others = set[str]()
    waiting = [*files]
    while waiting:
        name, file, root = waiting.pop()
        if name in found:
            continue
        found[name] = file
        for module in _imports(file, root):
            beside = _beside(module, root)
            others |= set() if beside else {module.partition(".")[0]}
            waiting += [(each.relative_to(root).as_posix(), each, root) for each in beside]
    return found, others


def _imports(file: Path, root: Path) -> Iterator[str]:
    """What a file imports, as far as it is Python."""
    if file.suffix != ".py":
        return
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError):
        return
    inner = file.relative_to(root).parent.parts if file.is_relative_to(root) else ()
    for node in ast.walk(tree):
        yield from imported(node, ".".join(inner))


def _beside(module: str, root: Path) -> list[Path]:
    """The files of a module, and of the packages it is in, in a folder; a name behind a module is one in it."""
    found = list[Path]()
    place = root
    for part in module.split("."):
        place /= part
        if (file := place.with_name(f"{part}.py")).is_file():
            return [*found, file]
        if not place.is_dir():
            break
        if (file := place / "__init__.py").is_file():
            found.append(file)
    return found


def _content(file: Path) -> str:
    """What a file says; comments and docstrings of Python do not count."""
    try:
        if file.suffix == ".py":
            return text_hash(written(ast.parse(file.read_bytes(), str(file)), []))
        return file_hash(file)
    except (SyntaxError, ValueError):
        return file_hash(file)
    except OSError:
        return ABSENT


def _versions(modules: set[str], trainer: Trainer) -> dict[str, str]:
    """The versions of the packages of some top-level modules, in the Python that runs the command."""
    if is_ours(trainer):
        homes = _homes()
        names = {home for module in modules for home in homes.get(module, ())}
        return {home.name: home.version for home in distributions() if home.name in names}
    found = program(trainer)
    folders = [] if found is None else [str(each) for each in found.parent.parent.glob("lib/python*/site-packages")]
    every = list(distributions(path=folders))
    return {home.name: home.version for home in every if modules & set((home.read_text("top_level.txt") or "").split())}
