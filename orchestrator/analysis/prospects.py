"""What a grid can and cannot conclude, said before any money is spent.

Power is that of the claim itself: the probability that it will be supported if its effect is what
the file expects, at the level that is left to it among all claims of its family.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.adaptive.seeds import ALPHA, by_seed, partners
from orchestrator.analysis.settings import rows_by_key
from orchestrator.analysis.spreads import BorrowedSpread, like
from orchestrator.experiment.claims import Claim
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.questions import Key, Part, Question, parts
from orchestrator.pairing.blocks import Row
from orchestrator.pairing.evidence import evidence
from orchestrator.statistics import power
from orchestrator.statistics.intervals import ENOUGH
from orchestrator.statistics.scopes import FEWEST_DATASETS, combined, dataset_means, mean_factors
from orchestrator.statistics.spread import spread, step_of_sum
from orchestrator.statistics.support import (
    Asked,
    Assumed,
    correlation,
    probability,
    seeds_for,
    simulated,
    smallest_effect,
)


class Noise(NamedTuple):
    """How far a claim's differences scatter over seeds."""

    deviations: tuple[float, ...]
    """The standard deviation in each part; of a mean, the one of the mean."""
    correlation: float
    """Of two parts under one seed."""
    basis: str
    """Where this is from."""


class Prospect(NamedTuple):
    """What is to be expected of one claim."""

    claim: Claim
    parts: tuple[str, ...]
    """The names of the settings, or comparisons of settings, that it is about."""
    seeds: int
    effect: float
    """The expected one; NaN where none is stated."""
    noise: Noise | None
    """None where no spread is known."""
    power: float | None
    """The probability that the claim will be supported."""
    needed: int | None
    """How many seeds, or of a population data sets, make it 80 %; None where no practical number does."""
    smallest: float | None
    """The smallest difference that has 80 % power: with `seeds` where no effect is stated, else with
    `power.PRACTICAL` of them."""
    has_begun: bool
    """Whether some cell has a result, so that a change of the seeds is a look."""


def prospects(experiment: Experiment, rows: Sequence[Row]) -> list[Prospect]:
    """What is to be expected of each claim.

    Args:
        experiment: What is asked.
        rows: The results there are already, of these or fewer seeds, with those of replicas.
    """
    found = {claim.id: parts(claim, experiment) for claim in experiment.claims}
    sizes = defaultdict[str, int](int)
    for claim in experiment.claims:
        sizes[claim.family] += len(found[claim.id]) if claim.over == "each" else 1
    by_key = rows_by_key(rows)
    # where claims stop the seeds, the last look has half of alpha
    alpha = ALPHA / 2 if experiment.sequence else ALPHA
    return [
        _prospect(claim, found[claim.id], experiment, by_key, alpha / sizes[claim.family])
        for claim in experiment.claims
        if found[claim.id]
    ]


def _prospect(
    claim: Claim, found: Sequence[Part], experiment: Experiment, by_key: Mapping[Key, Sequence[Row]], alpha: float
) -> Prospect:
    n = len(experiment.seeds)
    effect = _expected(claim)
    noise = _between(found, by_key) if claim.population else _noise(claim, found, experiment, by_key)
    now: float | None = None
    needed: int | None = None
    smallest: float | None = None
    if noise and not math.isnan(effect):
        now = _power(claim, noise, effect, len({part.dataset for part in found}) if claim.population else n, alpha)
        needed = _needed(claim, noise, effect, alpha)
        if needed is None and not asks_for_equality(claim):
            smallest = _smallest(claim, noise, power.PRACTICAL, alpha)
    elif noise and n >= ENOUGH and not claim.population:
        smallest = _smallest(claim, noise, n, alpha)
    names = tuple(part.name for part in found)
    return Prospect(claim, names, n, effect, noise, now, needed, smallest, _has_begun(found, by_key))


def asks_for_equality(claim: Claim) -> bool:
    """Whether a claim is supported by a small difference rather than by a large one."""
    return claim.within is not None or claim.direction == "equal"


def _has_begun(found: Sequence[Part], by_key: Mapping[Key, Sequence[Row]]) -> bool:
    return any(by_key.get(key) for part in found for question in part.questions for key in question.measures)


def _expected(claim: Claim) -> float:
    if claim.expect:
        return claim.expect.effect
    return 0.0 if asks_for_equality(claim) else math.nan


def _power(claim: Claim, noise: Noise, effect: float, n: int, alpha: float) -> float:
    asked = Asked("equal" if claim.within is not None else claim.direction, claim.tolerance, alpha)
    if claim.over in {"each", "mean"}:
        return float(np.mean([probability(effect, each, n, asked) for each in noise.deviations]))
    assumed = Assumed([effect] * len(noise.deviations), noise.deviations, noise.correlation)
    over = "all" if claim.over == "all" else "some"
    return simulated(over, assumed, n, asked, rng=np.random.default_rng(0))


