"""What a rehearsal found: a line per backbone and data set, then each kind that did not pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Protocol

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.pricing.rates import CellRate
from orchestrator.privacy import public
from orchestrator.sentences import counted


class ShownKind(Protocol):
    """What came of one kind of cell."""

    @property
    def loss(self) -> str: ...  # noqa: D102
    @property
    def backbone(self) -> str: ...  # noqa: D102
    @property
    def dataset(self) -> str: ...  # noqa: D102
    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def why(self) -> str: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def rate(self) -> CellRate | None: ...  # noqa: D102
    @property
    def file_bytes(self) -> int | None: ...  # noqa: D102
    @property
    def proposed_gpus(self) -> float | None: ...  # noqa: D102


def told(tried: Sequence[ShownKind], counts: Mapping[str, int]) -> RenderableType:
    """The table, the failures, and the sum."""
    failures = [Text(line, style="red") for line in _failures(tried)]
    return Group(_table(tried), *failures, Text(_sum(counts)))


def _table(tried: Sequence[ShownKind]) -> Table:
    has_gpus = any(each.proposed_gpus is not None for each in tried)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("data set", "backbone"):
        table.add_column(name, no_wrap=True)
    for name in ("passed", "images/s", "batch", "memory", *(["GPU memory", "gpus"] if has_gpus else []), "file"):
        table.add_column(name, justify="right", no_wrap=True)
    for setting in dict.fromkeys((each.dataset, each.backbone) for each in tried):
        those = [each for each in tried if (each.dataset, each.backbone) == setting]
        table.add_row(*map(Text, (*setting, *_row(those, has_gpus=has_gpus))))
    return table


def _row(those: Sequence[ShownKind], *, has_gpus: bool) -> Iterator[str]:
    rates = [each.rate for each in those if each.rate]
    yield f"{sum(each.state == 'passed' for each in those)} of {len(those)}"
    yield f"{median(rate.images_per_second for rate in rates):.4g}" if rates else ""
    yield " ".join(map(str, sorted({each.batch_size for each in those})))
    yield _bytes([rate.memory_bytes for rate in rates])
    if has_gpus:
        yield _bytes([rate.gpu_memory_bytes for rate in rates])
        yield f"{max((each.proposed_gpus or 0 for each in those), default=0):g}"
    yield _bytes([each.file_bytes for each in those])


def _bytes(sizes: Sequence[int | None]) -> str:
    """The largest, in the unit that fits."""
    known = [size for size in sizes if size is not None]
    if not known:
        return ""
    size = float(max(known))
    for unit in ("B", "KB", "MB"):
        if size < 1000:  # noqa: PLR2004 - the units' own step
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def _failures(tried: Sequence[ShownKind]) -> Iterator[str]:
    """One line for each kind that did not pass; kinds that fail alike share one."""
    alike: dict[tuple[str, str], list[str]] = {}
    for each in tried:
        if each.state != "passed":
            name = f"{each.loss}/{each.backbone}/{each.dataset}"
            alike.setdefault((each.state, public(each.why)), []).append(name)
    for (state, why), names in alike.items():
        yield f"{', '.join(names)}: {why or state}"


def _sum(counts: Mapping[str, int]) -> str:
    others = [f"{counts[state]} {state}" for state in ("diverged", "failed", "not tried") if counts.get(state)]
    return (
        ", ".join([f"{counted(counts.get('passed', 0), 'kind')} passed", *others])
        + ". Nothing of this counts as a result."
    )
