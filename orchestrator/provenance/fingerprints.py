"""Hashes of the code of plug-ins and of the training loop; comments and docstrings do not change them."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

from orchestrator.provenance.scripts import Code, is_ours, of_command, of_name
from orchestrator.provenance.syntax import entries, file_hash, imported, text_hash, written
from trainers import catalogue
from trainers.commands import NAMED
from trainers.plugin import Plugin
from trainers.recipe import Recipe

AXES: Mapping[str, catalogue.Axis] = {"loss": "losses", "backbone": "backbones", "dataset": "datasets"}

BUILT_IN = "trainers"
"""The package of the built-in plug-ins. Its modules also count for other plug-ins, which may inherit from them."""

LOOP = "trainers.fit"

COMPILED = (".so", ".pyd", ".dylib", ".dll")

_UNTOLD = {"__pycache__", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
"""Folders whose content changes although the code does not."""


def of(recipe: Recipe) -> dict[str, Code]:
    """The code that trains a recipe: of its loss, backbone and dataset, and of the training loop or the command."""
    plugins = {axis: of_plugin(axis, type(getattr(recipe, axis))) for axis in AXES}
    return {**plugins, "loop": of_command(recipe.trainer) if recipe.trainer else of_loop()}


def unlike(recipe: Recipe, planned: Mapping[tuple[str, str], Code]) -> str | None:
    """Which code of a recipe differs here from what was planned, in words; None if none does.

    Args:
        recipe: The recipe about to be trained.
        planned: The launch's code, by axis and name of a plug-in; the training loop has an empty name.
    """
    names = {axis: type(getattr(recipe, axis)).name for axis in AXES}
    for axis, code in of(recipe).items():
        name = names.get(axis, "")
        there = planned.get((axis, name))
        if there and there.sha256 != code.sha256:
            loop = "the command" if recipe.trainer else "the training loop"
            return f"{axis} '{name}' ({code.source})" if name else f"{loop} ({code.source})"
    return None


def recorded(recipe: Recipe) -> dict[str, dict[str, str] | None]:
    """The code that trains a recipe, in the form of a cell's provenance."""
    found = of(recipe)
    return {
        "fingerprints": {axis: code.sha256 for axis, code in found.items()},
        "distributions": {axis: code.source for axis, code in found.items()},
        # Whose versions this process knows are not those that another Python computes with.
        **({"torch_version": None} if recipe.trainer and not is_ours(recipe.trainer) else {}),
    }


@cache
def of_loop() -> Code:
    """The code of the training loop, without the modules that define plug-ins."""
    return Code(_hash(_reached([LOOP], (BUILT_IN,), defining())), _named(_home(BUILT_IN), BUILT_IN))


def defining() -> set[str]:
    """The modules that define plug-ins."""
    return {plugin.__module__ for axis in AXES.values() for plugin in catalogue.plugins(axis).values()}


@cache
def of_plugin(axis: str, plugin: type[Plugin]) -> Code:
    """The code of a plug-in, by its axis: `loss`, `backbone` or `dataset`."""
    if plugin in NAMED.values():
        return of_name()
    modules = [kind.__module__ for kind in plugin.__mro__ if issubclass(kind, Plugin)]
    package = plugin.__module__.partition(".")[0]
    if package == BUILT_IN:
        return Code(_hash(_reached(modules, (BUILT_IN,))), _named(_home(BUILT_IN), BUILT_IN))
    home, entries = _origin(AXES[axis], plugin)
    files = _reached([*modules, *entries], (package, BUILT_IN, *_shipped(home)))
    parts = [_hash(files), *([] if home is None else [home.name, home.version])]
    if plugin.__module__ not in files:  # it is defined in a notebook, for example
        parts += written(ast.parse(dedent(inspect.getsource(plugin))), [])
    parts += [f"{name} {digest}" for name, digest in _data(files.get(plugin.__module__), package, home)]
    return Code(text_hash(parts), _named(home, package))


@cache
def of_measure(metric: str) -> Code:
    """The code of a user-defined measure, named `MODULE:FUNCTION`.

    It consists of the function, what it uses from its module, and the modules that these import. Other functions of
    the module do not count.
    """
    name, _, function = metric.partition(":")
    package = name.partition(".")[0]
    home = None if package == BUILT_IN else _home(package)
    own = {package, BUILT_IN, *_shipped(home)}
    place = next((module for module in _on_the_way(name, own) if module.name == name), None)
    if place is None or place.file.suffix != ".py":
        return Code(_hash(_reached([name], own)), _named(home, package))
    importing: list[ast.AST] = []
    tree = ast.parse(place.file.read_bytes(), str(place.file))
    words = entries(_used(tree.body, function), importing)
    parts = [*words, *(f"{file} {digest}" for file, digest in _data(place.file, package, home))]
    imports = [each for node in importing for each in imported(node, place.package)]
    return Code(text_hash([*parts, _hash(_reached([name, *imports], own, {name}))]), _named(home, package))


def _used(statements: Sequence[ast.stmt], function: str) -> list[ast.stmt]:
    """The statements of a module on which a function depends, and all statements that bind no name."""
    wanted = {function}
    while True:
        kept = [each for each in statements if not (bound := _bound(each)) or bound & wanted]
        names = {node.id for each in kept for node in ast.walk(each) if isinstance(node, ast.Name)}
        if names <= wanted:
            return kept
        wanted |= names


def _bound(statement: ast.stmt) -> set[str]:
    """The names that a statement binds, or whose attributes it sets; empty if it may have other effects."""
    match statement:
        case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
            return {name}
        case ast.Import(names) | ast.ImportFrom(names=names):
            return {(each.asname or each.name).partition(".")[0] for each in names if each.name != "*"}
        case ast.Assign(targets) if not any(isinstance(node, ast.NamedExpr) for node in ast.walk(statement.value)):
            return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
        case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}
        case _:
            return set()


