"""What every section of the page reads: the experiment, its results, and what was gathered from the cells' files."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from orchestrator.analysis import across_settings
from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.lines import Line
from orchestrator.analysis.sample_noise import Sampled
from orchestrator.analysis.threshold_curves import Curve
from orchestrator.decision.decide import Decision
from orchestrator.experiment.claims import Claim
from orchestrator.experiment.model import ALWAYS, Experiment
from orchestrator.experiment.operation import Prices
from orchestrator.experiment.plan import Plan
from orchestrator.outcome import has_figures
from orchestrator.pairing.blocks import Row
from orchestrator.records.files.evaluations import Account
from orchestrator.report.styles import Look, look
from orchestrator.report.web import flat
from orchestrator.report.web.contest import Contest
from orchestrator.report.web.settings import Setting

SHOWN = 60
"""Settings shown in detail at most; the table of results, and the files beside the page, have all."""

OF_SCORES = ("curves", "scores", "explorer", "by-class")
"""Sections that need the score of the true class and the highest of any other."""


def settings_shown(experiment: Experiment) -> list[Setting]:
    """The settings that a page shows in detail."""
    pairs = itertools.product(experiment.datasets, experiment.backbones)
    return [Setting(dataset.label, backbone.label) for dataset, backbone in itertools.islice(pairs, SHOWN)]


@dataclass(frozen=True)
class View:
    """What the sections share."""

    plan: Plan
    comparison: Comparison
    rows: Sequence[Row]
    replicas: Sequence[Row]
    curves: Sequence[Curve]
    unreadable: Sequence[str]
    accounts: Sequence[Account]
    sampled: Sequence[Sampled]

    @property
    def experiment(self) -> Experiment:
        """What was asked."""
        return self.plan.experiment

    @property
    def left_out(self) -> frozenset[str]:
        """Sections that scores from elsewhere say nothing of."""
        if not self.comparison.scored:
            return frozenset()
        trained = {"bias", "features", "training", "cost", "provenance", "published"}
        return frozenset(trained if self.has_accuracies else trained | {"grid", "profile", *OF_SCORES})

    @property
    def has_accuracies(self) -> bool:
        """Whether sample-wise and uniform accuracy are known, which most figures show."""
        return set(ALWAYS) <= set(self.comparison.measures)

    @property
    def losses(self) -> list[str]:
        """Their labels, in the order of the file."""
        return [choice.label for choice in self.experiment.losses]

    @property
    def styles(self) -> Look:
        """By loss."""
        return look(self.losses)

    @cached_property
    def settings(self) -> list[Setting]:
        """Those shown in detail: the first of the file."""
        return settings_shown(self.experiment)

    @property
    def all_settings(self) -> int:
        """How many there are."""
        return len(self.experiment.datasets) * len(self.experiment.backbones)

    @property
    def is_partial(self) -> bool:
        """Whether some settings are in the table alone."""
        return len(self.settings) < self.all_settings

    @cached_property
    def flat(self) -> list[flat.Row]:
        """The comparison, one row per loss in each setting."""
        return flat.rows(self.comparison)

    @cached_property
    def verdicts(self) -> dict[tuple[str, str, str], str]:
        """The verdicts of claims about a loss in a setting, by dataset, backbone and loss: `supported, undecided`."""
        return {(row["dataset"], row["backbone"], row["loss"]): row["verdict"] for row in self.flat}

    def verdict(self, found: Sampled) -> str:
        """The verdict of a claim in a setting; empty if it has none there alone."""
        return self._by_claim.get((found.claim.id, found.dataset, found.backbone), "")

    @cached_property
    def _by_claim(self) -> dict[tuple[str, str, str], str]:
        return {(each.claim.id, each.dataset, each.backbone): each.verdict for each in self.comparison.findings}

    @property
    def prices(self) -> Prices:
        """What errors cost: as the experiment describes its operation, or 1 each."""
        operation = self.experiment.operation
        return operation.prices if operation else Prices()

    def start(self, decided: Decision | None) -> dict[str, Any]:
        """What the page shows at first: setting, loss and threshold to deploy, else the loss of the first claim."""
        if decided:
            cell = decided.deployed.cell
            deployed = Setting(cell.dataset, cell.backbone)
            if deployed in self.settings and cell.loss in self.losses:
                place = self.settings.index(deployed)
                return {"setting": place, "loss": cell.loss, "threshold": decided.deployed.promise.threshold}
        challengers = (claim.challenger for claim in self.experiment.claims)
        loss = next((each for each in challengers if each in self.losses), self.losses[0])
        return {"setting": 0, "loss": loss, "threshold": None}

    @cached_property
    def overall(self) -> across_settings.Overall:
        """How the losses stand over all settings."""
        return across_settings.overall(self.experiment, (*self.rows, *self.replicas))

    @property
    def finished(self) -> list[Row]:
        """Rows with figures."""
        return [row for row in self.rows if has_figures(row["state"])]

    @cached_property
    def by_key(self) -> defaultdict[tuple[str, ...], list[Row]]:
        """The finished cells of each dataset, backbone and loss."""
        found: defaultdict[tuple[str, ...], list[Row]] = defaultdict(list)
        for row in self.finished:
            found[row["dataset"], row["backbone"], row["loss"]].append(row)
        return found

    @property
    def cells(self) -> int:
        """Cells that were asked for, as far as the results tell."""
        return sum(line.planned for line in self.comparison.lines)

    @property
    def seeds(self) -> str:
        """How many seeds there are, or may be."""
        rule = self.experiment.sequence
        return f"{rule.min}–{rule.max}" if rule else str(len(self.experiment.seeds))

    @property
    def period(self) -> tuple[str, str] | None:
        """When the first cell started and the last ended."""
        if not self.accounts:
            return None
        ends = min(a.started for a in self.accounts), max(a.started + a.seconds for a in self.accounts)
        first, last = (f"{datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M}" for end in ends)
        return first, last

    def lines(self, setting: Setting) -> list[Line]:
        """The comparison's lines of a setting."""
        return self._by_setting[setting]

    @cached_property
    def _by_setting(self) -> defaultdict[tuple[str, str], list[Line]]:
        found: defaultdict[tuple[str, str], list[Line]] = defaultdict(list)
        for line in self.comparison.lines:
            found[line.dataset, line.backbone].append(line)
        return found

    @cached_property
    def spans(self) -> dict[str, tuple[float, float]]:
        """The lowest and the highest mean of each measure, over all losses and settings that have one."""
        lines = self.comparison.lines
        means = {name: [line.means[name].estimate for line in lines if line.means[name].n] for name in lines[0].means}
        return {name: (min(found), max(found)) for name, found in means.items() if found}

    def by_claim(self) -> Iterator[tuple[Claim, list[Sampled]]]:
        """What the test samples say of each claim."""
        for claim, group in itertools.groupby(self.sampled, lambda found: found.claim):
            yield claim, list(group)

    @property
    def contest(self) -> Contest | None:
        """What each loss was given; None where there is one alone."""
        return self.comparison.audit and Contest(self.comparison.audit, self.settings)
