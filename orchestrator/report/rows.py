"""The rows of a comparison's tables, as text: terminal, Markdown, LaTeX and page show the same."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from itertools import groupby

from orchestrator import sentences
from orchestrator.adaptive.seeds import ALPHA
from orchestrator.analysis.across_settings import Overall, Standing
from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.findings import Finding
from orchestrator.analysis.lines import Line
from orchestrator.analysis.sample_noise import Sampled
from orchestrator.experiment.claims import Claim
from orchestrator.experiment.units import in_points
from orchestrator.report.numbers import p_value, points, with_spread
from orchestrator.report.wording import claims, verdicts
from orchestrator.report.wording.names import SHORT
from orchestrator.sentences import filled, worded
from orchestrator.statistics.intervals import Interval

PUBLISHED = ("dataset", "backbone", "loss", "measure", "published %", "recipe", "source", "ours differs in")
"""The columns of `published`."""

JUDGED = ("claim", "setting", "difference", "verdict")
"""The columns of `judged`."""

SAMPLED = ("seeds × samples", "difference", "one seed", "McNemar", "seeds", "test set", "both")
"""The columns of `sampled`; the last three are noise."""


def headings(comparison: Comparison) -> list[str]:
    """The columns after the setting."""
    names = [SHORT[name] for name in comparison.measures]
    return [worded("loss"), "n", *names, "pairs", *(f"Δ {name}" for name in names)]


def cells(line: Line) -> list[str]:
    """One row under `headings`. `n` shows what is missing, diverged or collapsed, too."""
    return [line.loss, seeds(line), *means(line), pairs(line), *differences(line)]


def seeds(line: Line) -> str:
    """`5`, `4/5 (1 diverged)`."""
    n = str(line.finished) if line.finished == line.planned else f"{line.finished}/{line.planned}"
    counts = ((line.diverged, "diverged"), (line.collapsed, "collapsed"))
    named = ", ".join(f"{count} {state}" for count, state in counts if count)
    return f"{n} ({named})" if named else n


def means(line: Line) -> list[str]:
    """Each accuracy."""
    return [
        with_spread(interval, "", line.finished, in_percent=in_points([name])) for name, interval in line.means.items()
    ]


def pairs(line: Line) -> str:
    """How many pairs of seeds the differences rest on; one that rests on fewer shows its own number."""
    return "–" if line.differences is None else str(_most_pairs(line))


def _most_pairs(line: Line) -> int:
    return max((interval.n for interval in (line.differences or {}).values()), default=0)


def differences(line: Line) -> list[str]:
    """Each difference, with a star where it stands after correction for all of the table."""
    return [_difference(line, name) for name in line.means]


def _difference(line: Line, name: str) -> str:
    found = (line.differences or {}).get(name)
    shown = "–" if found is None else with_spread(found, "+", _most_pairs(line), in_percent=in_points([name]))
    return f"{shown} *" if line.tests and line.tests[name].holm <= ALPHA else shown


def by_setting(comparison: Comparison) -> Iterator[tuple[str, Iterator[Line]]]:
    """The lines of each setting, with its name."""
    return groupby(comparison.lines, key=lambda line: filled(sentences.setting_name(line.dataset, line.backbone)))


def across_heads(overall: Overall) -> list[str]:
    """The columns of `across`."""
    of_others = ["p", "others like these", "worse/same/better"] if overall.says_of_others else []
    return [worded("loss"), "rank", "these settings", *of_others, "IQM", "gap"]


def across(standing: Standing, overall: Overall) -> list[str]:
    """One loss over all settings, under `across_heads`."""
    estimate, low, high = (100 * value for value in standing.middle)
    of_others = [
        "–" if math.isnan(standing.wilcoxon) else p_value(standing.wilcoxon),
        _effect(standing),
        " / ".join(f"{100 * share:.0f}" for share in standing.posterior) if standing.posterior else "–",
    ]
    return [
        standing.loss,
        f"{standing.rank:.2f}",
        points(standing.given),
        *(of_others if overall.says_of_others else []),
        f"{estimate:.1f}" if math.isnan(low) else f"{estimate:.1f} [{low:.1f}, {high:.1f}]",
        f"{100 * standing.gap:.1f}",
    ]


def _effect(standing: Standing) -> str:
    effect = standing.effect
    return "–" if effect is None else points(Interval(effect.estimate, effect.low, effect.high, effect.datasets))


def published(comparison: Comparison) -> list[list[str]]:
    """Published figures, in percent, with recipe and source, and in what our network and recipe are others."""
    return [
        [
            figure.dataset,
            figure.backbone,
            figure.loss,
            figure.metric,
            f"{100 * figure.value:.1f}",
            figure.recipe,
            figure.source,
            "; ".join(map(str, figure.differs)) or "–",
        ]
        for figure in comparison.published
    ]


def judged(comparison: Comparison) -> list[list[str]]:
    """What each setting says of each claim."""
    return [
        [
            f"{statement(finding.claim)}. {filled(claims.stated(comparison.when(finding.claim)))}",
            setting(finding),
            filled(verdicts.difference(finding)),
            "; ".join([marked(finding), *doubts(finding)]),
        ]
        for finding in comparison.findings
    ]


def statement(claim: Claim) -> str:
    """A claim with its id."""
    return f"{claim.id}: {filled(claims.statement(claim))}"


def setting(finding: Finding) -> str:
    """Where a finding holds."""
    return filled(claims.scope(finding))


def marked(finding: Finding) -> str:
    """The verdict, with a mark where it comes of unequal conditions."""
    return f"{finding.marked}{verdicts.mark(finding)}"


def doubts(finding: Finding) -> list[str]:
    """What else is to be said of a verdict."""
    return [filled(sentence) for sentence in verdicts.doubts(finding)]


def sampled(found: Sampled) -> list[str]:
    """A claim in a setting over test samples under `SAMPLED`, in points."""
    both = found.both
    factor, digits = (100, 1) if in_points(found.claim.metrics) else (1, 4)
    interval = "" if math.isnan(both.low) else f" [{factor * both.low:+.{digits}f}, {factor * both.high:+.{digits}f}]"
    half = statistics.median((seed.difference.high - seed.difference.low) / 2 for seed in found.seeds)
    significant = sum(seed.mcnemar <= ALPHA for seed in found.seeds)
    is_tested = not any(math.isnan(seed.mcnemar) for seed in found.seeds)
    return [
        f"{len(found.seeds)} × {found.samples}",
        f"{factor * both.estimate:+.{digits}f}{interval}",
        f"±{factor * half:.{digits}f}",
        f"{significant}/{len(found.seeds)}" if is_tested else "–",
        *("–" if math.isnan(noise) else f"{factor * noise:.{digits + 1}f}" for noise in found.noise.values()),
    ]
