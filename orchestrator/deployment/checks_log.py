"""The log of checks beside a certificate: a line of JSON per check, and a picture of them over time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

from orchestrator.deployment.certificate import CHECKS, PICTURE
from orchestrator.deployment.check import Checked

COLOURS = {"kept": "#00664a", "broken": "#a33c00", "undecided": "#6b5000"}

MOST = 100
"""Checks in the picture: the latest."""


def document(found: Checked) -> dict[str, Any]:
    """A check for machines."""
    return {
        **found._asdict(),
        "time": found.time.isoformat(timespec="seconds"),
        "rates": [rate._asdict() for rate in found.rates],
        "shapes": [shape._asdict() for shape in found.shapes],
        "expected_false_alarms_per_100_lots": 100 * found.false_alarms,
    }


def read(folder: Path) -> list[dict[str, Any]]:
    """All checks so far, in their order; lines that are damaged are passed over."""
    found = list[dict[str, Any]]()
    with suppress(FileNotFoundError):
        for line in (folder / CHECKS).read_text("utf-8").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
    return found


def certified(folder: Path, name: str) -> list[dict[str, float]]:
    """Of each labelled lot that kept the promise, but this one: how far its distributions were, in usual distances."""
    lots = {
        each["lot"]: {shape["name"]: shape["distance"] / shape["usual"] for shape in each["shapes"] if shape["usual"]}
        for each in read(folder)
        if each["is_labelled"] and each["verdict"] == "kept" and each["lot"] != name
    }
    return [shapes for shapes in lots.values() if len(shapes) == 3]  # noqa: PLR2004 - all of `SHAPES`


def note(folder: Path, found: Checked) -> None:
    """Write a check down, and draw the picture.

    Raises:
        OSError: The folder cannot be written.
    """
    with (folder / CHECKS).open("a", encoding="utf-8") as log:
        log.write(json.dumps(document(found)) + "\n")
    (folder / PICTURE).write_text(picture(read(folder)[-MOST:]), encoding="utf-8")


WIDTH = 720
HEIGHT = 90
LEFT = 150
TOP = 34


def picture(checks: Sequence[dict[str, Any]]) -> str:
    """The checks over time as SVG: a row per promised rate, and one for the distributions of unlabelled lots.

    A point of a rate is its share on the lot, in units of the promise, whose line is at 1. A point of distributions is
    the distance as a share of that which is called a change. Both are cut off at 2.
    """
    names = list(dict.fromkeys(rate["name"] for each in checks for rate in each["rates"]))
    rows = [*names, *(["distributions"] if any(not each["is_labelled"] for each in checks) else [])]
    body = list[str]()
    for place, name in enumerate(rows):
        body += _row(TOP + place * HEIGHT, name, [(_height(each, name), each) for each in checks])
    height = TOP + len(rows) * HEIGHT + 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>{_legend()}{"".join(body)}</svg>\n'
    )


def _legend() -> str:
    marks = "".join(
        f'<circle cx="{LEFT + 90 * place}" cy="14" r="4" fill="{colour}"/>'
        f'<text x="{LEFT + 8 + 90 * place}" y="18">{verdict}</text>'
        for place, (verdict, colour) in enumerate(COLOURS.items())
    )
    return (
        f'{marks}<text x="{WIDTH - 10}" y="18" text-anchor="end" fill="#555b65">line: the promise, or a change</text>'
    )


def _height(check: dict[str, Any], name: str) -> float | None:
    """How high a check stands in a row, where 1 is the line; None if it is not in it."""
    if name == "distributions":
        shares = [shape["distance"] / shape["noticed"] for shape in check["shapes"] if shape["noticed"]]
        return None if check["is_labelled"] else max(shares, default=None)
    found = [rate for rate in check["rates"] if rate["name"] == name and rate["n"] and rate["bound"]]
    return found[0]["errors"] / found[0]["n"] / found[0]["bound"] if found else None


def _row(top: float, name: str, points: Sequence[tuple[float | None, dict[str, Any]]]) -> list[str]:
    bottom = top + HEIGHT - 20

    def y(value: float) -> float:
        return bottom - (bottom - top) * min(value, 2.0) / 2

    step = (WIDTH - LEFT - 20) / max(1, len(points))
    line = f'x1="{LEFT}" x2="{WIDTH - 10}"'
    found = [
        f'<text x="{LEFT - 10}" y="{y(1) + 4:.1f}" text-anchor="end">{escape(name.replace("_", " "))}</text>',
        f'<line {line} y1="{bottom:.1f}" y2="{bottom:.1f}" stroke="#dfe2e7"/>',
        f'<line {line} y1="{y(1):.1f}" y2="{y(1):.1f}" stroke="#a33c00" stroke-dasharray="4 3"/>',
    ]
    for place, (value, check) in enumerate(points):
        if value is not None:
            told = escape(f"{check['time']} {check['lot']}: {check['verdict']}")
            x = LEFT + step * (place + 0.5)
            found.append(
                f'<circle cx="{x:.1f}" cy="{y(value):.1f}" r="4" fill="{COLOURS[check["verdict"]]}">'
                f"<title>{told}</title></circle>"
            )
    return found
