"""What a page shows of the audit: numbers as texts, setting by setting."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from orchestrator.analysis.budget import Budget, Lead
from orchestrator.analysis.fairness import Audit, Entrant
from orchestrator.analysis.sensitivity import Sensitivity
from orchestrator.experiment.units import in_points
from orchestrator.report.web.settings import Setting
from orchestrator.report.web.translations import Said, said, say
from orchestrator.statistics.intervals import Interval

Thing = TypeVar("Thing")

FINAL = ("seeds", "epochs", "parameters", "training seconds", "training data")
TUNING = ("trials", "without a score", "epochs of trials", "tuning seconds", "recipe found", "at the edge of its range")
"""The columns of `Contest.rows`; texts of `words`."""


@dataclass(frozen=True)
class Contest:
    """The audit, for the settings of a page."""

    audit: Audit
    settings: Sequence[Setting]

    @property
    def is_tuned(self) -> bool:
        """Whether there is a tuning stage."""
        return self.audit.asked is not None

    @property
    def metric(self) -> str:
        """By which the best trial won; empty where nothing is tuned."""
        return self.audit.metric or ""

    @property
    def heads(self) -> list[Said]:
        """The columns of `rows`."""
        return [say(name) for name in ((*FINAL, *TUNING) if self.is_tuned else FINAL)]

    def reasons(self) -> list[Said]:
        """What was unequal, and where if that is not everywhere."""
        reasons = [(said(each.sentence), place) for each, place in self.audit.reasons]
        return [Said(reason.en + place, reason.ja + place) for reason, place in reasons]

    def remarks(self) -> list[Said]:
        """What else differs, and where."""
        return [
            say("{what} ({where})", what=said(each.sentence), where=Setting(each.dataset, each.backbone).name)
            for each in self.audit.remarks
        ]

    def rows(self) -> list[dict[str, list[str]]]:
        """What each loss was given, by setting, under `heads`."""
        found: defaultdict[Setting, dict[str, list[str]]] = defaultdict(dict)
        for entrant in self.audit.entrants:
            found[Setting(entrant.dataset, entrant.backbone)][entrant.loss] = self._given(entrant)
        return [found[setting] for setting in self.settings]

    def _given(self, entrant: Entrant) -> list[str]:
        parameters = f"{entrant.parameters:,}" if entrant.parameters else "–"
        data = ", ".join(f"{name} {value}" for name, value in entrant.data.items())
        final = [str(len(entrant.seeds)), str(entrant.epochs), parameters, f"{entrant.seconds:,.0f}", data]
        if not self.is_tuned:
            return final
        numbers = [str(number) for number in (entrant.trials, entrant.diverged, entrant.trial_epochs)]
        recipe = ", ".join(f"{name} {entrant.winner.get(name, '–')} ∈ {space}" for name, space in entrant.space.items())
        return [*final, *numbers, f"{entrant.tuning_seconds:,.0f}", recipe or "–", ", ".join(entrant.edges) or "–"]

    def counts(self) -> list[int]:
        """Numbers of trials at which losses are compared."""
        return sorted({count for lead in self.audit.leads for count in lead.by})

    def ahead(self, lead: Lead) -> list[str]:
        """By how much the challenger is ahead, under `counts`; in points where it is a share."""
        unit = 100 if in_points([self.metric]) else 1
        return [_ahead(lead.by[count], unit) if count in lead.by else "–" for count in self.counts()]

    def budgets(self) -> list[list[Budget]]:
        """The curves of each setting."""
        return self._by_setting((Setting(each.dataset, each.backbone), each) for each in self.audit.budgets)

    def sensitivity(self) -> list[list[Sensitivity]]:
        """Where challengers win, of each setting."""
        return self._by_setting(
            (Setting(each.pair.dataset, each.pair.backbone), each) for each in self.audit.sensitivity
        )

    def _by_setting(self, things: Iterable[tuple[Setting, Thing]]) -> list[list[Thing]]:
        found: defaultdict[Setting, list[Thing]] = defaultdict(list)
        for setting, thing in things:
            found[setting].append(thing)
        return [found[setting] for setting in self.settings]


def _ahead(lead: Interval, unit: float) -> str:
    half = "" if math.isnan(lead.low) else f" ± {unit * (lead.high - lead.low) / 2:.2g}"
    return f"{unit * lead.estimate:+.3g}{half}"
