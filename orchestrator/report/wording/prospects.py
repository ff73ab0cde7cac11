"""What is to be expected of claims before any money is spent, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from orchestrator.adaptive.seeds import ALPHA
from orchestrator.analysis.prospects import Prospect
from orchestrator.experiment.choices import identity
from orchestrator.experiment.claims import Claim
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.questions import parts
from orchestrator.experiment.units import amount
from orchestrator.sentences import counted, filled
from orchestrator.statistics import power
from orchestrator.statistics.intervals import ENOUGH
from orchestrator.statistics.scopes import FEWEST_DATASETS
from orchestrator.statistics.support import POWER

HEADS = ("claim", "scope", "expected (from)", "spread (from)", "power", "for 80 %")
"""The columns of `cells`."""

NEW_LOOK = " (more than planned: a new look, exploratory)"


def cells(found: Prospect) -> list[str]:
    """One claim under `HEADS`, in the unit of its measure."""
    noise = found.noise
    return [
        found.claim.id,
        scope(found),
        expected(found),
        "unknown" if noise is None else f"{_range(noise.deviations, found.claim)} ({noise.basis})",
        "–" if found.power is None else f"{100 * found.power:.0f} %",
        advice(found),
    ]


def scope(found: Prospect) -> str:
    """On what a claim's verdict will be."""
    count = len(found.parts)
    if count == 1:
        return found.parts[0]
    return {
        "each": f"each of {count} settings",
        "mean": "mean over data sets" if found.claim.population else f"mean of {count} settings",
        "all": f"in all {count} settings",
        "some": f"in some of {count} settings",
    }[found.claim.over]


def expected(found: Prospect) -> str:
    """The expected effect, and where it is from."""
    claim = found.claim
    if math.isnan(found.effect):
        return "none stated"
    effect = filled(amount(found.effect, claim.metrics))
    if claim.expect:
        return f"{effect} ({claim.expect.source})"
    assumption = "no difference" if claim.within is None else "0"
    return f"{effect} (none stated; {assumption} assumed)"


def advice(found: Prospect) -> str:
    """What number of seeds would be enough; where none is practical, what difference could be detected at all."""
    unit = "data sets" if found.claim.population else "seeds"
    if found.power is None:
        return f"no power: {_why_unknown(found)}"
    if found.needed:
        if found.power >= POWER:
            return f"enough ({found.needed} {unit} would do)"
        is_look = found.has_begun and not found.claim.population
        return f"{found.needed} {unit}{NEW_LOOK if is_look else ''}"
    if found.smallest is None:
        margin = _amount(found.claim.tolerance, found.claim)
        return f"no practical number of {unit} decides it: the spread is too large for ±{margin}"
    smallest = _amount(found.smallest, found.claim)
    return f"no practical number of {unit} decides it: {power.PRACTICAL} have 80 % power to detect {smallest}"


def _why_unknown(found: Prospect) -> str:
    if found.claim.population:
        return "the spread between data sets is not known; more of them, not more seeds, would help"
    if found.noise is None:
        return "the spread of this measure is not known; a first run of a few seeds measures it"
    if found.smallest is None:
        return f"there is no verdict from fewer than {ENOUGH} seeds"
    smallest = _amount(found.smallest, found.claim)
    return f"state 'expect'; {found.seeds} seeds have 80 % power to detect {smallest}"


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
    questions = max(1, sum(len(parts(claim, experiment)) if claim.over == "each" else 1 for claim in primary))
    if n > 1 and power.is_impossible(n, questions, ALPHA, "sign_flip"):
        p = power.smallest_p(n, "sign_flip")
        yield (
            f"an exact sign-flip test on {n} pairs cannot reach a p below {p:.3g}, and Holm over "
            f"{counted(questions, 'question')} requires {ALPHA / questions:.3g}: "
            "only tests that assume a distribution can decide"
        )
    if len(experiment.losses) < 2:  # noqa: PLR2004 - one is compared with nothing
        return
    if k < FEWEST_DATASETS:
        yield f"nothing can be said of other data sets: that takes {FEWEST_DATASETS}, and this grid has {k}"
    elif power.is_impossible(k, len(experiment.losses) - 1, ALPHA, "wilcoxon"):
        p = power.smallest_p(k, "wilcoxon")
        yield (
            f"across {k} data sets a signed-rank test cannot reach a p below {p:.3g}: "
            "no loss can be shown better over all of them by ranks, whatever the data"
        )
