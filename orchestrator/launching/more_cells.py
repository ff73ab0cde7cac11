"""Cells that a launch adds while it runs: trials, seeds and replicas that depend on what came of others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from orchestrator.adaptive.allocation import Allocation
from orchestrator.adaptive.seeds import Spending
from orchestrator.adaptive.trials import Trials
from orchestrator.errors import UnreachableError
from orchestrator.execution.placement import Placement
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.launching.compute import Compute
from orchestrator.launching.notes import Notes
from orchestrator.launching.outages import patiently
from orchestrator.launching.run_plan import enlist
from orchestrator.outcome import Adopted, Ending, is_done
from orchestrator.pairing.blocks import Group
from orchestrator.pairing.replicas import Pairing
from orchestrator.records.files import results
from orchestrator.records.sql.leases import Lease
from orchestrator.reproduction.pooling import has_known_code, licences, licensed
from orchestrator.study import Study


@dataclass(frozen=True)
class MoreCells:
    """The rules of one stage that ask for more cells, and where these are recorded."""

    study: Study
    plan: Plan
    rule: Trials | Spending | None
    """Asks for trials, or for seeds."""
    pairing: Pairing | None
    """Asks for replicas."""
    places: Placement | None
    notes: Notes
    say: Callable[[str], None]

    @property
    def is_tuning(self) -> bool:
        """Whether the stage looks for recipes."""
        return isinstance(self.rule, Trials)

    def possible(self, cells: Sequence[Cell]) -> list[Cell]:
        """The replicas that may be asked for once these cells are done."""
        return self.pairing.possible({cell.id for cell in cells}) if self.pairing else []

    def asked_after(self, event: Ending | Adopted) -> list[Cell]:
        """The cells that are asked for once it is known what came of another; they are recorded."""
        evaluations = self.study.stores.evaluations
        if self.places and isinstance(event, Adopted) and is_done(event.state):
            self.places.ended(event.cell, patiently(partial(evaluations.environment, event.cell), self.say))
        asked = self.rule.heard(event) if self.rule else []
        if asked and self.is_tuning:  # trials depend on the scores of others, so nobody knew of them before
            trials = Plan(self.plan.experiment, tuple(asked))
            self.notes.note(lambda registry: registry.plan(trials))
        wanted = self.pairing.heard(event) if self.pairing else []
        # Others wait for the next launch, which asks anchors before it begins.
        experiment = self.plan.experiment
        ledger = self.study.stores.ledger(experiment.name)
        again = [cell for cell in wanted if has_known_code(cell, experiment, evaluations, ledger)]
        if again:
            self.notes.note(partial(enlist, again, experiment.name, evaluations))
        return [*asked, *again]


def spending(study: Study, plan: Plan, waiting: Plan, compute: Compute, say: Callable[[str], None]) -> Spending | None:
    """The rule by which seeds are added, where the experiment leaves their number to its claims.

    Args:
        study: The experiment and its stores.
        plan: Its cells.
        waiting: Those that can be run.
        compute: Where they run.
        say: Shows a sentence.
    """
    if plan.experiment.sequence is None:
        return None
    evaluations = study.stores.evaluations
    ledger = study.stores.ledger(plan.experiment.name)
    found = licensed(results.aggregate(plan, evaluations), plan, ledger)
    seen = {(row["dataset"], row["backbone"], row["environment"]): row for row in found.all_rows()}

    def recall(cell: Cell) -> dict[str, Any]:
        fresh = patiently(lambda: results.aggregate(Plan(plan.experiment, (cell,)), evaluations), say)
        known = licences(plan.experiment, [*seen.values(), *fresh.rows()], ledger)
        (row,) = replace(fresh, licences=known).rows()
        seen[row["dataset"], row["backbone"], row["environment"]] = row
        return row

    rule = Allocation if plan.experiment.allocation else Spending
    return rule(waiting, found.rows(), compute.room(plan), recall, found.replica_rows(), whole=study.whole)


def others(plan: Plan, lease: Lease) -> dict[Group, set[str]]:
    """The groups that other launches are at work on, and the machines of these."""
    try:
        running = lease.others()
    except UnreachableError:  # no cell begins meanwhile
        running = {}
    found = defaultdict[Group, set[str]](set)
    for cell in plan.cells:
        if host := running.get(cell.id):
            found[cell.dataset, cell.backbone, cell.seed].add(host)
    return found
