"""One table for all benchmarks: rows of repeated measurements, and the machine they were made on."""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from orchestrator import provenance

PACKAGES = ("torch", "torchvision", "ray", "lightning", "timm", "joblib", "hydra-core", "numpy", "pyarrow", "duckdb")


@dataclass(frozen=True)
class Row:
    """A figure, measured once or several times.

    `ratio` says how many times better ours is than this row, in the better direction of the unit: the median of the
    ratios of repeats that were made side by side. None if there is nothing to compare with.
    """

    part: str
    name: str
    samples: tuple[float, ...]
    unit: str
    ratio: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """Median of the repeats."""
        return statistics.median(self.samples)

    def as_json(self) -> dict[str, Any]:
        """As JSON, with all repeats."""
        figures = {"median": self.median, "low": min(self.samples), "high": max(self.samples), "n": len(self.samples)}
        named = {"part": self.part, "name": self.name, "unit": self.unit, "ratio": self.ratio, "note": self.note}
        return {**named, **figures, "samples": list(self.samples)}

    def cells(self) -> list[str]:
        """The cells of the table: name, median, spread, repeats, ratio, note."""
        spread = f"{short(min(self.samples))} – {short(max(self.samples))}" if len(self.samples) > 1 else ""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return [self.name, f"{short(self.median)} {self.unit}", spread, str(len(self.samples)), ratio, self.note]


def ratio(ours: Sequence[float], theirs: Sequence[float], *, more_is_better: bool) -> float:
    """How many times better ours is: the median over repeats that were made side by side."""
    better = zip(ours, theirs, strict=True) if more_is_better else zip(theirs, ours, strict=True)
    return statistics.median(one / other for one, other in better)


def against(
    part: str, unit: str, found: Mapping[str, Sequence[float]], *, more_is_better: bool, notes: Mapping[str, str]
) -> list[Row]:
    """One row per way of doing the same thing; the first is ours."""
    ours = next(iter(found.values()))
    return [
        Row(
            part,
            name,
            tuple(samples),
            unit,
            None if samples is ours else ratio(ours, samples, more_is_better=more_is_better),
            notes.get(name, ""),
        )
        for name, samples in found.items()
    ]


def repeated(times: int, measure: Callable[[], float]) -> tuple[float, ...]:
    """Repeat a measurement."""
    return tuple(measure() for _ in range(times))


def short(number: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"  # noqa: PLR2004 - three digits


def machine() -> str:
    """The machine and versions of these measurements, as a sentence."""
    known = provenance.machine()
    code = provenance.code()
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    state = " with changes" if code["git_dirty"] else ""
    return (
        f"{known['cores']} cores of {known['processor']}, {platform.system()}, Python {known['python_version']}, "
        f"{versions}; commit {str(code['git_commit'])[:10]}{state}."
    )


HEADINGS = ["", "median", "spread", "n", "ours is × better", ""]


def text(rows: Sequence[Row]) -> str:
    """The table for a terminal, one block per part."""
    return "\n\n".join(_block(part, [row for row in rows if row.part == part]) for part in _parts(rows))


def markdown(rows: Sequence[Row]) -> str:
    """The table for a page."""
    blocks: list[str] = []
    for part in _parts(rows):
        lines = [[part, *HEADINGS[1:]], ["---", "---:", "---:", "---:", "---:", "---"]]
        lines += [row.cells() for row in rows if row.part == part]
        blocks.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(blocks)


def _parts(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.part for row in rows))


def _block(part: str, rows: Sequence[Row]) -> str:
    lines = [[part, *HEADINGS[1:]], *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            value.ljust(width) if column in {0, len(HEADINGS) - 1} else value.rjust(width)
            for column, (value, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def arguments(document: str | None) -> argparse.ArgumentParser:
    """A script's argument parser, described by the first line of its docstring."""
    return argparse.ArgumentParser(description=(document or "").partition("\n")[0])


def progress(line: str) -> None:
    """Print a script's progress to another stream than its table."""
    print(line, file=sys.stderr, flush=True)
