"""A comparison as LaTeX tables that a paper can take, in the style of booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from orchestrator.analysis.across_settings import Overall
from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.lines import Line
from orchestrator.report import paragraphs, rows
from orchestrator.sentences import counted, worded


def latex(comparison: Comparison, overall: Overall | None = None) -> str:
    """The comparison as tables in the style of booktabs, with captions that say how it was tested."""
    name = re.sub(r"[^A-Za-z0-9.-]", "-", comparison.experiment)
    parts = [r"% \usepackage{booktabs}", *_lines(name, comparison, overall)]
    if overall and overall.standings:
        parts.append(_across(name, overall))
    if comparison.findings:
        parts.append(_claims(name, comparison))
    if comparison.published:
        parts.append(_published(name, comparison))
    return "\n\n".join(parts)


def _lines(name: str, comparison: Comparison, overall: Overall | None) -> Iterator[str]:
    heads = rows.headings(comparison)[: 2 + len(comparison.measures)]
    columns = ["l", *["r"] * (len(heads) - 1)]
    for page, groups in enumerate(_pages(_compared(comparison, overall))):
        again = rf"Continued from Table~\ref{{tab:{name}}}."
        caption = again if page else _escaped(_caption(comparison, overall))
        yield _float(f"{name}-{page + 1}" if page else name, caption, columns, [heads], groups)


def _across(name: str, overall: Overall) -> str:
    heads = list(_folded(rows.across_heads(overall)))
    groups = list[list[str]]()
    for heading, standings in zip(paragraphs.across_headings(overall), overall.standings, strict=True):
        shown = [row for standing in standings.losses for row in _folded(rows.across(standing, overall))]
        groups.append([_heading(heading, len(heads[0]), r"p{.95\linewidth}"), *_rows(shown)])
    caption = _escaped(f"Across {overall.settings} settings. {paragraphs.across_caption(overall)}")
    return _float(f"{name}-across", caption, ["l", *["r"] * (len(heads[0]) - 1)], heads, groups)


def _folded(cells: Sequence[str]) -> Iterator[list[str]]:
    """What is said of other settings stands in a line of its own: beside the rest it would be wider than a page."""
    yield [*cells[:3], *cells[-2:]]
    if set(others := cells[3:-2]) - {"–"}:
        yield ["", *others, ""]


def _claims(name: str, comparison: Comparison) -> str:
    sentences = [f"{paragraphs.claims_heading(comparison)}. {_n(comparison)}", *paragraphs.assumptions(comparison)]
    if robust := paragraphs.robust(comparison):
        sentences += [f"{paragraphs.ROBUST}.", *robust]
    columns = [r"p{.32\linewidth}", r"p{.14\linewidth}", r"p{.24\linewidth}", r"p{.16\linewidth}"]
    body = [row.replace(r"\_", r"\_\allowbreak{}") for row in _rows(rows.judged(comparison))]  # names are long
    return _float(f"{name}-claims", _escaped(" ".join(sentences)), columns, [rows.JUDGED], [body])


def _published(name: str, comparison: Comparison) -> str:
    caption = "Published figures for the same data, backbones and losses, and how our networks and recipes differ."
    columns = [*["l"] * 6, r"p{.15\linewidth}", r"p{.3\linewidth}"]
    return _float(f"{name}-published", caption, columns, [rows.PUBLISHED], [_rows(rows.published(comparison))])


def _caption(comparison: Comparison, overall: Overall | None) -> str:
    sentences = [comparison.question, paragraphs.caption(comparison), *paragraphs.conditions(comparison)]
    return " ".join([*sentences, _n(comparison), worded(MARKS) if overall else ""]).strip()


MARKS = (
    "Bold: the best mean of a setting; underlined: not shown to be worse than it (paired t test, 5 %, Holm over "
    "the losses of the setting). With fewer than 3 seeds, or seeds not fixed beforehand, no loss can be shown to be "
    "worse."
)


def _n(comparison: Comparison) -> str:
    counts = sorted({line.finished for line in comparison.lines})
    return f"n = {counted(counts[0], 'seed')}." if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]} seeds."


def _compared(comparison: Comparison, overall: Overall | None) -> Iterator[list[str]]:
    """The lines of each setting under its name, as LaTeX, with the best and what is level with it marked.

    Differences stand below the means: beside them the table would be wider than a page.
    """
    for name, lines in rows.by_setting(comparison):
        here = list(lines)
        is_tested = all(line.is_fixed for line in here)
        shown = [row for line in here for row in (_marked(line, overall, is_tested=is_tested), *_differences(line))]
        yield [_heading(name, 2 + len(comparison.measures)), *map(_row, shown)]


def _heading(text: str, columns: int, column: str = "l") -> str:
    return rf"\multicolumn{{{columns}}}{{@{{}}{column}@{{}}}}{{\textit{{{_escaped(text)}}}}} \\"


def _marked(line: Line, overall: Overall | None, *, is_tested: bool) -> list[str]:
    """The best in bold; underlined what is not shown to be worse: whatever has no valid test of one look."""
    shown = [_escaped(cell) for cell in (line.loss, rows.seeds(line), *rows.means(line))]
    for column, metric in enumerate(line.means, start=2):
        leaders = overall and overall.leaders.get((line.dataset, line.backbone, metric))
        if leaders and line.loss == leaders.best:
            shown[column] = rf"\textbf{{{shown[column]}}}"
        elif leaders and (line.loss in leaders.level or (not is_tested and line.means[metric].n)):
            shown[column] = rf"\underline{{{shown[column]}}}"
    return shown


def _differences(line: Line) -> Iterator[list[str]]:
    """The row of the differences to the baseline, which itself has none."""
    if line.differences is not None:
        yield [rf"\quad $\Delta$, pairs: {rows.pairs(line)}", "", *map(_escaped, rows.differences(line))]


LINES_A_PAGE = 40
"""Of a LaTeX table; what is longer goes on in another, after a whole setting."""


def _pages(groups: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    page: list[list[str]] = []
    for group in groups:
        if page and sum(map(len, page)) + len(group) > LINES_A_PAGE:
            yield page
            page = []
        page.append(group)
    yield page


def _float(
    label: str, caption: str, columns: Sequence[str], heads: Sequence[Sequence[str]], groups: Sequence[Sequence[str]]
) -> str:
    """A table of its own, of groups of rows that are LaTeX already."""
    body = "\n\\midrule\n".join("\n".join(group) for group in groups)
    return "\n".join(
        [
            r"\begin{table}[tp]",
            r"\centering\small",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{@{{}}{''.join(columns)}@{{}}}}",
            r"\toprule",
            *_rows(heads),
            r"\midrule",
            body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _rows(body: Sequence[Sequence[str]]) -> list[str]:
    return [_row([_escaped(cell) for cell in row]) for row in body]


def _row(row: Sequence[str]) -> str:
    return " & ".join(row) + r" \\"


_SPECIAL = str.maketrans(
    {
        **{letter: rf"\{letter}" for letter in "{}$&#_%"},
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
        "Δ": r"$\Delta$", "±": r"$\pm$", "→": r"$\to$", "×": r"$\times$", "–": "--", "—": "---", "…": r"\ldots{}",
        "†": r"\dag{}",
    }
)  # fmt: skip


def _escaped(text: str) -> str:
    """A text as LaTeX shows it, and not as an order to it; a minus is one."""
    plain = re.sub(r"(?<![\w.-])-(?=\d)", "$-$", text.translate(_SPECIAL))
    return f"{{}}{plain}" if plain.startswith(("[", "*")) else plain  # else `\\` before it would take it
