"""The two pictures of the study as SVG, drawn from numbers alone: the same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from math import ceil, floor
from typing import NamedTuple

from orchestrator.statistics.intervals import Interval

COLOURS = {"for": "#0072B2", "against": "#D55E00", "open": "#777777"}  # Okabe and Ito's, told apart by everyone
MARKS = ("#D55E00", "#E69F00", "#009E73", "#0072B2")
WIDTH = 860
LINE = 20
LEFT = 360
RIGHT = 40
TOP = 34


class Bar(NamedTuple):
    """An effect with its interval, as fractions of 1."""

    name: str
    setting: str
    effect: Interval
    side: str


class Axis(NamedTuple):
    """Where values lie from left to right."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """The place of a value in pixels."""
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.low) / (self.high - self.low)

    def ticks(self, step: float) -> Iterator[float]:
        """Multiples of a step within the axis."""
        for number in range(ceil(self.low / step), floor(self.high / step) + 1):
            yield number * step


def effects(bars: Sequence[Bar]) -> str:
    """A forest plot: a line per setting, with the effect in points."""
    low = min(0.0, *(100 * bar.effect.low for bar in bars))
    high = max(0.0, *(100 * bar.effect.high for bar in bars))
    axis = Axis(low - 1, high + 1)
    lines = list(_grid(axis, 5, len(bars), zero=True))
    for number, bar in enumerate(bars):
        y = TOP + LINE * (number + 0.5)
        colour = COLOURS[bar.side]
        ends = axis.at(100 * bar.effect.low), axis.at(100 * bar.effect.high)
        lines.append(_text(LEFT - 10, y, f"{bar.name}: {bar.setting}", anchor="end"))
        lines.append(f'<path d="M{ends[0]:.1f} {y}H{ends[1]:.1f}" stroke="{colour}" stroke-width="2"/>')
        lines.append(f'<circle cx="{axis.at(100 * bar.effect.estimate):.1f}" cy="{y}" r="4" fill="{colour}"/>')
    words = {"for": "for P1", "against": "against P1", "open": "undecided"}
    lines += _legend([(COLOURS[side], words[side]) for side in COLOURS])
    return _drawn(lines, len(bars))


def rules(means: Mapping[str, Mapping[str, float]]) -> str:
    """A line per loss, with a point per decision rule; percent."""
    values = [100 * value for by_rule in means.values() for value in by_rule.values()]
    axis = Axis(min(values) - 2, max(values) + 2)
    lines = list(_grid(axis, 5, len(means), zero=False))
    for number, (loss, by_rule) in enumerate(means.items()):
        y = TOP + LINE * (number + 0.5)
        lines.append(_text(LEFT - 10, y, loss, anchor="end"))
        ends = axis.at(100 * min(by_rule.values())), axis.at(100 * max(by_rule.values()))
        lines.append(f'<path d="M{ends[0]:.1f} {y}H{ends[1]:.1f}" stroke="#bbbbbb"/>')
        for colour, value in zip(MARKS, by_rule.values(), strict=True):
            lines.append(f'<circle cx="{axis.at(100 * value):.1f}" cy="{y}" r="5" fill="{colour}"/>')
    names = next(iter(means.values()))
    lines += _legend(list(zip(MARKS, names, strict=True)))
    return _drawn(lines, len(means))


def _grid(axis: Axis, step: float, count: int, *, zero: bool) -> Iterator[str]:
    bottom = TOP + LINE * count
    for value in axis.ticks(step):
        x = axis.at(value)
        stroke = "#555555" if zero and value == 0 else "#dddddd"
        yield f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="{stroke}"/>'
        yield _text(x, bottom + 14, f"{value:+g}" if zero and value else f"{value:g}")


def _legend(entries: Sequence[tuple[str, str]]) -> Iterator[str]:
    x = 20.0
    for colour, name in entries:
        yield f'<circle cx="{x}" cy="14" r="5" fill="{colour}"/>'
        yield _text(x + 10, 14, name, anchor="start")
        x += 30 + 7.2 * len(name)


def _text(x: float, y: float, text: str, *, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _drawn(lines: Sequence[str], count: int) -> str:
    height = TOP + LINE * count + 26
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12" role="img">'
    )
    # A ground of its own, since dark pages would swallow the text.
    ground = f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    return "\n".join([head, ground, *lines, "</svg>"]) + "\n"
