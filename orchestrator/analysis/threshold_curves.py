"""What a threshold does, summarised: a few kB for each loss in a setting instead of all its samples.

At threshold t a sample is right when `rival < t < positive`; a rival passes when
`rival >= t`; otherwise the sample is rejected by all. The three shares add up to 1. NaN
scores are errors, as in `trainers.metrics`: such a rival passes and such an own class does not.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DamagedFileError
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.outcome import has_figures
from orchestrator.records.files.class_names import class_names
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.summaries import Summaries, SummaryRows
from orchestrator.sentences import counted, filled, setting_name
from trainers.evaluation import Evaluation
from trainers.metrics.uniform import Optimum, uniform_accuracy

GRID = 100
"""Thresholds at equally spaced quantiles of all scores: close where scores are."""

BINS = 40

MOST_CLASSES = 20
"""With more classes, deciles over classes are kept instead of every class."""

DECILES = ("0 %", "10 %", "20 %", "30 %", "40 %", "50 %", "60 %", "70 %", "80 %", "90 %", "100 %")

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class Model(NamedTuple):
    """One trained model of a loss in a setting."""

    seed: int
    evaluation: Evaluation | SummaryRows
    bias: float | None
    """The learnt bias; the mean of one per class; None where the loss learns none."""
    chosen: float | None = None
    """The threshold chosen on validation images; None where there is none."""


class Shares(NamedTuple):
    """What one threshold does to the samples of all seeds, as shares of them."""

    own: float
    """Accepted as their own class, whether or not a rival passes too."""
    rival: float
    """A rival class passes as well or instead: a false accept."""
    rejected: float
    """No class passes."""
    right: float
    """The own class passes and no other: the uniform accuracy at this threshold."""

    def cost(self, false_accept: float, false_reject: float) -> float:
        """Expected cost of 1 000 samples; one sample may cost both, as in `operating_points.cost_threshold`."""
        return 1000 * (false_accept * self.rival + false_reject * (1 - self.own))


@dataclass(frozen=True, eq=False, repr=False)
class Curve:
    """All seeds of one loss in one setting: what one threshold for all of their models does.

    Arrays over thresholds have shape (m,), exact at each threshold and to be read linearly
    between; the first threshold is below every score and the last above.
    """

    dataset: str
    backbone: str
    loss: str
    seeds: tuple[int, ...]
    samples: int
    """Over all seeds."""
    thresholds: Floats
    own: Counts
    rival: Counts
    right: Counts
    classes: tuple[str, ...]
    """Names of the classes, or their numbers; with more than `MOST_CLASSES` `DECILES` over them, the worst first."""
    class_accuracy: Floats
    """Share of a class's samples that are right, shape (k, m)."""
    class_samples: tuple[int, ...]
    """Test samples of each class; empty with deciles."""
    edges: Floats
    """Of the histograms' bins (b + 1,)."""
    own_scores: Counts
    rival_scores: Counts
    optima: tuple[Optimum, ...]
    """Of each seed alone, exactly."""
    biases: tuple[float | None, ...]
    """Learnt by each seed."""
    chosen: tuple[float | None, ...]
    """The threshold that each seed chose on validation images."""

    def __repr__(self) -> str:
        setting = filled(setting_name(self.dataset, self.backbone))
        return f"<Curve of {self.loss}, {setting}: {counted(len(self.seeds), 'seed')}, {self.samples} samples>"

    @property
    def by_class(self) -> bool:
        """Whether `classes` are classes rather than deciles over them."""
        return self.classes != DECILES

    @property
    def has_names(self) -> bool:
        """Whether `classes` are names."""
        return self.by_class and not all(name.isdecimal() for name in self.classes)

    @property
    def best(self) -> float:
        """The one threshold best for the models of all seeds together, to within the grid."""
        return float(self.thresholds[int(np.argmax(self.right))])

    @property
    def deployed(self) -> float | None:
        """The median of the thresholds chosen on validation images; None if no seed chose one."""
        known = [threshold for threshold in self.chosen if threshold is not None and math.isfinite(threshold)]
        return float(np.median(known)) if known else None

    @property
    def start(self) -> float:
        """The threshold at which people are shown the loss: that deployed, or the best on these samples."""
        return self.best if self.deployed is None else self.deployed

    @property
    def best_by_class(self) -> dict[str, float]:
        """For each class the threshold best for it alone on these samples, which nobody who deploys a model knows."""
        equal = (self.thresholds[shares == shares.max()] for shares in self.class_accuracy)
        return {name: float(best[best.size // 2]) for name, best in zip(self.classes, equal, strict=True)}

    def at(self, threshold: float) -> Shares:
        """The shares at any threshold, read linearly between those kept."""
        own, rival, right = (
            float(np.interp(threshold, self.thresholds, counts)) / self.samples
            for counts in (self.own, self.rival, self.right)
        )
        return Shares(own, rival, 1 - rival - right, right)

    def classes_at(self, threshold: float) -> dict[str, float]:
        """The same for the accuracy of each class, or decile over classes."""
        values = (float(np.interp(threshold, self.thresholds, shares)) for shares in self.class_accuracy)
        return dict(zip(self.classes, values, strict=True))

    def cheapest(self, false_accept: float, false_reject: float) -> float:
        """The threshold of least expected cost among those kept; of equally cheap ones the lowest."""
        costs = false_accept * self.rival + false_reject * (self.samples - self.own)
        return float(self.thresholds[int(np.argmin(costs))])

    def to_json(self) -> dict[str, Any]:
        """What the threshold explorer needs."""
        return {
            "loss": self.loss,
            "samples": self.samples,
            "deployed": self.deployed,
            "best": self.best,
            "thresholds": self.thresholds.tolist(),
            **{name: getattr(self, name).tolist() for name in ("own", "rival", "right")},
            "classes": list(self.classes),
            "byClass": self.by_class,
            "classAccuracy": np.round(self.class_accuracy, 3).tolist(),
        }


def summarise(
    dataset: str, backbone: str, loss: str, models: Sequence[Model], *, names: Sequence[str] = ()
) -> Curve | None:
    """The curve of a loss in a setting, pooled over its models; None without a single finite score.

    Args:
        dataset: Its label.
        backbone: Its label.
        loss: Its label.
        models: Of all seeds.
        names: Of the classes, in the order of their numbers; without them, classes are called by their numbers.
    """
    if not models:
        return None
    # In float64 throughout: a threshold between two float32 scores must stay between them.
    positive, rival = (
        np.concatenate([np.asarray(getattr(model.evaluation, side), np.float64) for model in models])
        for side in ("positive", "rival")
    )
    label = np.concatenate([model.evaluation.label for model in models])
    finite = np.concatenate([positive, rival])
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return None
    biases = tuple(model.bias for model in models)
    known = [threshold for model in models for threshold in (model.bias, model.chosen) if threshold is not None]
    wanted = [uniform_accuracy(positive, rival).threshold, *known]
    thresholds = _grid(finite, wanted)
    numbers, counts, class_accuracy = _by_class(positive, rival, label, thresholds)
    classes = DECILES if numbers is None else tuple(_called(number, names) for number in numbers)
    edges = np.histogram_bin_edges(finite, BINS)
    return Curve(
        dataset=dataset,
        backbone=backbone,
        loss=loss,
        seeds=tuple(model.seed for model in models),
        samples=label.size,
        thresholds=thresholds,
        own=label.size - np.searchsorted(np.sort(_or(positive, -np.inf)), thresholds, side="right"),
        rival=label.size - np.searchsorted(np.sort(_or(rival, np.inf)), thresholds, side="left"),
        right=_right(positive, rival, thresholds),
        classes=classes,
        class_accuracy=class_accuracy,
        class_samples=tuple(count // len(models) for count in counts),
        edges=edges,
        own_scores=np.histogram(positive[np.isfinite(positive)], edges)[0],
        rival_scores=np.histogram(rival[np.isfinite(rival)], edges)[0],
        optima=tuple(uniform_accuracy(model.evaluation.positive, model.evaluation.rival) for model in models),
        biases=biases,
        chosen=tuple(model.chosen for model in models),
    )


def _grid(finite: Floats, wanted: Sequence[float]) -> Floats:
    """Distinct thresholds of few digits, from below all scores to above, the wanted ones among them."""
    low = float(finite.min())
    high = float(finite.max())
    span = (high - low) or abs(high) or 1.0
    digits = max(6 - math.floor(math.log10(span)), 0)
    step = 10.0**-digits
    inner = [*np.quantile(finite, np.linspace(0, 1, GRID)), *filter(math.isfinite, wanted)]
    return np.unique(np.round([low - step, *inner, high + step], digits))


def _right(positive: Floats, rival: Floats, thresholds: Floats) -> Counts:
    """How many samples have rival < t < positive, for each t."""
    keep = rival < positive
    entered = np.searchsorted(np.sort(rival[keep]), thresholds, side="left")
    return entered - np.searchsorted(np.sort(positive[keep]), thresholds, side="right")


def _by_class(
    positive: Floats, rival: Floats, label: NDArray[np.int32], thresholds: Floats
) -> tuple[list[int] | None, list[int], Floats]:
    """The numbers of the classes, their samples and their shares; None with deciles over more than `MOST_CLASSES`."""
    known, counts = np.unique(label, return_counts=True)
    order = np.argsort(label, kind="stable")
    parts = np.split(order, np.cumsum(counts)[:-1])
    shares = np.stack([_right(positive[part], rival[part], thresholds) / part.size for part in parts])
    if known.size <= MOST_CLASSES:
        return known.tolist(), counts.tolist(), shares
    return None, [], np.quantile(shares, np.linspace(0, 1, len(DECILES)), axis=0)


def _called(number: int, names: Sequence[str]) -> str:
    return names[number] if number < len(names) else str(number)


def _or(scores: Floats, instead: float) -> Floats:
    """The scores, with another value for NaN."""
    return np.where(np.isnan(scores), instead, scores)


def gather(
    plan: Plan, rows: Sequence[Mapping[str, Any]], evaluations: Evaluations
) -> tuple[tuple[Curve, ...], tuple[str, ...]]:
    """The curves of all losses in all settings, from the summary of one cell at a time.

    Returns:
        The curves, in the order of the experiment's axes; and a sentence for each file that cannot be read.
    """
    finished = {row["cell_id"]: row for row in rows if has_figures(row["state"])}
    found = list[Curve]()
    unreadable = list[str]()
    by_key: defaultdict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    summaries = Summaries.of_cells(evaluations, plan.cells)
    for cell in plan.cells:
        if cell.id in finished:
            by_key[cell.dataset, cell.backbone, cell.loss].append(cell)
    asked = plan.experiment
    names = class_names((cell for cell in plan.cells if cell.id in finished), summaries)
    for dataset, backbone, loss in itertools.product(asked.datasets, asked.backbones, asked.losses):
        key = (dataset.label, backbone.label, loss.label)
        models = list[Model]()
        for cell in by_key[key]:
            try:
                models.append(_model(cell, summaries.rows(cell), finished[cell.id]))
            except (FileNotFoundError, DamagedFileError) as error:
                unreadable.append(f"{cell.name}: {error}")
        curve = summarise(*key, models, names=names.get(dataset.label, ()))
        found += [curve] if curve else []
    return tuple(found), tuple(unreadable)


def _model(cell: Cell, rows: SummaryRows, row: Mapping[str, Any]) -> Model:
    """A cell's model; with bias and threshold where they are on the scale of the scores that are kept."""
    if row.get("decide_by") not in {None, "raw"}:
        return Model(cell.seed, rows, None)
    chosen = row.get("operating_threshold")
    return Model(cell.seed, rows, row["learned_bias"], row.get("validation_threshold") if chosen is None else chosen)
