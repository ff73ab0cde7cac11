"""YAML's values as they are written: a number or word that YAML 1.1 turns into something else is refused.

YAML 1.1 reads `010` as 8, `1:30` as 90, `on` as true and `2024-01-01` as a date, and says nothing.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WITH_EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")


class Loader(yaml.SafeLoader):
    """YAML's safe loader, with keys kept as text, and the line of a value that cannot be built, such as `2024-13-45`.

    YAML 1.1 reads the key `on` as true, but fields have names, and lines are recorded under them. It reads `1e-3` as a
    text, which here is the number that it looks like.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Build a value, or raise an error with the line of its node."""
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.tag != "tag:yaml.org,2002:merge":
                key.tag = "tag:yaml.org,2002:str"
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError, ArithmeticError) as error:
            problem = f"'{getattr(node, 'value', '')!s:.40}' cannot be read as a value ({error})"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


Loader.add_implicit_resolver("tag:yaml.org,2002:float", _WITH_EXPONENT, list("-+.0123456789"))


def value_of(text: str) -> Any:
    """The value of a document; raises as YAML's own `safe_load` does."""
    return Loader(text).get_single_data()


def misread(node: yaml.ScalarNode) -> str | None:
    """What is wrong with a value that YAML reads as something else than it looks like, and the remedy; else None."""
    text = node.value
    kind = node.tag.rpartition(":")[2]
    if kind == "timestamp":
        return f"YAML reads '{text}' as a date: put it in quotes."
    if kind == "bool" and text.lower() not in {"true", "false"}:
        return _changed(node, "write true or false")
    if kind == "float" and math.isinf(_built(node) or 0.0):
        return f"'{text}' is not a finite number."
    if (kind == "int" and not _DECIMAL.fullmatch(text)) or (kind == "float" and not _FLOAT.fullmatch(text)):
        return _changed(node, "write a decimal number")
    return None


def _changed(node: yaml.ScalarNode, remedy: str) -> str | None:
    value = _built(node)
    if value is None:  # the loader says so, at the same line
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return f"'{node.value}' is not a finite number."
    shown = str(value).lower() if isinstance(value, bool) else f"the number {value:.12g}"
    return f"YAML reads '{node.value}' as {shown}: {remedy}, or put it in quotes if it is a text."


def _built(node: yaml.ScalarNode) -> Any:
    try:
        return Loader("").construct_object(node)
    except yaml.YAMLError:
        return None
