"""What a plug-in and the training loop are made of, as hashes that no comment and no docstring changes."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, distributions, entry_points
from pathlib import Path
from typing import Any, NamedTuple

from trainers import catalogue
from trainers.plugin import Plugin
from trainers.recipe import Recipe

AXES: Mapping[str, catalogue.Axis] = {"loss": "losses", "backbone": "backbones", "dataset": "datasets"}

BUILT_IN = "trainers"
"""The package of the built-in plug-ins. What another plug-in imports from it counts, too: it may inherit from there."""

LOOP = "trainers.fit"

COMPILED = (".so", ".pyd", ".dylib", ".dll")

_UNTOLD = {"__pycache__", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
"""Folders whose content changes though nothing did."""


@dataclass(frozen=True)
class Code:
    """What a plug-in, or the training loop, consists of."""

    sha256: str
    source: str
    """The package that it comes from and its version; of a module without a package, its file's name."""


def of(recipe: Recipe) -> dict[str, Code]:
    """The code that trains a recipe: of its loss, backbone and dataset, and of the training loop."""
    plugins = {axis: of_plugin(axis, type(getattr(recipe, axis))) for axis in AXES}
    return {**plugins, "loop": of_loop()}


def recorded(recipe: Recipe) -> dict[str, dict[str, str]]:
    """The same as a cell's provenance states it."""
    found = of(recipe)
    return {
        "fingerprints": {axis: code.sha256 for axis, code in found.items()},
        "distributions": {axis: code.source for axis, code in found.items()},
    }


@cache
def of_loop() -> Code:
    """The code of the training loop, without the modules that define plug-ins."""
    defining = {plugin.__module__ for axis in AXES.values() for plugin in catalogue.plugins(axis).values()}
    return Code(_hash(_reached([LOOP], (BUILT_IN,), defining)), _named(_home(BUILT_IN), BUILT_IN))


@cache
def of_plugin(axis: str, plugin: type[Plugin]) -> Code:
    """The code of a plug-in, by its axis: `loss`, `backbone` or `dataset`."""
    modules = [kind.__module__ for kind in plugin.__mro__ if issubclass(kind, Plugin)]
    package = plugin.__module__.partition(".")[0]
    if package == BUILT_IN:
        return Code(_hash(_reached(modules, (BUILT_IN,))), _named(_home(BUILT_IN), BUILT_IN))
    home, entry = _origin(AXES[axis], plugin)
    files = _reached([*modules, *catalogue.givers(plugin), *entry], (package, BUILT_IN))
    parts = [_hash(files), *([] if home is None else [home.metadata["Name"], home.version])]
    parts += [f"{name} {digest}" for name, digest in _data(package, home)]
    return Code(_text_hash(parts), _named(home, package))


# Modules and what they import


class Module(NamedTuple):
    """A module's file, found without importing it."""

    name: str
    file: Path

    @property
    def package(self) -> str:
        """What its relative imports start from."""
        return self.name if self.file.stem == "__init__" else self.name.rpartition(".")[0]


def _reached(names: Iterable[str], own: Iterable[str], without: Iterable[str] = ()) -> dict[str, Path]:
    """The files of some modules and of all that they import, directly or not, from packages that count."""
    found, open_ = dict[str, Path](), list(names)
    own, without = set(own), set(without)
    while open_:
        for module in _on_the_way(open_.pop(), own):
            if module.name in found or module.name in without:
                continue
            found[module.name] = module.file
            open_ += _imports(module)
    return found


def _on_the_way(name: str, own: set[str]) -> Iterator[Module]:
    """The module of that name and the packages around it, if their code counts; what is no module ends it."""
    top, *below = name.split(".")
    place = _top(top, top in own)
    path = top
    while place is not None:
        file = place / "__init__.py" if place.is_dir() else place
        if file.exists():
            yield Module(path, file)
        if not below or not place.is_dir():
            return
        path = f"{path}.{below[0]}"
        place = _in(place, below.pop(0))


def _in(folder: Path, name: str) -> Path | None:
    """The module of that name in a folder: a package's folder, a file, or a compiled file."""
    if (folder / name).is_dir():
        return folder / name
    if (folder / f"{name}.py").exists():
        return folder / f"{name}.py"
    return next((file for file in sorted(folder.glob(f"{name}.*")) if file.suffix in COMPILED), None)


