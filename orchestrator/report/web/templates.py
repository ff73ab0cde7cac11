"""The HTML templates, and what a page holds in itself: styles, and the only scripts that may run there."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.report.web.translations import said, say

_FOLDER = Path(__file__).with_name("html")


def templates(**known: Any) -> Environment:
    """What renders the templates: every name of data is escaped, and a name that is not known is an error.

    Args:
        known: What templates may use besides `say`, `said`, `own` and `policy`.
    """
    environment = Environment(
        loader=PackageLoader("orchestrator.report.web", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = environment.filters
    filters["said"] = said
    names: dict[str, Any] = environment.globals
    names |= {"say": say, "own": own, "policy": policy, **known}
    return environment


def own(name: str) -> Markup:
    """A style sheet or a script of ours, as a page holds it."""
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))  # noqa: S704 - a file of ours


def policy(*scripts: str) -> Markup:
    """What a page may do: load nothing, and run these scripts only."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return Markup(  # noqa: S704 - text of ours
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"
    )
