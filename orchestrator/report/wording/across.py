"""How losses stand over all settings: what the numbers are, and what they cannot say."""

from __future__ import annotations

import math
from collections.abc import Iterator

from orchestrator.adaptive.seeds import ALPHA
from orchestrator.analysis.across_settings import Overall, Standings
from orchestrator.analysis.lines import ENOUGH_SEEDS
from orchestrator.report.numbers import p_value
from orchestrator.report.wording.names import SHORT, MeasureName
from orchestrator.sentences import Sentence
from orchestrator.statistics import power
from orchestrator.statistics.scopes import FEWEST_DATASETS


def heading(standings: Standings) -> Sentence:
    """By what measure, and whether the losses differ at all over data sets like these, and how far ranks must."""
    name = MeasureName(standings.metric)
    found = standings.friedman
    if found is None:
        return "{measure}", {"measure": name}
    p = p_value(found.p)
    return "{measure}: Friedman {statistic}, p {p} ({exact}); {ranks}; same: within ±{rope} points", {
        "measure": name,
        "statistic": f"{found.statistic:.2f}",
        "p": p if p.startswith("<") else f"= {p}",
        "exact": ("exact", {}) if found.exact else ("of drawn orders", {}),
        "ranks": critical_difference(standings.critical_difference),
        "rope": f"{100 * standings.rope:g}",
    }


def critical_difference(found: float) -> Sentence:
    """How far mean ranks must lie apart."""
    if math.isfinite(found):
        return "critical difference {cd}", {"cd": f"{found:.2f}"}
    return "no difference in ranks is significant at 5 %", {}


def caption(overall: Overall) -> Iterator[Sentence]:
    """What the numbers over all settings are; nothing where there are none."""
    if not overall.standings:
        return
    seeds = overall.standings[0].seeds
    text = "Rank: mean over data sets ({datasets}), backbones averaged; 1 is best. These settings: mean difference to {baseline} over the {settings} settings as given, in points, ± half of the 95 % Student t interval over seeds (n = {seeds}; one has no interval)."  # noqa: E501 - one key of words.json
    yield (
        text,
        {
            "datasets": overall.datasets,
            "baseline": overall.baseline,
            "settings": overall.settings,
            "seeds": seeds,
        },
    )
    yield from _others(overall)
    yield _interquartile_mean(seeds, seeds * overall.settings)
    yield "Gap: mean shortfall from 100. Cells that diverged count as 0.", {}


def _others(overall: Overall) -> Iterator[Sentence]:
    """What is said of other data sets like these."""
    if not overall.says_of_others:
        text = "No statement is made about other data sets: that takes {fewest}; backbones on one data set share its images and seeds."  # noqa: E501 - one key of words.json
        yield text, {"fewest": FEWEST_DATASETS}
        return
    text = "Others like these, with the data set as unit (n = {datasets}): p: Wilcoxon's signed-rank test against {baseline}, exact, Holm; mean difference by a mixed model, t with {freedom} degrees of freedom; worse, same, better: percent, by the Bayesian signed-rank test."  # noqa: E501 - one key of words.json
    values = {"datasets": overall.datasets, "baseline": overall.baseline, "freedom": overall.datasets - 1}
    yield text, values
    if power.is_impossible(overall.datasets, len(overall.standings[0].losses) - 1, ALPHA, "wilcoxon"):
        least = power.smallest_p(overall.datasets, "wilcoxon")
        text = "With {datasets} data sets, Wilcoxon's p cannot be below {least} before Holm's correction."
        yield text, {"datasets": overall.datasets, "least": f"{least:.3g}"}


def _interquartile_mean(seeds: int, runs: int) -> Sentence:
    if seeds >= ENOUGH_SEEDS:
        return "Interquartile mean (IQM): of all runs of a loss (n = {runs}), with a bootstrap interval.", {
            "runs": runs
        }
    text = "Interquartile mean (IQM): of all runs of a loss (n = {runs}); a bootstrap interval needs {seeds} seeds."
    return text, {"runs": runs, "seeds": ENOUGH_SEEDS}


def remarks(overall: Overall, most: int | None = None) -> Iterator[Sentence]:
    """Why there are no numbers, of which measure, and which settings are in none.

    Args:
        overall: How the losses stand.
        most: How many of these settings are named.
    """
    several = bool(overall.standings) or overall.settings + len(overall.left_out) > 1
    is_silent = not overall.standings and bool(overall.left_out) and several
    if is_silent:
        text = "No statement is made across settings: that takes two losses, and two settings without a missing cell."
        yield text, {}
    if overall.lacking:
        measures: list[Sentence] = [(SHORT[metric], {}) for metric in overall.lacking]
        text = "No statement is made across settings about these accuracies, which some loss does not have: {measures}."
        yield text, {"measures": measures}
    if overall.left_out and (overall.standings or is_silent or overall.lacking):
        named = ", ".join(overall.left_out[:most])
        more = len(overall.left_out[most:]) if most else 0
        if more:
            text = "Left out for a missing cell or replica: {settings} and {more} more."
            yield text, {"settings": named, "more": more}
        else:
            yield "Left out for a missing cell or replica: {settings}.", {"settings": named}