def _needed(claim: Claim, noise: Noise, effect: float, alpha: float) -> int | None:
    def at(n: int) -> float:
        return _power(claim, noise, effect, n, alpha)

    return seeds_for(at)


def _smallest(claim: Claim, noise: Noise, n: int, alpha: float) -> float:
    """The smallest difference that n seeds have 80 % power to detect; the margin is part of it."""
    sign = -1 if claim.direction == "lower" else 1

    def at(effect: float) -> float:
        return _power(claim, noise, sign * effect, n, alpha)

    return smallest_effect(at, claim.margin + max(noise.deviations))


# How far differences scatter


def _noise(
    claim: Claim, found: Sequence[Part], experiment: Experiment, by_key: Mapping[Key, Sequence[Row]]
) -> Noise | None:
    values = [_summed(part, by_key) for part in found]
    pairs = sum(len(each) for each in values if len(each) > 1)
    steps = [_step(part, by_key) for part in found]
    known = [_deviation(each, step) for each, step in zip(values, steps, strict=True)]
    measured = [deviation for deviation in known if deviation]
    if measured:
        typical = math.sqrt(sum(deviation**2 for deviation in measured) / len(measured))
        basis = f"{pairs} pairs here"
    elif borrowed := [_borrowed(part, experiment) for part in found]:
        if None in borrowed:
            return None
        spreads = [spread for spread in borrowed if spread]
        known = [spread.deviation for spread in spreads]
        typical = math.sqrt(sum(each**2 for each in known if each) / len(known))
        basis = spreads[0].basis
    else:
        return None
    deviations = [deviation or typical for deviation in known]
    rho = _correlation(values)
    if len(found) == 1 or claim.over == "each":
        return Noise(tuple(deviations), 0.0, basis)
    assumed = "independent settings assumed" if rho is None else f"correlation {rho:.2f}"
    if claim.over != "mean":
        return Noise(tuple(deviations), rho or 0.0, f"{basis}, {assumed}")
    k = len(deviations)
    factors = mean_factors(len(values))
    together = _deviation(combined(values, factors), step_of_sum(steps, factors))
    mean = together or math.sqrt((1 + (k - 1) * max(rho or 0.0, 0.0)) * sum(each**2 for each in deviations)) / k
    return Noise((mean,), rho or 0.0, basis if together else f"{basis}, {assumed}")


def _between(found: Sequence[Part], by_key: Mapping[Key, Sequence[Row]]) -> Noise | None:
    """How far the means of data sets scatter, where enough of them have values."""
    means = dataset_means([_summed(part, by_key) for part in found], [part.dataset for part in found])
    known = [mean for mean in means if not math.isnan(mean)]
    deviation = float(np.std(known, ddof=1)) if len(known) >= FEWEST_DATASETS else 0.0
    return Noise((deviation,), 0.0, f"{len(known)} data sets here") if deviation else None


def _summed(part: Part, by_key: Mapping[Key, Sequence[Row]]) -> dict[int, float]:
    return combined([_values(question, by_key) for question in part.questions], part.factors)


def _values(question: Question, by_key: Mapping[Key, Sequence[Row]]) -> dict[int, float]:
    claim = question.claim
    (challenger, baseline) = partners(question, by_key)
    mine = by_seed(challenger, claim.metric)
    if claim.baseline is None:
        return mine
    theirs = by_seed(baseline, claim.baseline_metric or claim.metric)
    return {seed: mine[seed] - theirs[seed] for seed in mine.keys() & theirs.keys()}


def _deviation(values: Mapping[int, float], step: float) -> float | None:
    """None where the values do not tell it."""
    found = float(spread(list(values.values()), step))
    return None if math.isnan(found) else found


def _step(part: Part, by_key: Mapping[Key, Sequence[Row]]) -> float:
    steps = [evidence(question.claim, *partners(question, by_key), ()).step for question in part.questions]
    return step_of_sum(steps, part.factors)


def _correlation(values: Sequence[Mapping[int, float]]) -> float | None:
    seeds = sorted(set[int]().union(*values))
    table: NDArray[np.float64] = np.array([[each.get(seed, math.nan) for seed in seeds] for each in values])
    return correlation(table) if table.size else None


def _borrowed(part: Part, experiment: Experiment) -> BorrowedSpread | None:
    """The spread of a sum of effects as if they were independent, from spreads measured elsewhere."""
    each = [like(question, experiment) for question in part.questions]
    spreads = [spread for spread in each if spread]
    if len(spreads) < len(each):
        return None
    variance = math.fsum((factor * spread.deviation) ** 2 for factor, spread in zip(part.factors, spreads, strict=True))
    return BorrowedSpread(math.sqrt(variance), spreads[0].basis)
