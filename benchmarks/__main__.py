"""Every benchmark, one table: `python -W ignore -m benchmarks`, or `make bench`.

`--quick` runs a small case of each in a few minutes. `--only training grid` runs just these. `--json FILE` keeps every
repeat; `--markdown` rewrites the tables of docs/performance.md and the growth plot from this run.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.page import DOCS, PERFORMANCE, fill
from benchmarks.table import Row, arguments, machine, markdown, text

NAMES = ("startup", "evaluation", "training", "grid", "launch", "records", "compare", "judge", "tracking", "growth")
"""In the order of running: short and informative ones first."""
PICTURE = DOCS / "images" / "growth.svg"


def told(name: str, line: str) -> None:
    """Print progress to another stream than the table."""
    print(f"{name}: {line}", file=sys.stderr, flush=True)


def options(name: str, *, draws: bool) -> dict[str, Any]:
    """Options of a benchmark besides `quick`."""
    return {"picture": PICTURE} if name == "growth" and draws else {}


def everything(names: list[str], *, quick: bool, draws: bool) -> tuple[list[Row], list[str]]:
    """The rows of some benchmarks, and those that failed: a failure must not waste the time of the others."""
    found = list[Row]()
    failed = list[str]()
    for name in names:
        began = time.monotonic()
        try:
            measure = import_module(f"benchmarks.{name}").rows
            found += measure(quick=quick, **options(name, draws=draws), tell=partial(told, name))
        except Exception as error:  # noqa: BLE001 - whatever it is, go on with the others
            told(name, f"failed: {type(error).__name__}: {error}")
            failed.append(name)
        told(name, f"{time.monotonic() - began:.0f} s")
    return found, failed


def main() -> None:
    """Measure, and print the table."""
    parser = arguments(__doc__)
    parser.add_argument("--quick", action="store_true", help="a small case of each")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES), metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    parser.add_argument("--markdown", action="store_true", help=f"rewrite the tables of {PERFORMANCE.name}")
    asked = parser.parse_args()
    began = time.monotonic()
    where = machine()  # before drawing, because the new picture changes the checkout
    rows, failed = everything(asked.only, quick=asked.quick, draws=asked.markdown)
    minutes = (time.monotonic() - began) / 60
    print(f"{text(rows)}\n\n{where} {minutes:.0f} minutes.")
    if asked.json:
        asked.json.write_text(json.dumps({"machine": where, "rows": [row.as_json() for row in rows]}, indent=2))
    if asked.markdown and not failed:
        about = f"Measured on {where} {minutes:.0f} minutes in all."
        fill("tables", f"{about}\n\n{markdown(rows)}", PERFORMANCE)
    sys.exit(f"Failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
