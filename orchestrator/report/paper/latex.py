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
    heads = rows.headings(comparison)
    columns = ["l", *["r"] * (len(heads) - 1)]
    for page, groups in enumerate(_pages(_compared(comparison, overall))):
        again = rf"Continued from Table~\ref{{tab:{name}}}."
        caption = again if page else _escaped(_caption(comparison, overall))
        yield _float(f"{name}-{page + 1}" if page else name, caption, columns, heads, groups)


def _across(name: str, overall: Overall) -> str:
    heads = rows.across_heads(overall)
    groups = [
        [_heading(heading, len(heads)), *_rows([rows.across(standing, overall) for standing in standings.losses])]
        for heading, standings in zip(paragraphs.across_headings(overall), overall.standings, strict=True)
    ]
    caption = _escaped(f"Across {overall.settings} settings. {paragraphs.across_caption(overall)}")
    return _float(f"{name}-across", caption, ["l", *["r"] * (len(heads) - 1)], heads, groups)


def _claims(name: str, comparison: Comparison) -> str:
    sentences = [f"{paragraphs.claims_heading(comparison)}. {_n(comparison)}", *paragraphs.assumptions(comparison)]
    if robust := paragraphs.robust(comparison):
        sentences += [f"{paragraphs.ROBUST}.", *robust]
    columns = [r"p{.32\linewidth}", r"p{.14\linewidth}", r"p{.24\linewidth}", r"p{.16\linewidth}"]
    return _float(
        f"{name}-claims", _escaped(" ".join(sentences)), columns, rows.JUDGED, [_rows(rows.judged(comparison))]
    )


def _published(name: str, comparison: Comparison) -> str:
    caption = "Published figures for the same data, backbones and losses, and how our networks and recipes differ."
    columns = [*["l"] * 6, r"p{.15\linewidth}", r"p{.3\linewidth}"]
    return _float(f"{name}-published", caption, columns, rows.PUBLISHED, [_rows(rows.published(comparison))])


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
    """The lines of each setting under its name, as LaTeX, with the best and what is level with it marked."""
    for name, lines in rows.by_setting(comparison):
        here = list(lines)
        is_tested = all(line.is_fixed for line in here)
        marked = [_row(_marked(line, overall, is_tested=is_tested)) for line in here]
        yield [_heading(name, len(rows.headings(comparison))), *marked]


def _heading(text: str, columns: int) -> str:
    return rf"\multicolumn{{{columns}}}{{@{{}}l@{{}}}}{{\textit{{{_escaped(text)}}}}} \\"


def _marked(line: Line, overall: Overall | None, *, is_tested: bool) -> list[str]:
    """The best in bold; underlined what is not shown to be worse: whatever has no valid test of one look."""
    shown = [_escaped(cell) for cell in rows.cells(line)]
    for column, metric in enumerate(line.means, start=2):
        leaders = overall and overall.leaders.get((line.dataset, line.backbone, metric))
        if leaders and line.loss == leaders.best:
            shown[column] = rf"\textbf{{{shown[column]}}}"
        elif leaders and (line.loss in leaders.level or (not is_tested and line.means[metric].n)):
            shown[column] = rf"\underline{{{shown[column]}}}"
    return shown


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
    label: str, caption: str, columns: Sequence[str], head: Sequence[str], groups: Sequence[Sequence[str]]
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
            _row([_escaped(cell) for cell in head]),
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
