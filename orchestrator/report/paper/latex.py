"""A comparison as LaTeX tables that a paper can take, in the style of booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from orchestrator.analysis.across_settings import Overall
from orchestrator.analysis.comparison import Comparison, Line
from orchestrator.report.terminal import tables


def latex(comparison: Comparison, overall: Overall | None = None) -> str:
    """The comparison as tables in the style of booktabs, with captions that say how it was tested."""
    name = re.sub(r"[^A-Za-z0-9.-]", "-", comparison.experiment)
    parts = [r"% \usepackage{booktabs}"]
    heads = tables.headings(comparison)
    for page, groups in enumerate(_pages(_compared(comparison, overall))):
        told = rf"Continued from Table~\ref{{tab:{name}}}." if page else _escaped(_paper_caption(comparison, overall))
        columns = ["l", *["r"] * (len(heads) - 1)]
        parts.append(_float(f"{name}-{page + 1}" if page else name, told, columns, heads, groups))
    if overall and overall.standings:
        told = _escaped(f"Across {overall.settings} settings. {tables.across_caption(overall)}")
        heads = tables.across_heads(overall)
        groups = [
            [
                _heading(tables.across_heading(each), len(heads)),
                *_rows([tables.across_cells(standing, overall) for standing in each.losses]),
            ]
            for each in overall.standings
        ]
        parts.append(_float(f"{name}-across", told, ["l", *["r"] * (len(heads) - 1)], heads, groups))
    if comparison.findings:
        robust = [f"{tables.ROBUST}.", *tables.robust(comparison)] if tables.robust(comparison) else []
        told = _escaped(
            " ".join(
                [
                    f"{tables.claims_heading(comparison)}. {_n(comparison)}",
                    *tables.assumed(comparison),
                    *tables.unproved(comparison),
                    *robust,
                ]
            )
        )
        columns = [r"p{.4\linewidth}", r"p{.15\linewidth}", "l", r"p{.15\linewidth}"]
        parts.append(_float(f"{name}-claims", told, columns, tables.JUDGED, [_rows(tables.judged_rows(comparison))]))
    if comparison.published:
        told = "Published figures for the same data, backbones and losses, and in what our networks and recipes differ."
        columns = [*["l"] * 6, r"p{.15\linewidth}", r"p{.3\linewidth}"]
        parts.append(
            _float(f"{name}-published", told, columns, tables.PUBLISHED, [_rows(tables.published_rows(comparison))])
        )
    return "\n\n".join(parts)


def _paper_caption(comparison: Comparison, overall: Overall | None) -> str:
    marks = (
        "Bold: the best mean of a setting; underlined: not shown to be worse than it (paired t test, 5 %, Holm over "
        "the losses of the setting), which fewer than 3 seeds, and seeds not fixed beforehand, cannot show of any."
    )
    told = [comparison.question, tables.caption(comparison), *tables.fairness(comparison), _n(comparison)]
    return " ".join([*told, marks if overall else ""]).strip()


def _n(comparison: Comparison) -> str:
    counts = sorted({line.finished for line in comparison.lines})
    return (
        f"n = {tables.counted(counts[0], 'seed')}." if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]} seeds."
    )


def _compared(comparison: Comparison, overall: Overall | None) -> Iterator[list[str]]:
    """The lines of each setting under its name, as LaTeX, with the best and what is level with it marked."""
    for name, lines in tables.by_setting(comparison):
        here = list(lines)
        is_tested = all(line.is_fixed for line in here)
        rows = [_row(_marked(line, overall, is_tested=is_tested)) for line in here]
        yield [_heading(name, len(tables.headings(comparison))), *rows]


def _heading(text: str, columns: int) -> str:
    return rf"\multicolumn{{{columns}}}{{@{{}}l@{{}}}}{{\textit{{{_escaped(text)}}}}} \\"


def _marked(line: Line, overall: Overall | None, *, is_tested: bool) -> list[str]:
    """The best in bold; underlined what is not shown to be worse: whatever has no valid test of one look."""
    shown = [_escaped(cell) for cell in tables.cells(line)]
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


def _float(label: str, told: str, columns: Sequence[str], head: Sequence[str], groups: Sequence[Sequence[str]]) -> str:
    """A table of its own, of groups of rows that are LaTeX already."""
    body = "\n\\midrule\n".join("\n".join(group) for group in groups)
    return "\n".join(
        [
            r"\begin{table}[tp]",
            r"\centering\small",
            rf"\caption{{{told}}}",
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


def _rows(rows: Sequence[Sequence[str]]) -> list[str]:
    return [_row([_escaped(cell) for cell in row]) for row in rows]


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
