"""Within a seed, over test samples: whether the noise of the seeds or that of the test set hides a claim.

A sample is right sample-wise when its true class scores highest, and uniformly when its model's
best threshold separates the true class from every other. That threshold was chosen on the same samples; it is taken
as given.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DamagedFileError
from orchestrator.experiment.claims import Claim
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.experiment.questions import Question
from orchestrator.pairing.blocks import Row, met
from orchestrator.provenance.environment import Environment
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.summaries import Summaries, SummaryRows
from orchestrator.statistics.intervals import Interval, mean_interval
from orchestrator.statistics.multiplicity import holm
from orchestrator.statistics.samples import TwoWay, mcnemar, paired_sample_interval, two_way_interval
from trainers.metrics.uniform import uniform_accuracy

Right = NDArray[np.bool_]
Source = Literal["seeds", "samples", "both"]


class BySeed(NamedTuple):
    """What the test samples say of the two models of one seed."""

    seed: int
    difference: Interval
    """For another test set of this size; its n is the number of samples."""
    mcnemar: float
    """p of McNemar's exact test, adjusted by Holm over the seeds; NaN of numbers that are not right or wrong."""


class Sampled(NamedTuple):
    """A claim in one setting, for other seeds and another test set at once."""

    claim: Claim
    dataset: str
    backbone: str
    samples: int
    seeds: tuple[BySeed, ...]
    both: TwoWay

    @property
    def noise(self) -> Mapping[Source, float]:
        """Standard deviation of the difference from each source, in its own unit.

        More seeds reduce the first, more test samples the second, and either the third.
        """
        s = len(self.seeds)
        n = self.samples
        both = self.both
        variances = (both.seed_variance / s, both.sample_variance / n, both.residual_variance / (s * n))
        return dict(zip(("seeds", "samples", "both"), map(math.sqrt, variances), strict=True))

    @property
    def dominant(self) -> Source | None:
        """The greatest source; None where it is unknown or there is no noise at all."""
        noise = self.noise
        most = max(noise, key=lambda source: noise[source])
        return most if noise[most] > 0 else None


def within(
    plan: Plan, evaluations: Evaluations, left: Collection[str] = (), rng: np.random.Generator | None = None
) -> tuple[Sampled, ...]:
    """Every claim about sample-wise or uniform accuracy in each setting, from the summaries of the cells there.

    Seeds count that both losses have finished in one environment, and samples that all of them were tested on.
    Settings without any are left out, and so are files that cannot be read.

    Args:
        plan: The experiment and its cells.
        evaluations: The cells' files.
        left: The ids of cells and replicas that are left out.
        rng: Draws seeds and samples; by default always the same ones.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    claims = plan.experiment.claims
    return tuple(sorted(_sampled(plan, evaluations, left, rng), key=lambda found: claims.index(found.claim)))


def _sampled(
    plan: Plan, evaluations: Evaluations, left: Collection[str], rng: np.random.Generator
) -> Iterator[Sampled]:
    asked = plan.experiment
    summaries = Summaries.of_cells(evaluations, plan.cells)
    cells = defaultdict[tuple[str, str, str], list[Cell]](list)
    for cell in evaluations.with_replicas(plan).pending(left).cells:
        cells[cell.dataset, cell.backbone, cell.loss].append(cell)
    claims = [
        claim
        for claim in asked.claims
        if not claim.is_combined and claim.baseline and {claim.metric, _other(claim)} <= RIGHT.keys()
    ]
    for dataset, backbone in product(asked.datasets, asked.backbones):
        setting = dataset.label, backbone.label
        here = [claim for claim in claims if claim.where.matches(claim.challenger, backbone.label, dataset.label)]
        losses = {loss for claim in here for loss in (claim.challenger, claim.baseline or "")}
        rows = {loss: list(_rows(cells[*setting, loss], summaries)) for loss in losses}
        for claim in here:
            found = _compared(claim, *setting, *met(rows[claim.challenger], rows[claim.baseline or ""]), rng=rng)
            yield from [found] if found else []


def _other(claim: Claim) -> str:
    return claim.baseline_metric or claim.metric


def _rows(cells: Iterable[Cell], summaries: Summaries) -> Iterator[Row]:
    """The samples of each cell that has any, with what pairs them."""
    for cell in cells:
        try:
            content = summaries.content(cell)
            found = summaries.rows(cell)
        except (FileNotFoundError, DamagedFileError):
            continue
        if found.sample.size:
            environment = Environment.of(content["provenance"]).id
            yield {"model": found, "seed": cell.seed, "environment": environment, "started": content["started"]}


def _compared(
    claim: Claim, dataset: str, backbone: str, mine: list[Row], theirs: list[Row], *, rng: np.random.Generator
) -> Sampled | None:
    """What the samples say of a claim in one setting; the rows of both losses, a pair at each place."""
    if not mine:
        return None
    seeds = [row["seed"] for row in mine]
    samples = reduce(np.intersect1d, [row["model"].sample for row in (*mine, *theirs)])
    if not samples.size:
        return None
    challenger, baseline = (
        np.stack([_answers(row["model"], metric, samples) for row in rows])
        for rows, metric in ((mine, claim.metric), (theirs, _other(claim)))
    )
    return over_samples(Question(claim, dataset, backbone), seeds, challenger, baseline, rng)


def over_samples(
    question: Question,
    seeds: Sequence[int],
    challenger: Right | NDArray[np.float64],
    baseline: Right | NDArray[np.float64],
    rng: np.random.Generator,
) -> Sampled:
    """What the same samples say of two losses under each seed, and both noises together.

    Args:
        question: The claim and the setting.
        seeds: Seeds that both losses have.
        challenger: Whether each sample is right, or any number for it, (seeds, samples).
        baseline: The same for the baseline.
        rng: Draws seeds and samples.
    """
    each = list(zip(challenger, baseline, strict=True))
    is_right = challenger.dtype == baseline.dtype == np.bool_
    p = holm([mcnemar(*pair) for pair in each]) if is_right else np.full(len(each), math.nan)
    intervals = [
        paired_sample_interval(*pair) if is_right else mean_interval(np.subtract(*pair).tolist()) for pair in each
    ]
    return Sampled(
        *question,
        challenger.shape[1],
        tuple(BySeed(*found) for found in zip(seeds, intervals, map(float, p), strict=True)),
        two_way_interval(challenger, baseline, rng),
    )


def _answers(model: SummaryRows, metric: str, samples: NDArray[np.int32]) -> Right:
    """Whether a model is right about each of these samples, all of which it was tested on."""
    order = np.argsort(model.sample, kind="stable")
    return RIGHT[metric](model)[order[np.searchsorted(model.sample, samples, sorter=order)]]


def _sample_wise(model: SummaryRows) -> Right:
    return np.less(model.rival, model.positive)


def _uniform(model: SummaryRows) -> Right:
    threshold = np.float64(uniform_accuracy(model.positive, model.rival).threshold)
    return np.less(model.rival, threshold) & np.less(threshold, model.positive)


RIGHT: Mapping[str, Callable[[SummaryRows], Right]] = {
    "sample_wise_accuracy": _sample_wise,
    "uniform_accuracy": _uniform,
}
"""Whether a model is right about each sample, by the measure that counts it."""