# Modules and what they import


class Module(NamedTuple):
    """A module's file, found without importing it."""

    name: str
    file: Path

    @property
    def package(self) -> str:
        """The package from which its relative imports start."""
        return self.name if self.file.stem == "__init__" else self.name.rpartition(".")[0]


def _reached(names: Iterable[str], own: Iterable[str], without: Iterable[str] = ()) -> dict[str, Path]:
    """The files of some modules and of all they import, directly or indirectly, from packages that count."""
    found = dict[str, Path]()
    open_ = list(names)
    own = set(own)
    without = set(without)
    while open_:
        for module in _on_the_way(open_.pop(), own):
            if module.name in found or module.name in without:
                continue
            found[module.name] = module.file
            open_ += _read(module).imports
    return found


def _on_the_way(name: str, own: set[str]) -> Iterator[Module]:
    """The module of that name and its parent packages, if their code counts; stops at a name that is no module."""
    top, *below = name.split(".")
    path = top
    places = _top(top, top in own)
    while places:
        files = (place / "__init__.py" if place.is_dir() else place for place in places)
        if file := next(filter(Path.exists, files), None):
            yield Module(path, file)
        if not below:
            return
        step = below.pop(0)
        path = f"{path}.{step}"
        places = tuple(found for place in places if place.is_dir() and (found := _in(place, step)))


def _in(folder: Path, name: str) -> Path | None:
    """The module of that name in a folder: the folder of a package, a file, or a compiled file."""
    if (folder / name).is_dir():
        return folder / name
    if (folder / f"{name}.py").exists():
        return folder / f"{name}.py"
    return next((file for file in sorted(folder.glob(f"{name}.*")) if file.suffix in COMPILED), None)


@cache
def _top(name: str, is_own: bool) -> tuple[Path, ...]:
    """Where a top-level module or package is: several places for a namespace package, none if it does not count.

    Installed packages count only if `is_own`.
    """
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a module without a specification, as `__main__`
        return ()
    if spec is None:
        return ()
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    if not places and spec.has_location and spec.origin:
        places = [Path(spec.origin)]
    return tuple(place for place in places if is_own or not _is_installed(place.parent))


_STANDARD = {Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib")}


@cache
def _is_installed(folder: Path) -> bool:
    """Whether a folder has installed packages or the standard library, whose versions are recorded elsewhere."""
    in_standard = bool(_STANDARD & {folder, *folder.parents})
    return in_standard or next(folder.glob("*.dist-info"), None) is not None


# Hashes


class ModuleContent(NamedTuple):
    """What a module's file contributes."""

    sha256: str
    imports: tuple[str, ...]
    """The names that it imports anywhere; some are not modules."""


@cache
def _read(module: Module) -> ModuleContent:
    if module.file.suffix != ".py":
        return ModuleContent(file_hash(module.file), ())
    importing: list[ast.AST] = []
    found = text_hash(written(ast.parse(module.file.read_bytes(), str(module.file)), importing))
    return ModuleContent(found, tuple(name for node in importing for name in imported(node, module.package)))


def _hash(files: Mapping[str, Path]) -> str:
    return text_hash(f"{name} {_read(Module(name, files[name])).sha256}" for name in sorted(files))


# Packages


def _origin(axis: catalogue.Axis, plugin: type[Plugin]) -> tuple[Distribution | None, list[str]]:
    """The distribution of a third-party plug-in, and the modules that its entry points name."""
    points = [point for point, found in catalogue.installed(axis) if found is plugin]
    home = next((point.dist for point in points if point.dist), None)
    return home or _home(plugin.__module__.partition(".")[0]), [point.module for point in points]


@cache
def _home(package: str) -> Distribution | None:
    """The distribution that installed a top-level package; None if it was not installed."""
    if package == BUILT_IN:
        return next(iter(distributions(name="loss-orchestrator")), None)
    for place in _top(package, is_own=True):
        found = distributions(path=[str(place.parent)]) if _is_installed(place.parent) else ()
        if home := next((each for each in found if place.stem in _shipped(each)), None):
            return home
    return None


def _shipped(home: Distribution | None) -> set[str]:
    """The top-level modules and packages of a distribution."""
    if home is None:
        return set()
    named = (home.read_text("top_level.txt") or "").split()
    return {*named, *(Path(file.parts[0]).stem for file in home.files or () if file.suffix == ".py")}


def _named(home: Distribution | None, package: str) -> str:
    if home is not None:
        return f"{home.name} {home.version}"
    return next((place.name for place in _top(package, is_own=True)), package)


def _data(module: Path | None, package: str, home: Distribution | None) -> Iterator[tuple[str, str]]:
    """Every file next to the Python code, such as compiled parts, tables and weights.

    They are the files that the distribution installed or, for a package in its developer's folder, all files in it.
    """
    root = next((place for place in _top(package, is_own=True) if module and module.is_relative_to(place)), None)
    if root is None:
        return
    listed = [Path(str(file.locate())) for file in (home.files or ())] if home else []
    installed = [file for file in listed if file.is_relative_to(root.parent)]
    for file in sorted(installed or root.rglob("*")):
        told = file.relative_to(root.parent)
        if (
            file.is_file()
            and file.suffix not in {".py", ".pyc"}
            and not _UNTOLD & {*told.parts}
            and not _is_about(told)
        ):
            yield told.as_posix(), file_hash(file)


def _is_about(file: Path) -> bool:
    """Whether a file only describes the installation."""
    return file.parts[0].endswith((".dist-info", ".egg-info"))
