"""What a grid can and cannot conclude, said before any money is spent.

Power is that of the claim itself: the probability that it will be supported if its effect is what
the file expects, at the level that is left to it among all claims of its family.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from orchestrator.adaptive.seeds import ALPHA, by_seed, partners
from orchestrator.analysis.spreads import Spread, like
from orchestrator.experiment.claims import Claim
from orchestrator.experiment.model import Experiment, identity
from orchestrator.experiment.questions import Key, Part, Question, parts
from orchestrator.pairing.evidence import evidence
from orchestrator.sentences import filled
from orchestrator.statistics import power
from orchestrator.statistics.intervals import ENOUGH
from orchestrator.statistics.scopes import FEWEST_DATASETS, combined, dataset_means, mean_factors
from orchestrator.statistics.spread import spread, step_of_sum
from orchestrator.statistics.support import (
    POWER,
    Asked,
    Assumed,
    correlation,
    probability,
    seeds_for,
    simulated,
    smallest_effect,
)
from orchestrator.units import amount

Row = Mapping[str, Any]


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
    scope: str
    seeds: int
    effect: float
    source: str
    """Where the effect is from."""
    noise: Noise | None
    """None where no spread is known."""
    power: float | None
    """The probability that the claim will be supported."""
    advice: str
    """What would make it 80 %."""


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
    by_key = defaultdict[Key, list[Row]](list)
    for row in rows:
        by_key[row["dataset"], row["backbone"], row["loss"]].append(row)
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
    (effect, source) = _expected(claim)
    noise = _between(found, by_key) if claim.population else _noise(claim, found, experiment, by_key)
    now: float | None = None
    if claim.population:
        advice = "no power: the spread between data sets is not known; more of them, not more seeds, would help"
        if noise and not math.isnan(effect):
            now = _power(claim, noise, effect, len({part.dataset for part in found}), alpha)
            advice = _advice(claim, noise, effect, now, alpha).replace("seeds", "data sets")
    elif noise is None or math.isnan(effect):
        advice = _unknown(claim, n, noise, alpha)
    else:
        now = _power(claim, noise, effect, n, alpha)
        advice = _advice(claim, noise, effect, now, alpha)
        if now < POWER and advice.endswith(" seeds") and _has_begun(found, by_key):
            advice += NEW_LOOK
    return Prospect(claim, _scope(claim, found), n, effect, source, noise, now, advice)


NEW_LOOK = " (more than planned: a new look, exploratory)"


def _has_begun(found: Sequence[Part], by_key: Mapping[Key, Sequence[Row]]) -> bool:
    """Whether some cell of a claim has a result, so that a change of its seeds is a look."""
    return any(by_key.get(key) for part in found for question in part.questions for key in question.measures)


def _scope(claim: Claim, found: Sequence[Part]) -> str:
    count = len(found)
    if count == 1:
        return found[0].name
    return {
        "each": f"each of {count} settings",
        "mean": "mean over data sets" if claim.population else f"mean of {count} settings",
        "all": f"in all {count} settings",
        "some": f"in some of {count} settings",
    }[claim.over]


def _expected(claim: Claim) -> tuple[float, str]:
    if claim.expect:
        return claim.expect.effect, claim.expect.source
    if claim.within is not None or claim.direction == "equal":
        return 0.0, "none stated; as if there were no difference" if claim.within is None else "none stated; as if 0"
    return math.nan, "none stated"


def _power(claim: Claim, noise: Noise, effect: float, n: int, alpha: float) -> float:
    asked = Asked("equal" if claim.within is not None else claim.direction, claim.tolerance, alpha)
    if claim.over in {"each", "mean"}:
        return float(np.mean([probability(effect, each, n, asked) for each in noise.deviations]))
    assumed = Assumed([effect] * len(noise.deviations), noise.deviations, noise.correlation)
    over = "all" if claim.over == "all" else "some"
    return simulated(over, assumed, n, asked, rng=np.random.default_rng(0))


def _advice(claim: Claim, noise: Noise, effect: float, now: float, alpha: float) -> str:
    """What number of seeds would be enough; where none is practical, what difference could be seen at all."""

    def at(n: int) -> float:
        return _power(claim, noise, effect, n, alpha)

    if needed := seeds_for(at):
        return f"{needed} seeds" if now < POWER else f"enough ({needed} seeds would do)"
    if claim.within is not None or claim.direction == "equal":
        return f"no practical number of seeds decides: the spread is too large for ±{_amount(claim.tolerance, claim)}"
    smallest = _smallest(claim, noise, power.PRACTICAL, alpha)
    shown = f"{power.PRACTICAL} seeds show a difference of {_amount(smallest, claim)} 4 times in 5"
    return f"no practical number of seeds decides: {shown}"


def _smallest(claim: Claim, noise: Noise, n: int, alpha: float) -> float:
    """The smallest difference, beyond the margin included, that n seeds show 4 times in 5."""
    sign = -1 if claim.direction == "lower" else 1

    def at(effect: float) -> float:
        return _power(claim, noise, sign * effect, n, alpha)

    return smallest_effect(at, claim.margin + max(noise.deviations))


def _unknown(claim: Claim, n: int, noise: Noise | None, alpha: float) -> str:
    if noise is None:
        return "no power: no spread of this measure is known; a first run of a few seeds tells it"
    if n < ENOUGH:
        return f"no power: there is no verdict from fewer than {ENOUGH} seeds"
    smallest = _amount(_smallest(claim, noise, n, alpha), claim)
    return f"no power: state 'expect'; {n} seeds show a difference of {smallest} 4 times in 5"


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
    told = "independent settings assumed" if rho is None else f"correlation {rho:.2f}"
    if claim.over != "mean":
        return Noise(tuple(deviations), rho or 0.0, f"{basis}, {told}")
    k = len(deviations)
    factors = mean_factors(len(values))
    together = _deviation(combined(values, factors), step_of_sum(steps, factors))
    mean = together or math.sqrt((1 + (k - 1) * max(rho or 0.0, 0.0)) * sum(each**2 for each in deviations)) / k
    return Noise((mean,), rho or 0.0, basis if together else f"{basis}, {told}")


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


def _borrowed(part: Part, experiment: Experiment) -> Spread | None:
    """The spread of a sum of effects as if they were independent, from spreads measured elsewhere."""
    each = [like(question, experiment) for question in part.questions]
    spreads = [spread for spread in each if spread]
    if len(spreads) < len(each):
        return None
    variance = math.fsum((factor * spread.deviation) ** 2 for factor, spread in zip(part.factors, spreads, strict=True))
    return Spread(math.sqrt(variance), spreads[0].basis)


# As a table


HEADS = ("claim", "scope", "expected (from)", "spread (from)", "power", "for 80 %")


def table(experiment: Experiment, rows: Sequence[Row]) -> Table:
    """The prospects of all claims, for a terminal."""
    shown = Table(box=None, padding=(0, 1, 0, 0))
    for head in HEADS:
        shown.add_column(head, overflow="fold")
    for found in prospects(experiment, rows):
        shown.add_row(*map(Text, cells(found)))
    return shown


def cells(found: Prospect) -> list[str]:
    """One claim under `HEADS`, in the unit of its measure."""
    noise = found.noise
    return [
        found.claim.id,
        found.scope,
        found.source
        if math.isnan(found.effect)
        else f"{filled(amount(found.effect, found.claim.metrics))} ({found.source})",
        "unknown" if noise is None else f"{_range(noise.deviations, found.claim)} ({noise.basis})",
        "–" if found.power is None else f"{100 * found.power:.0f} %",
        found.advice,
    ]


def _range(deviations: Sequence[float], claim: Claim) -> str:
    low = _amount(min(deviations), claim)
    high = _amount(max(deviations), claim)
    return high if low == high else f"{low.partition(' ')[0]} to {high}"


def _amount(size: float, claim: Claim) -> str:
    return filled(amount(size, claim.metrics, 2))


def caution(experiment: Experiment) -> Iterator[str]:
    """What no data can show, a sentence each."""
    n = len(experiment.seeds)
    k = len({identity(each) for each in experiment.datasets})
    primary = [claim for claim in experiment.claims if claim.family == "primary"]
    questions = sum(len(parts(claim, experiment)) if claim.over == "each" else 1 for claim in primary)
    if n > 1 and power.is_impossible(n, max(1, questions), ALPHA, "sign_flip"):
        p = power.smallest_p(n, "sign_flip")
        yield (
            f"an exact sign-flip test on {n} pairs cannot go under p = {p:.3g}, and Holm over {max(1, questions)} "
            f"questions asks for {ALPHA / max(1, questions):.3g}: only tests that assume a distribution can decide"
        )
    if len(experiment.losses) < 2:  # noqa: PLR2004 - one is compared with nothing
        return
    if k < FEWEST_DATASETS:
        yield f"nothing can be said of other data sets: that takes {FEWEST_DATASETS}, and this grid has {k}"
    elif power.is_impossible(k, len(experiment.losses) - 1, ALPHA, "wilcoxon"):
        p = power.smallest_p(k, "wilcoxon")
        yield (
            f"across {k} data sets a signed-rank test cannot go under p = {p:.3g}: "
            f"no loss can be shown better over all of them by ranks, whatever the data"
        )
