"""The sentences around a comparison's tables, in English, as terminal, Markdown and LaTeX show them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from orchestrator.analysis.across_settings import Overall
from orchestrator.analysis.comparison import Comparison
from orchestrator.report.wording import across, claims, comparison, verdicts
from orchestrator.sentences import Sentence, filled

ROBUST = "How much of the tuning space the challenger wins; a bin is won/tried"

NAMED = 5
"""Settings named one by one."""


def caption(of: Comparison) -> str:
    """What the numbers are; it belongs under every table."""
    what = [comparison.numbers(of)]
    limits = (comparison.planned(of), comparison.limits(of))
    cells = (comparison.missing(of), comparison.collapsed(of), comparison.diverged(of))
    return _text(chain(what, *limits, *cells))


def conditions(of: Comparison) -> list[str]:
    """How the threshold was chosen, what losses were given, whether cells may be pooled, and which were imported."""
    found = (of.scored, of.audit, of.pool, of.data, of.machines, of.imported, of.added)
    parts = (part for part in found if part)
    return [*map(filled, comparison.conditions(of)), *(line for part in parts for line in part.told())]


def robust(of: Comparison) -> list[str]:
    """How much of the tuning space the challenger of each claim wins: a line each."""
    return of.audit.robust() if of.audit else []


def across_headings(overall: Overall) -> list[str]:
    """What stands above the numbers of each measure."""
    return [filled(across.heading(standings)) for standings in overall.standings]


def across_caption(overall: Overall) -> str:
    """What the numbers over all settings are, and which settings are in none; empty where there is one setting."""
    return _text(chain(across.caption(overall), across.remarks(overall, NAMED)))


def claims_heading(of: Comparison) -> str:
    """When the claims were stated, and how they were judged at once."""
    return ". ".join([verdicts.heading(of), *(filled(each).removesuffix(".") for each in verdicts.held(of))])


def assumptions(of: Comparison) -> list[str]:
    """What verdicts assume, and what 'stated before' does not prove."""
    return [filled(sentence) for sentence in (*verdicts.assumed(of), *claims.unproved(of))]


def _text(sentences: Iterable[Sentence]) -> str:
    return " ".join(map(filled, sentences))
