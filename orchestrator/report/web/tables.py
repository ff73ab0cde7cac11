"""The sections of numbers: coverage, the grid, differences, measures and cost, setting by setting."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from orchestrator.analysis.lines import Line
from orchestrator.analysis.threshold_curves import Curve
from orchestrator.experiment.units import in_points
from orchestrator.outcome import has_figures
from orchestrator.pairing.evidence import step
from orchestrator.records.files.evaluations import Account
from orchestrator.report import rows
from orchestrator.report.numbers import own_unit
from orchestrator.report.web.settings import Setting
from orchestrator.report.web.translations import Said, say
from orchestrator.report.web.view import View
from orchestrator.report.wording.names import SHORT
from orchestrator.statistics.intervals import Interval, mean_interval

HEAT = ("uniform_accuracy", "sample_wise_accuracy")
FEATURES = ("compactness", "distinctiveness", "uniformity", "nc1", "nc2", "nc3", "means_from_simplex")
KINDS = (
    "uniform_accuracy",
    "uniform_accuracy_sigmoid",
    "uniform_accuracy_probability",
    "uniform_accuracy_calibrated",
    "temperature",
    "temperature_at_edge",
    "open_auroc_calibrated",
    "uniform_accuracy_centred",
)
"""Uniform accuracy by what is compared with the threshold; beside calibrated ones, what they rest on."""
PROBABILITIES = (
    "calibration_error",
    "calibration_error_sigmoid",
    "negative_log_likelihood",
    "negative_log_likelihood_sigmoid",
    "brier_score",
    "brier_score_sigmoid",
)
BY_CLASS = ("training_accuracy", "macro_accuracy", "head_accuracy", "medium_accuracy", "tail_accuracy")
MORE = (
    (
        "Probabilities",
        "What losses claim as probabilities: softmax at T = 1 of all losses, and the sigmoid of score minus bias of those trained for it. Mean ± half of the 95 % interval over seeds; lower is better. Likelihoods in nats; those of sigmoids are sums over K answers per sample.",  # noqa: E501 - one key of words.json
        PROBABILITIES,
    ),
    (
        "Training images and rare classes",
        "Sample-wise accuracy on training images, not augmented and with the labels trained on, and on test images as a mean over classes: all, and those of more than 100, of 20 to 100 and of fewer than 20 training images. Mean ± half of the 95 % interval over seeds.",  # noqa: E501 - one key of words.json
        BY_CLASS,
    ),
)
"""Tables of measures, each with its title and caption."""
THRESHOLDS = (
    "class_wise_accuracy",
    "unified_threshold",
    "threshold_spread",
    "learned_bias",
    "bias_gap",
    "accuracy_at_bias",
)


MOST_CLASS_ROWS = 500
"""Rows of the table of classes at most, but always those of one setting."""


class Coverage(NamedTuple):
    """Cells of one loss in one setting."""

    planned: int
    finished: int
    """With figures, those that collapsed among them."""
    diverged: int
    collapsed: int

    @property
    def missing(self) -> int:
        """Planned, and without a result."""
        return self.planned - self.finished - self.diverged


class Numbers(NamedTuple):
    """What the tables of numbers show."""

    view: View

    def coverage(self, setting: Setting) -> dict[str, Coverage]:
        """How far each loss is in a setting."""
        return {
            line.loss: Coverage(line.planned, line.finished, line.diverged, line.collapsed)
            for line in self.view.lines(setting)
        }

    def heat(self, line: Line, metric: str) -> int | None:
        """Where a mean lies between the lowest and the highest of the grid, in percent; None where there is none."""
        if not line.means[metric].n:
            return None
        low, high = self.view.spans[metric]
        return round(100 * (line.means[metric].estimate - low) / (high - low)) if high > low else 50

    def compared_heads(self) -> list[Any]:
        """The columns of `compared`."""
        names = [say(SHORT[name]) for name in self.view.comparison.measures]
        return ["n", *names, say("pairs"), *(say("Δ {measure}", measure=name) for name in names)]

    def compared(self) -> list[dict[str, list[str]]]:
        """The comparison's numbers for each loss, setting by setting."""
        return [
            {line.loss: rows.cells(line)[1:] for line in self.view.lines(setting)} for setting in self.view.settings
        ]

    def result_heads(self) -> list[dict[str, Any]]:
        """The columns of the table of results: the key in `flat`, a head in both languages, and how it is written."""
        measures = self.view.comparison.measures
        shares = {name: in_points([name]) for name in measures}

        def head(key: str, text: Said, metric: str | None = None, *, signed: bool = False) -> dict[str, Any]:
            said = {"key": key, "en": str(text.en), "ja": str(text.ja)}
            if metric is None:
                return {**said, "isText": key in {"loss", "backbone", "dataset", "claims"}}
            digits = (2 if signed else 1) if shares[metric] else 4
            return {**said, "factor": 100 if shares[metric] else 1, "signed": signed, "digits": digits}

        names = {name: say(SHORT[name]) for name in measures}
        pairs = [head(f"difference_{name}_pairs", say("pairs")) for name in measures[:1]]
        return [
            *(head(axis, say(axis.capitalize())) for axis in ("loss", "backbone", "dataset")),
            head("claims", say("Verdict")),
            head("finished", Said(Markup("n"), Markup("n"))),
            *(head(name, text, name) for name, text in names.items()),
            *pairs,
            *(head(f"difference_{n}", say("Δ {measure}", measure=text), n, signed=True) for n, text in names.items()),
        ]

    def classes(self) -> list[tuple[Setting, list[tuple[str, str, list[str]]]]]:
        """The classes of each loss with their numbers, by setting, as far as a page has room for them."""
        return self._by_class()[: self._shown_by_class()]

    def more_classes(self) -> int:
        """Settings with classes for which the page has no room."""
        return len(self._by_class()) - self._shown_by_class()

    def _shown_by_class(self) -> int:
        totals = itertools.accumulate(len(lines) for _, lines in self._by_class())
        return max(1, sum(total <= MOST_CLASS_ROWS for total in totals))

    def _by_class(self) -> list[tuple[Setting, list[tuple[str, str, list[str]]]]]:
        found: defaultdict[Setting, list[tuple[str, str, list[str]]]] = defaultdict(list)
        for curve in self.view.curves:
            if curve.by_class:
                found[Setting(curve.dataset, curve.backbone)] += _class_rows(curve)
        return [(setting, found[setting]) for setting in self.view.settings if setting in found]

    def measured(self, metrics: Sequence[str]) -> list[dict[str, list[str]]]:
        """Means of measures over seeds for each loss, setting by setting."""
        return [
            {
                loss: [own_unit(self.interval((*setting, loss), metric)) for metric in metrics]
                for loss in self.view.losses
            }
            for setting in self.view.settings
        ]

    def interval(self, key: tuple[str, ...], metric: str) -> Interval:
        """The mean of a measure over the seeds of a dataset, a backbone and a loss."""
        finished = self.view.by_key[key]
        values = [row[metric] for row in finished if row[metric] is not None]
        return mean_interval(values, step=step(metric, finished))

    def recorded(self, metrics: Sequence[str]) -> list[str]:
        """Those measures that some finished cell has."""
        return [metric for metric in metrics if any(row[metric] is not None for row in self.view.finished)]

    def costs(self) -> list[dict[str, list[str]]]:
        """Cells, mean seconds, training seconds, images per second and parameters of each loss, setting by setting."""
        cells = {cell.id: (cell.dataset, cell.backbone, cell.loss) for cell in self.view.plan.cells}
        spent: defaultdict[tuple[str, ...], list[Account]] = defaultdict(list)
        for account in self.view.accounts:
            if has_figures(account.state):
                spent[cells[account.cell_id]].append(account)
        names = ("seconds", "train_seconds", "images_per_second", "parameters")
        return [
            {
                loss: [
                    f"{len(spent[*setting, loss])}",
                    *(_mean(getattr(account, name) for account in spent[*setting, loss]) for name in names),
                ]
                for loss in self.view.losses
            }
            for setting in self.view.settings
        ]

    def hours(self) -> float:
        """Worker-hours of all cells that are done."""
        return math.fsum(account.seconds for account in self.view.accounts) / 3600


def _class_rows(curve: Curve) -> Iterator[tuple[str, str, list[str]]]:
    """Loss, class, and the numbers of the class."""
    mark = " *" if curve.deployed is None else ""
    right = curve.classes_at(curve.start)
    own = curve.best_by_class
    for name, size in zip(curve.classes, curve.class_samples, strict=True):
        there = curve.classes_at(own[name])[name]
        numbers = [f"{100 * right[name]:.1f}", f"{curve.start:.4g}{mark}", f"{100 * there:.1f}", f"{own[name]:.4g}"]
        yield curve.loss, name, [*numbers, str(size)]


def _mean(values: Iterator[float | None]) -> str:
    """Of those that exist, with decimals where it is small."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean = math.fsum(known) / len(known)
    return f"{mean:,.0f}" if mean >= 100 else f"{mean:.2f}"  # noqa: PLR2004 - three digits tell enough
