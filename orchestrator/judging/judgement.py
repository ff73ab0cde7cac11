"""Scores judged: the comparison, the noise of the test samples, and what is made of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from orchestrator.analysis import across_settings
from orchestrator.analysis.comparison import Comparison, compare
from orchestrator.analysis.scored import Scored
from orchestrator.experiment.plan import Plan
from orchestrator.judging import asked, estimators, formats, over_samples
from orchestrator.judging.columns import Columns, misnamed, understand
from orchestrator.judging.matching import runs_of
from orchestrator.judging.measures import row, shown
from orchestrator.judging.runs import ScoredRun
from orchestrator.judging.source import ScoresError, Source
from orchestrator.pairing.blocks import is_cell
from orchestrator.sentences import counted, filled, of_systems, setting_name

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.analysis.across_settings import Overall
    from orchestrator.analysis.findings import Finding
    from orchestrator.analysis.sample_noise import Sampled

SUPPORTED = 0
REFUTED = 1
UNDECIDED = 3
"""Exit codes of a gate: all primary claims are supported; one is refuted; neither. A wrong request stays 2."""


@dataclass(frozen=True, eq=False, repr=False)
class JudgedScores:
    """What scores say; in Jupyter it shows its comparison."""

    experiment: asked.ScoredExperiment
    rows: Sequence[Mapping[str, Any]]
    """One per run, in the columns of a results table."""
    runs: over_samples.Runs
    comparison: Comparison
    lacking: tuple[str, ...]
    """Which samples some systems lack, a sentence each."""
    is_stated: bool
    """Whether claims were given, rather than made of the systems."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the scores say of each claim in each setting."""
        return self.comparison.findings

    @cached_property
    def overall(self) -> Overall:
        """What holds over all settings."""
        return across_settings.overall(self.experiment, self.rows)

    @cached_property
    def sampled(self) -> tuple[Sampled, ...]:
        """The claims over test samples, and which noise is larger."""
        return over_samples.noise(self.experiment, self.runs)

    @property
    def gate(self) -> int:
        """The exit code of a gate.

        Raises:
            ScoresError: No claim was stated.
        """
        if not self.is_stated:
            raise ScoresError(["--gate needs claims: name their file with --claims."])
        verdicts = [finding.verdict for finding in self.findings if finding.claim.family == "primary"]
        if "refuted" in verdicts:
            return REFUTED
        return SUPPORTED if verdicts and all(verdict == "supported" for verdict in verdicts) else UNDECIDED

    def text(self, form: Literal["markdown", "latex", "json"]) -> str:
        """The comparison in a format for others."""
        from orchestrator.report.document import document
        from orchestrator.report.markdown import markdown
        from orchestrator.report.paper.latex import latex

        with of_systems():
            match form:
                case "markdown":
                    return markdown(self.comparison, self.overall)
                case "latex":
                    return latex(self.comparison, self.overall)
                case "json":
                    found = document(self.comparison, self.overall, sampled=self.sampled)
                    return json.dumps(found, indent=2, allow_nan=False)

    @property
    def page(self) -> str:
        """The report: one HTML page."""
        from orchestrator.report.web.page import shown
        from orchestrator.report.web.view import View

        curves = tuple(over_samples.curves(self.runs))
        plan = Plan(self.experiment, ())
        with of_systems():
            return shown(View(plan, self.comparison, self.rows, (), curves, (), (), self.sampled))

    def table(self) -> RenderableType:
        """The comparison for a terminal, and the noise of seeds and samples below."""
        from rich.console import Group
        from rich.text import Text

        from orchestrator.report.terminal import comparison, noise

        with of_systems():
            parts = [comparison.table(self.comparison, self.overall)]
            if self.sampled and not (self.comparison.scored and self.comparison.scored.is_single):
                parts += [Text("\nNoise of seeds and test set\n", style="italic"), noise.table(self.sampled)]
        return Group(*parts)

    def __repr__(self) -> str:
        counts = [counted(len(self.experiment.losses), "system"), counted(len(self.rows), "run")]
        verdicts = Counter(finding.verdict for finding in self.findings)
        told = ", ".join([*counts, *(f"{number} {verdict}" for verdict, number in verdicts.items())])
        return f"<Scores of '{self.experiment.name}': {told}>"

    def _repr_html_(self) -> str:
        from orchestrator.report.terminal.console import as_html

        return as_html(self.table())


