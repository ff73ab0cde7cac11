"""The cells that were never handed out, in their order, and together those that ask for the same."""

from __future__ import annotations

import heapq
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from itertools import count

from orchestrator.experiment.plan import Cell
from orchestrator.experiment.resources import Resources

CellKind = tuple[str, str, str]

Group = tuple[str, str, int]


@dataclass
class _Line:
    """The cells of one kind, by their position."""

    cells: OrderedDict[int, Cell] = field(default_factory=OrderedDict[int, Cell])
    asks: dict[int, Hashable] = field(default_factory=dict[int, Hashable])
    """What each asks for."""
    heaps: dict[Hashable, list[int]] = field(default_factory=dict[Hashable, list[int]])
    """The positions that ask for the same. Those of cells that are gone, or ask for something else, remain inside."""

    def put(self, position: int, asks: Hashable) -> None:
        """Note what the cell at a position asks for."""
        if position not in self.asks or self.asks[position] != asks:
            self.asks[position] = asks
            heapq.heappush(self.heaps.setdefault(asks, []), position)

    def remove(self, position: int) -> None:
        """Remove the cell at a position."""
        del self.cells[position]
        del self.asks[position]

    def heads(self) -> list[int]:
        """The first position of all that ask for the same, in order."""
        for asks, heap in list(self.heaps.items()):
            while heap and (heap[0] not in self.asks or self.asks[heap[0]] != asks):
                heapq.heappop(heap)
            if not heap:
                del self.heaps[asks]
        return sorted(heap[0] for heap in self.heaps.values())


class Waiting:
    """Waiting cells. A look at them costs as much as there are different wishes, however many the cells are.

    Args:
        asks: Returns what a cell asks for; of cells that ask for the same, only the first can be next.
    """

    def __init__(self, asks: Callable[[Cell], Hashable]) -> None:
        self._asks = asks
        self._order = count()
        self._lines: defaultdict[Resources, dict[CellKind, _Line]] = defaultdict(dict)
        self._groups: defaultdict[Group, dict[int, _Line]] = defaultdict(dict)
        self._positions: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __iter__(self) -> Iterator[Cell]:
        for lines in self._lines.values():
            for line in lines.values():
                yield from line.cells.values()

    def add(self, cell: Cell) -> None:
        """Add a cell behind all others of its kind."""
        line = self._lines[cell.resources].setdefault(cell.kind, _Line())
        position = next(self._order)
        line.cells[position] = cell
        line.put(position, self._asks(cell))
        self._positions[cell.id] = position
        self._groups[_group(cell)][position] = line

    def remove(self, cell: Cell) -> None:
        """Remove a cell."""
        position = self._positions.pop(cell.id)
        group = self._groups[_group(cell)]
        line = group.pop(position)
        line.remove(position)
        if not group:
            del self._groups[_group(cell)]
        if not line.cells:
            del self._lines[cell.resources][cell.kind]
        if not self._lines[cell.resources]:
            del self._lines[cell.resources]

    def kinds(self) -> dict[Resources, dict[CellKind, Cell]]:
        """The first cell of each kind, by resources."""
        return {
            resources: {kind: next(iter(line.cells.values())) for kind, line in lines.items()}
            for resources, lines in self._lines.items()
        }

    def heads(self, resources: Resources, kind: CellKind) -> list[Cell]:
        """Of the cells of a kind, the first of all that ask for the same, in order."""
        line = self._lines[resources][kind]
        return [line.cells[position] for position in line.heads()]

    def changed(self, cell: Cell) -> None:
        """Ask anew what the cells of the same data set, backbone and seed ask for."""
        for position, line in self._groups.get(_group(cell), {}).items():
            line.put(position, self._asks(line.cells[position]))

    def all_changed(self) -> None:
        """Ask anew what every cell asks for."""
        for lines in self._lines.values():
            for line in lines.values():
                for position, cell in line.cells.items():
                    line.put(position, self._asks(cell))


def _group(cell: Cell) -> Group:
    return cell.dataset, cell.backbone, cell.seed
