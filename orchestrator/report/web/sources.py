"""The sections on where results come from: provenance, published figures, and what is missing."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from orchestrator.experiment.plan import SHOWN, Cell
from orchestrator.report.numbers import percent
from orchestrator.report.web.tables import Numbers
from orchestrator.report.web.translations import Said, joined, said, say
from orchestrator.report.web.view import View
from orchestrator.report.wording import comparison


class Fact(NamedTuple):
    """One value that cells recorded of where they ran, and how many did."""

    name: str
    value: str
    cells: int
    differs: bool


class Beside(NamedTuple):
    """A published figure and ours for the same dataset, backbone and loss, in percent."""

    dataset: str
    backbone: str
    loss: str
    metric: str
    published: str
    ours: str
    recipe: str
    source: str
    differs: Said


class Missing(NamedTuple):
    """What of one kind is missing."""

    sentence: Said
    seeds: list[Said]
    """A sentence for each loss and setting."""


class Sources(NamedTuple):
    """What these sections show."""

    view: View

    def facts(self) -> list[Fact]:
        """What cells recorded of where they come from; several values of one name where they differ."""
        datasets = {cell.id: cell.dataset for cell in self.view.plan.cells}
        values: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for account in self.view.accounts:
            for name, value in {**account.provenance, "protocol": account.protocol}.items():
                if name == "stated":  # of the claims, and not of where the cell ran
                    continue
                # Datasets differ from each other by their nature.
                own = f"{name} ({datasets[account.cell_id]})" if name.startswith("data_") else name
                values[own][_shortened(value)] += 1
        return [
            Fact(name, value, cells, len(counts) > 1)
            for name, counts in values.items()
            for value, cells in counts.most_common()
        ]

    def beside(self) -> Iterator[Beside]:
        """Published figures with ours."""
        for figure in self.view.comparison.published:
            yield Beside(
                figure.dataset,
                figure.backbone,
                figure.loss,
                figure.metric,
                f"{100 * figure.value:.1f}",
                ", ".join(self._ours(figure.dataset, figure.backbone, figure.loss, figure.metric)) or "–",
                figure.recipe or "–",
                figure.source,
                joined(say(each.text, **each.values) for each in figure.differs),
            )

    def _ours(self, *wanted: str) -> Iterator[str]:
        """Our means under the catalogue's names, which labels may differ from."""
        *keys, metric = wanted
        axes = (self.view.experiment.datasets, self.view.experiment.backbones, self.view.experiment.losses)
        for labels in itertools.product(
            *(
                [choice.label for choice in axis if choice.plugin.key == key]
                for axis, key in zip(axes, keys, strict=True)
            )
        ):
            mean = Numbers(self.view).interval(labels, metric)
            if mean.n:
                own = f"{percent(mean)} (n={mean.n})"
                yield own if labels[2] == keys[2] else f"{labels[2]}: {own}"

    def missing(self) -> list[Missing]:
        """Planned cells without a result, and those that diverged or collapsed."""
        of = self.view.comparison
        kinds = (
            (comparison.missing(of), self._absent()),
            (comparison.diverged(of), self._in_state("{name}: diverged with seeds {seeds}", "diverged")),
            (comparison.collapsed(of), self._in_state("{name}: collapsed with seeds {seeds}", "collapsed")),
        )
        return [Missing(said(sentence), seeds) for sentences, seeds in kinds for sentence in sentences]

    def _absent(self) -> list[Said]:
        done = {row["cell_id"] for row in self.view.rows}
        seeds = self.view.experiment.seeds
        asked = {
            (line.dataset, line.backbone, line.loss, seed)
            for line in self.view.comparison.lines
            for seed in seeds[: line.planned]
        }

        def lacks(cell: Cell) -> bool:
            return cell.id not in done and (cell.dataset, cell.backbone, cell.loss, cell.seed) in asked

        return self._seeds("{name}: no result for seeds {seeds}", lacks)

    def _in_state(self, text: str, state: str) -> list[Said]:
        cells = {row["cell_id"] for row in self.view.rows if row["state"] == state}
        return self._seeds(text, lambda cell: cell.id in cells)

    def _seeds(self, text: str, wanted: Callable[[Cell], bool]) -> list[Said]:
        found: defaultdict[str, list[int]] = defaultdict(list)
        for cell in self.view.plan.cells:
            if wanted(cell):
                found[f"{cell.loss}/{cell.backbone}/{cell.dataset}"].append(cell.seed)
        return [say(text, name=name, seeds=", ".join(map(str, seeds))) for name, seeds in found.items()]


def _shortened(value: object) -> str:
    text = "–" if value is None else str(value)
    return text[:SHOWN] if len(text) in {40, 64} and set(text) <= set("0123456789abcdef") else text
