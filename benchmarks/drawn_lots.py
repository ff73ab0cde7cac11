"""Lots of drawn parts, checked: `python -m benchmarks.drawn_lots DIR` writes a table of docs/howto/deploy.md.

DIR is what `deploy experiments/inspection.yaml --out DIR` wrote. Everything is seeded.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks.page import filled
from orchestrator.deployment.check import Checked, check
from orchestrator.report.wording import deployment
from orchestrator.sentences import filled as said

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "howto" / "deploy.md"

sys.path.insert(0, str(ROOT / "experiments"))

from draw_parts import DEFECTS, GOOD, draw  # noqa: E402 - a script beside the experiments, not a module of the program


class Drawn(NamedTuple):
    """A lot to draw."""

    name: str
    counts: Mapping[str, int]
    is_labelled: bool = True
    light: str | None = None
    noise: float = 0.0
    """Standard deviation of what a failing camera adds, in levels of 0 ... 255."""


MANY = dict.fromkeys(GOOD, 2_200) | dict.fromkeys(DEFECTS, 2_500)
SOME = dict.fromkeys(GOOD, 100) | dict.fromkeys(DEFECTS, 100)
USUAL = dict.fromkeys(GOOD, 330) | dict.fromkeys(DEFECTS, 7)

LOTS = (
    Drawn("as certified", MANY),
    Drawn("a failing camera adds noise", SOME, noise=25),
    Drawn("few images", dict.fromkeys((*GOOD, *DEFECTS), 20)),
    Drawn("as certified, without labels", USUAL, is_labelled=False),
    Drawn("only the dim light, without labels", USUAL, is_labelled=False, light="right"),
)


def write(lot: Drawn, folder: Path, seed: int) -> Path:
    """Draw a lot into a folder."""
    rng = np.random.default_rng(seed)
    for name, count in lot.counts.items():
        place = folder / name if lot.is_labelled else folder
        place.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = draw(rng, name, lot.light) + rng.normal(0, 1, (32, 32)) * lot.noise
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(place / f"{name}-{number:05}.png")
    return folder


def row(lot: Drawn, found: Checked) -> str:
    """A line of the table."""
    details = [f"{rate.errors:,} of {rate.n:,}, decided after {rate.seen:,}" for rate in found.rates]
    if not lot.is_labelled:
        farthest = max(found.shapes, key=lambda shape: shape.distance / shape.noticed)
        details = [f"{100 * farthest.distance:.1f} points away, {100 * farthest.noticed:.1f} count as a change"]
    cells = [
        lot.name,
        f"{found.images:,}",
        said(deployment.answer(found)).partition(":")[0].lower(),
        "; ".join(details),
    ]
    return f"| {' | '.join(cells)} |"


def main(deployed: Path) -> None:
    """Write the table."""
    lines = ["| lot | images | answer | false accepts; false rejects; reviews; or distance |", "|---|---:|---|---|"]
    for seed, lot in enumerate(LOTS, 1):
        with TemporaryDirectory() as folder:
            found = check(deployed, write(lot, Path(folder) / "lot", seed))
        lines.append(row(lot, found))
        print(lines[-1], flush=True)
    PAGE.write_text(filled(PAGE.read_text("utf-8"), "lots", "\n".join(lines)), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