@cache
def _top(name: str, is_own: bool) -> Path | None:
    """Where a top-level module or package lies; None where it is installed and does not count, or there is none."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a module without a specification, as `__main__`
        return None
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or ())
    origin = Path(places[0]) if places else Path(spec.origin) if spec.has_location and spec.origin else None
    if origin is None or (not is_own and _is_installed(origin.parent)):
        return None
    return origin


_STANDARD = {Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib")}


@cache
def _is_installed(folder: Path) -> bool:
    """Whether a folder is one of installed packages, or the standard library: their versions are told elsewhere."""
    in_standard = bool(_STANDARD & {folder, *folder.parents})
    return in_standard or next(folder.glob("*.dist-info"), None) is not None


@cache
def _tree(file: Path) -> ast.Module | None:
    return None if file.suffix != ".py" else ast.parse(file.read_bytes(), str(file))


@cache
def _imports(module: Module) -> tuple[str, ...]:
    """The names that a module imports, wherever in it; some are no modules."""
    tree = _tree(module.file)
    return () if tree is None else tuple(name for node in ast.walk(tree) for name in _imported(node, module.package))


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    match node:
        case ast.Import(names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module, names, level):
            base = ".".join(package.split(".")[: len(package.split(".")) - (level or 1) + 1]) if level else ""
            start = ".".join(filter(None, (base, module)))
            yield from (f"{start}.{alias.name}" if start else alias.name for alias in names)
        case ast.Call(
            ast.Attribute(attr="import_module") | ast.Name("import_module"), [ast.Constant(str(name)), *rest]
        ):
            relative = name.startswith(".") and bool(rest)
            yield importlib.util.resolve_name(name, package) if relative else name
        case _:
            pass


# Hashes


def _hash(files: Mapping[str, Path]) -> str:
    return _text_hash(f"{name} {_file_hash(files[name])}" for name in sorted(files))


def _text_hash(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


@cache
def _file_hash(file: Path) -> str:
    tree = _tree(file)
    if tree is None:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    return hashlib.sha256(_written(tree).encode()).hexdigest()


def _written(node: Any) -> str:
    """A syntax tree as text: without places, comments and texts that stand alone, the same for every Python."""
    if isinstance(node, ast.AST):
        fields = ((name, getattr(node, name, None)) for name in node._fields if name != "kind")
        inner = ",".join(f"{name}={_written(value)}" for name, value in fields if value not in (None, []))
        return f"{type(node).__name__}({inner})"
    if isinstance(node, list):
        return f"[{','.join(_written(entry) for entry in node if not _is_remark(entry))}]"
    return repr(node)


def _is_remark(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


# Packages


def _origin(axis: catalogue.Axis, plugin: type[Plugin]) -> tuple[Distribution | None, list[str]]:
    """The package that a plug-in of a third party comes from, and the modules that its entry points name."""
    points = [point for point in entry_points(group=f"orchestrator.{axis}") if point.load() is plugin]
    home = next((point.dist for point in points if point.dist), None)
    return home or _home(plugin.__module__.partition(".")[0]), [point.module for point in points]


@cache
def _home(package: str) -> Distribution | None:
    """The distribution that installed a top-level package; None of modules that nobody installed."""
    place = _top(package, is_own=True)
    if package == BUILT_IN:
        return next(iter(distributions(name="loss-orchestrator")), None)
    if place is None or not _is_installed(place.parent):
        return None
    found = distributions(path=[str(place.parent)])
    return next((each for each in found if any(file.parts[0] == place.name for file in each.files or ())), None)


def _named(home: Distribution | None, package: str) -> str:
    if home is not None:
        return f"{home.metadata['Name']} {home.version}"
    place = _top(package, is_own=True)
    return package if place is None else place.name


def _data(package: str, home: Distribution | None) -> Iterator[tuple[str, str]]:
    """Every file beside the Python code: compiled parts, tables, weights."""
    place = _top(package, is_own=True)
    if place is None:
        return
    root = place.parent
    listed = [Path(str(file.locate())) for file in (home.files or ())] if home else []
    inside = {file for file in listed if file.is_relative_to(root) and not _is_about(file.relative_to(root))}
    folder = place.rglob("*") if place.is_dir() else iter(())
    for file in sorted({*inside, *folder}):
        told = file.relative_to(root)
        if file.is_file() and file.suffix not in {".py", ".pyc"} and not _UNTOLD & {*told.parts}:
            yield told.as_posix(), _file_hash(file)


def _is_about(file: Path) -> bool:
    """Whether a file is about the installation, which no code reads."""
    return file.parts[0].endswith((".dist-info", ".egg-info"))
