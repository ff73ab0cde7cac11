"""The catalogue of losses, backbones and datasets: resolves names to plug-ins.

Built-in plug-ins are the classes in three folders. Third-party plug-ins are entry points
in the groups `orchestrator.losses`, `orchestrator.backbones` and `orchestrator.datasets`;
each names a subclass of `Loss`, `Backbone` or `Dataset`.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import logging
import pkgutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Literal

from trainers import backbones, datasets, losses
from trainers.backbones import Backbone
from trainers.datasets import Dataset
from trainers.losses import Loss
from trainers.plugin import Plugin

Axis = Literal["losses", "backbones", "datasets"]

_ROOMS: dict[Axis, tuple[ModuleType, type[Plugin]]] = {
    "losses": (losses, Loss),
    "backbones": (backbones, Backbone),
    "datasets": (datasets, Dataset),
}


class UnknownNameError(ValueError):
    """No plug-in has that name; the message lists the closest and all known names."""


def nearest(word: str, known: list[str]) -> str:
    """` Did you mean 'x'?` with the closest known word, or an empty string."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


@cache
def plugins(axis: Axis) -> Mapping[str, type[Plugin]]:
    """All plug-ins of an axis by name, in alphabetical order.

    An installed package that cannot be used is left out, with a warning: other experiments do not need it.

    Raises:
        TypeError: A name in a user's module is already taken.
    """
    found: dict[str, type[Plugin]] = {plugin.name: plugin for plugin in _built_in(axis)}
    for plugin in (*_third_party(axis, set(found)), *_added(axis)):
        if found.setdefault(plugin.name, plugin) is not plugin:
            raise TypeError(f"Two {axis} are called '{plugin.name}': {found[plugin.name]} and {plugin}.")
    return dict(sorted(found.items()))


def _built_in(axis: Axis) -> Iterator[type[Plugin]]:
    package, kind = _ROOMS[axis]
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        yield from plugins_in(importlib.import_module(info.name), kind)


def plugins_in(module: ModuleType, kind: type[Plugin]) -> Iterator[type[Plugin]]:
    """The plug-ins in a module that are subclasses of `kind`."""
    members: list[object] = list(vars(module).values())
    for member in members:
        if isinstance(member, type) and issubclass(member, kind) and "name" in vars(member):
            yield member


def add(module: str) -> None:
    """Add the plug-ins of a user's module, which must be importable.

    Raises:
        ImportError: The module cannot be imported, for any reason.
        TypeError: One of its names is already taken.
    """
    if module in _modules:
        return
    try:
        importlib.import_module(module)
    except (ImportError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a module that calls `sys.exit`, too
        raise ImportError(f"{type(error).__name__}: {error}") from error
    _modules.append(module)
    plugins.cache_clear()
    try:
        for axis in _ROOMS:
            plugins(axis)
    except TypeError:
        _modules.remove(module)
        plugins.cache_clear()
        raise


_modules: list[str] = []


def _added(axis: Axis) -> Iterator[type[Plugin]]:
    for module in _modules:
        yield from plugins_in(importlib.import_module(module), _ROOMS[axis][1])


def installed(axis: Axis) -> Iterator[tuple[EntryPoint, type[Plugin] | str]]:
    """Every entry point of an axis, with its plug-in or the reason why there is none."""
    kind = _ROOMS[axis][1]
    for point in entry_points(group=f"orchestrator.{axis}"):
        try:
            plugin = point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - somebody else's code may raise anything, and call `sys.exit`
            yield point, f"{type(error).__name__}: {error}"
            continue
        if inspect.isclass(plugin) and issubclass(plugin, kind) and hasattr(plugin, "name"):
            yield point, plugin
        else:
            yield point, f"{point.value} is no subclass of {kind.__name__} with a name"


def _third_party(axis: Axis, taken: Collection[str]) -> Iterator[type[Plugin]]:
    """The plug-ins of installed packages whose names are not taken and have one meaning."""
    found = list(installed(axis))
    count = Counter(plugin.name for plugin in {plugin for _, plugin in found if not isinstance(plugin, str)})
    _left_out[axis] = []
    for point, plugin in found:
        if isinstance(plugin, str):
            _leave_out(axis, point, plugin)
        elif plugin.name in taken:
            _leave_out(axis, point, f"it calls something '{plugin.name}', which is built in")
        elif count[plugin.name] > 1:
            _leave_out(axis, point, f"another package calls something '{plugin.name}', too")
        else:
            yield plugin


_left_out: dict[Axis, list[str]] = {}


def _leave_out(axis: Axis, point: EntryPoint, reason: str) -> None:
    package = point.dist.name if point.dist else point.module
    sentence = f"The entry point '{point.name}' of package '{package}' in orchestrator.{axis} is left out: {reason}."
    _left_out[axis].append(sentence)
    _warn(sentence)


@cache
def _warn(sentence: str) -> None:
    logging.getLogger(__name__).warning(sentence)


def resolve(axis: Axis, name: str, parameters: Mapping[str, Any] | None = None) -> Plugin:
    """The plug-in of that name with these parameters; all other fields have their defaults.

    Args:
        axis: `losses`, `backbones` or `datasets`.
        name: A name, or `family:variant` (`torchvision:resnet34`).
        parameters: Fields that differ from their defaults.

    Raises:
        UnknownNameError: No plug-in has that name.
        pydantic.ValidationError: A parameter is misspelt or out of range.

    Examples:
        >>> from trainers.catalogue import resolve
        >>> resolve("losses", "focal", {"gamma": 1.5}).gamma
        1.5
        >>> resolve("losses", "fokal")
        Traceback (most recent call last):
        trainers.catalogue.UnknownNameError: No loss named 'fokal'. Did you mean 'focal'?...
    """
    known = plugins(axis)
    family, colon, variant = name.partition(":")
    variant_fits = not colon or (family in known and "architecture" in known[family].model_fields)
    if family not in known or not variant_fits:
        singular = {"losses": "loss", "backbones": "backbone", "datasets": "dataset"}[axis]
        message = f"No {singular} named '{name}'.{nearest(name, list(known))} Known: {', '.join(known)}."
        message = " ".join([message, *_left_out.get(axis, [])])
        raise UnknownNameError(message)
    if colon and "architecture" in (parameters or {}):
        raise UnknownNameError(f"'{name}' names its architecture already; leave out the parameter 'architecture'.")
    fields = _with_parts(known[family], parameters or {})
    return known[family].model_validate({**fields, **({"architecture": variant} if colon else {})})


def chosen(axis: Axis, value: Any) -> Any:
    """The plug-in of a name, or of a mapping with a `name` and parameters; a plug-in itself as it is.

    Raises as `resolve` does.

    Raises:
        ValueError: It is none of these.
    """
    if isinstance(value, Plugin):
        return value
    if isinstance(value, str):
        return resolve(axis, value)
    if not (isinstance(value, dict) and isinstance(value.get("name"), str)):
        raise ValueError("a plug-in is a name, or a mapping with a 'name' and parameters")  # noqa: TRY004 - pydantic's
    parameters: dict[str, Any] = {**value}
    return resolve(axis, parameters.pop("name"), parameters)


def _with_parts(plugin: type[Plugin], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, with those that are plug-ins themselves resolved."""
    parts: dict[str, Axis] = {name: axis for name, axis in plugin.nested.items() if parameters.get(name) is not None}
    return {**parameters, **{name: chosen(axis, parameters[name]) for name, axis in parts.items()}}
