"""A launch that has to end in time: how long new kinds of cells will take, and what is decided in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from orchestrator.experiment.checks import labels_here
from orchestrator.experiment.plan import Cell
from orchestrator.sentences import counted, filled, setting_name
from orchestrator.study import Study


class SpentBudget(Exception):  # noqa: N818 - the user wished it
    """No further cell would end in time."""


def guesses(study: Study, cells: Sequence[Cell]) -> Callable[[Cell], float | None]:
    """A function for the seconds of a cell on this machine, by the price that `plan` prints; None if unknown.

    Args:
        study: The experiment and its stores.
        cells: The cells that wait.
    """
    from orchestrator.pricing.price import estimator, here  # a launch without a budget needs no prices

    place = here()
    rates = study.stores.rates.read()
    estimates = estimator(cells, study.stores.evaluations, rates, labels_here(study.data_dir))

    def guess(cell: Cell) -> float | None:
        found = estimates.estimate(cell, place.where(cell, place.machines[0].device))
        return found and found.seconds.middle

    return guess


def told(study: Study, left: int) -> Iterator[str]:
    """What is decided when the budget is spent, in sentences.

    Args:
        study: The experiment with the results so far.
        left: Cells that have not run.
    """
    yield f"The budget is spent: {counted(left, 'cell')} left, of which none is expected to end in time."
    if not study.results.table.num_rows:
        yield "No claim is decided: there is no result yet."
        return
    named = {True: list[str](), False: list[str]()}
    for finding in study.comparison.findings:
        place = f" on {filled(setting_name(finding.dataset, finding.backbone))}" if finding.dataset else ""
        is_decided = finding.verdict != "undecided"
        named[is_decided].append(f"{finding.claim.id}{place}" + (f" ({finding.verdict})" if is_decided else ""))
    yield f"Decided: {', '.join(named[True]) or 'nothing'}. Undecided: {', '.join(named[False]) or 'nothing'}."