def judge(
    *scores: Any,
    baseline: str | None = None,
    claims: str | Path | Sequence[Mapping[str, Any]] | None = None,
    columns: Mapping[str, str] | None = None,
    shared: bool = False,
    estimators: Mapping[str, Any] | None = None,
    data: tuple[Any, Any] | None = None,
) -> JudgedScores:
    """Judge scores from anywhere: is one system really better than another?

    Args:
        scores: Files of scores, frames of pandas, polars or Arrow, or mappings of arrays; see docs/howto/judge.md.
        baseline: The system that others are compared with; by default that of the claims, else the first.
        claims: A claims file, or a list of claims; by default each system is compared with the baseline.
        columns: The names of columns by ours, where they cannot be guessed: `{"label": "y"}`.
        shared: Whether to compare on the samples that all systems have, where some lack some.
        estimators: Fitted estimators as in scikit-learn, by the name of their system; a list is one per seed.
        data: Test data for them, and the labels.

    Raises:
        RequestError: With every problem of every table.

    Examples:
        >>> from orchestrator import judge
        >>> right = [1, 1, 1, 1, 1, 0] * 50
        >>> old = {"system": "old", "sample": range(300), "value": [1, 0] * 150}
        >>> new = {"system": "new", "sample": range(300), "value": right}
        >>> found = judge(old, new).findings[0]
        >>> found.claim.challenger, found.verdict, found.difference.n
        ('new', 'supported', 300)
    """
    return judged(read(scores, columns or {}, estimators, data), baseline, asked_of(claims), shared=shared)


def asked_of(claims: str | Path | Sequence[Mapping[str, Any]] | None) -> asked.Questions:
    """What a file of claims, or a list of them, asks."""
    return asked.questions(Path(claims) if isinstance(claims, str) else claims)


class Tables(NamedTuple):
    """What was read."""

    columns: list[Columns]
    problems: list[str]
    """What cannot be read or lacks a column; the entries of the others are looked at before these are raised."""

    def told(self) -> tuple[str, ...]:
        """Which column was taken for which, a line for each of the first tables, and how many more there are."""
        found = [each.told() for each in self.columns]
        more = len(found) - MOST_TABLES
        return (*found[:MOST_TABLES], *([f"… and {more} more tables"] if more > 0 else []))


MOST_TABLES = 5
"""Tables of which people are shown the columns."""


def read(
    scores: Sequence[Any],
    given: Mapping[str, str],
    fitted: Mapping[str, Any] | None = None,
    data: tuple[Any, Any] | None = None,
) -> Tables:
    """Read every table, and find out which column is which.

    Raises:
        ScoresError: There is nothing to read, or a given name is in no table.
    """
    if bool(fitted) != (data is not None):
        raise ScoresError(["`estimators` and `data` go together: the data are what the estimators are tested on."])
    if not scores and not fitted:
        raise ScoresError(["No scores are given: name a file."])
    sources, problems = _sources(scores)
    if data:
        sources += estimators.scored(fitted or {}, data)
    if sources and (wrong := list(misnamed(sources, given))):
        raise ScoresError([*problems, *wrong])
    found = [understand(source, given) for source in sources]
    problems += [problem for _, wrong in found for problem in wrong]
    return Tables([columns for columns, _ in found if columns], problems)


def _sources(scores: Sequence[Any]) -> tuple[list[Source], list[str]]:
    """Every table that can be read, and why others cannot."""
    found = list[Source]()
    problems = list[str]()
    for number, each in enumerate(scores, start=1):
        try:
            if isinstance(each, (str, Path)):
                found += formats.sources(Path(each))
            else:
                found.append(formats.of_frame(f"table {number}", each))
        except ScoresError as error:
            problems += error.problems
    return found, problems


def judged(tables: Tables, baseline: str | None, questions: asked.Questions, *, shared: bool = False) -> JudgedScores:
    """Judge tables that are read; see `judge`."""
    runs, lacking = runs_of(tables.columns, tables.problems, shared=shared)
    runs = _on_axes(runs)
    is_single = "seeds" not in (questions.fields or {}) and over_samples.is_single(runs)
    if is_single:  # which number each has does not matter
        runs = [replace(run, place=run.place._replace(seed=0)) for run in runs]
    rows = [row(run) for run in runs]
    experiment = asked.experiment(rows, shown(runs), questions, baseline)
    by_key = over_samples.by_key(runs)
    cells = [each for each in rows if is_cell(each)]
    replicas = [each for each in rows if not is_cell(each)]
    scored = Scored(
        systems=len(experiment.losses),
        runs=len(cells),
        samples=max((len(run.sample) for run in runs), default=0),
        is_single=is_single,
        is_on_shared=bool(lacking),
        columns=tables.told(),
    )
    comparison = compare(experiment, cells, replicas=replicas, scored=scored)
    if is_single:
        comparison = over_samples.judged(comparison, experiment, by_key)
    return JudgedScores(experiment, rows, by_key, comparison, tuple(lacking), questions.is_asked)


def _on_axes(runs: Sequence[ScoredRun]) -> list[ScoredRun]:
    """The runs; where data sets and backbones form no grid, a setting is one name."""
    if asked.whole_grid(run.place.setting for run in runs):
        return list(runs)
    return [
        replace(run, place=run.place._replace(dataset=filled(setting_name(*run.place.setting)), backbone=""))
        for run in runs
    ]
