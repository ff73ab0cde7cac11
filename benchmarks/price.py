"""The price of the flagship grid on three clusters: `python -m benchmarks.price` writes it into docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.page import PERFORMANCE, fill
from orchestrator import provenance
from orchestrator.experiment.plan import plan
from orchestrator.experiment.reading import load
from orchestrator.pricing.devices import cluster
from orchestrator.pricing.estimate import Estimator
from orchestrator.pricing.images import images_of
from orchestrator.pricing.price import elsewhere, price
from orchestrator.report.terminal.price import hours, span

FILE = Path(provenance.ROOT) / "experiments" / "full.yaml"

CLUSTERS = ("8 x a100", "8 x a100 + 2 x l4", "512 x h100")


def nowhere(dataset: object) -> None:
    """No data are here, so that the table is the same everywhere."""


def rows() -> Iterator[str]:
    """The table."""
    asked = plan(load(FILE))
    yield "| cluster | GPU hours | core hours | from the command to the last cell | times from |"
    yield "| --- | ---: | ---: | ---: | --- |"
    for text in CLUSTERS:
        estimates = Estimator((), images_of(nowhere))
        found = price(asked.cells, asked.experiment, estimates, elsewhere(cluster(text)))
        assert found.wall_seconds is not None
        sources = "; ".join(f"{source}: {cells} cells" for source, cells in found.sources)
        yield (
            f"| {found.on} | {hours(found.gpu_hours)} | {hours(found.core_hours)} | {span(found.wall_seconds)} "
            f"| {sources} |"
        )


def main() -> None:
    """Write the table."""
    table = "\n".join(rows())
    fill("price", table, PERFORMANCE)
    print(table)


if __name__ == "__main__":
    main()
