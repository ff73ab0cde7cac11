"""Which cells are left out of all figures and verdicts, because they may not be pooled with the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.adaptive.seeds import Row
from orchestrator.provenance.environment import Environment, LossCode, Origin, change
from orchestrator.reproduction.finished_cells import Setting
from orchestrator.sentences import Sentence, some, together

REMEDY = "A launch with more seeds tests whether these cells may be pooled; --trust-old pools them untested."
OTHER_CODE = "Left out of every figure and verdict: {count} of the cells of loss '{name}', trained with different code."
ELSEWHERE = "Left out of every figure and verdict: {count} of the cells, trained in a different environment ({change})."

AT_ONCE = {
    OTHER_CODE: "Left out of every figure and verdict: {count} of the cells, trained with different code (losses {names}).",  # noqa: E501 - one key of words.json
    ELSEWHERE: "Left out of every figure and verdict: {count} of the cells, trained in different environments ({names}).",  # noqa: E501 - as above
}
"""The same of several losses, or several environments."""

Admits = Callable[[Origin, Origin, Setting], bool]
"""Whether cells of two origins may be pooled in a setting."""


@dataclass(frozen=True)
class LeftOut:
    """Cells and replicas that are left out, their origin, and the origin of the cells that count."""

    origin: Origin
    kept: Origin
    cells: tuple[str, ...]
    """Their ids."""


def left_out(rows: Sequence[Row], replicas: Iterable[Row], admits: Admits) -> list[LeftOut]:
    """The cells that may not be pooled with those that count.

    For each loss, the newest code counts. For each loss in a setting, the newest environment counts, together with
    those that may be pooled with it; or another environment alone, if it has more cells of the setting.

    Args:
        rows: The results table, from the oldest cell to the newest.
        replicas: The table of replicas: each has the environment of its pair, so only its code is judged.
        admits: Whether two origins may be pooled.
    """
    found: defaultdict[tuple[Origin, Origin], list[str]] = defaultdict(list)
    for row, code, kept in [*_other_code(rows, replicas, admits)]:
        found[code, kept].append(row["cell_id"])
    gone = {cell for cells in found.values() for cell in cells}
    for row, environment, kept in _elsewhere([row for row in rows if row["cell_id"] not in gone], admits):
        found[environment, kept].append(row["cell_id"])
    return [LeftOut(origin, kept, tuple(cells)) for (origin, kept), cells in found.items()]


def sentences(found: Iterable[LeftOut]) -> Iterator[Sentence]:
    """How many cells are left out, and why."""
    codes = Counter[str]()
    elsewhere = Counter[str]()
    for left in found:
        if isinstance(left.origin, LossCode):
            codes[left.origin.loss] += len(left.cells)
        else:
            elsewhere[change(left.origin, left.kept)] += len(left.cells)
    yield from _at_once([(OTHER_CODE, {"count": count, "name": name}) for name, count in codes.items()], "name")
    yield from _at_once([(ELSEWHERE, {"count": count, "change": text}) for text, count in elsewhere.items()], "change")
    if codes or elsewhere:
        yield REMEDY, {}


def _at_once(each: Sequence[Sentence], name: str) -> Iterator[Sentence]:
    """The sentences, or one in place of several."""
    if len(each) < 2:  # noqa: PLR2004 - several are told together
        yield from each
        return
    text = AT_ONCE[each[0][0]]
    names: list[Sentence] = [("{name}", {"name": values[name]}) for _, values in each]
    yield together(text, {"count": sum(values["count"] for _, values in each), "names": some(names)}, each)


def _other_code(
    rows: Sequence[Row], replicas: Iterable[Row], admits: Admits
) -> Iterator[tuple[Row, LossCode, LossCode]]:
    newest = {row["loss"]: LossCode.of(row["loss"], row) for row in rows}
    for row in (*rows, *replicas):
        code = LossCode.of(row["loss"], row)
        kept = newest.get(row["loss"], code)
        if code != kept and not admits(code, kept, _setting(row)):
            yield row, code, kept


def _elsewhere(rows: Sequence[Row], admits: Admits) -> Iterator[tuple[Row, Environment, Environment]]:
    sizes = Counter((_setting(row), Environment.of(row)) for row in rows)
    lines: defaultdict[tuple[Setting, str], list[tuple[Row, Environment]]] = defaultdict(list)
    for row in rows:
        lines[_setting(row), row["loss"]].append((row, Environment.of(row)))
    for (setting, _), line in lines.items():
        kept = line[-1][1]
        there = dict.fromkeys(environment for _, environment in line)
        counted = {each for each in there if each == kept or admits(each, kept, setting)}
        others = [each for each in there if each not in counted]
        largest = max(others, key=lambda each: sizes[setting, each], default=kept)
        if sizes[setting, largest] > sum(sizes[setting, each] for each in counted):
            counted = {largest}
            kept = largest
        yield from ((row, environment, kept) for row, environment in line if environment not in counted)


def _setting(row: Row) -> Setting:
    return row["dataset"], row["backbone"]
