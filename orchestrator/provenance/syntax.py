"""Python code as text that neither comments nor layout change, and what it imports."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any


def imported(node: ast.AST, package: str) -> Iterator[str]:
    """The names that a node imports, some of which are of no modules; `package` is where relative ones begin."""
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


def text_hash(texts: Iterable[str]) -> str:
    """SHA-256 of lines."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def file_hash(file: Path) -> str:
    """SHA-256 of a file's bytes."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def written(node: ast.AST, importing: list[ast.AST]) -> Iterator[str]:
    """A syntax tree as words, without positions, comments and docstrings; the same for every version of Python.

    Args:
        node: The tree.
        importing: Receives the nodes that may import something.
    """
    if isinstance(node, _IMPORTING):
        importing.append(node)
    yield f"({type(node).__name__}"
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            yield name
            yield from written(value, importing)
        elif isinstance(value, list):
            yield from (f"{name}[", *entries(value, importing), "]") if value else ()
        elif name != "kind" and (value is not None or isinstance(node, ast.Constant)):
            yield f"{name}={value!r}"
    yield ")"


def entries(values: Sequence[Any], importing: list[ast.AST]) -> Iterator[str]:
    """The same of the entries of a list in a tree."""
    for value in values:
        if not isinstance(value, ast.AST):
            yield repr(value)
        elif not _is_remark(value):
            yield from written(value, importing)


_IMPORTING = (ast.Import, ast.ImportFrom, ast.Call)


def _is_remark(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
