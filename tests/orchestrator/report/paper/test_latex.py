"""The comparison as LaTeX: compiled where there is an engine, its structure checked everywhere."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import parts
from orchestrator.analysis.across_settings import overall
from orchestrator.analysis.comparison import compare
from orchestrator.experiment.looks import Looked
from orchestrator.experiment.model import Experiment
from orchestrator.report.paper.latex import LINES_A_PAGE, latex

if TYPE_CHECKING:
    from pathlib import Path


HOSTILE = "[*$x_{1}^2$ & 5% #{|~<>}"
ORDER = r"\input{/etc/passwd}"
CLAIM = {"id": "P1", "metric": "uniform_accuracy", "challenger": "b", "baseline": "a", "direction": "higher"}


def text(
    settings: int = 3, name: str = "c", seeds: int = 6, question: str = "Is it so?", *, planned: bool = True
) -> str:
    """Losses a, b and another in some settings: b is best, and the other as good; a is worse in uniform accuracy."""
    losses = [{"name": "bce_unified", "as": label, "bias_init": place} for place, label in enumerate(("a", "b", name))]
    document = {"name": "under_test", "question": question, "losses": losses, "backbones": ["resnet18"]}
    document |= {"datasets": ["cifar10"], "seeds": seeds, "baseline": "a", "claims": [{**CLAIM, "margin": 0.01}]}
    asked = Experiment.model_validate(document)
    datasets = [asked.datasets[0].model_copy(update={"label": f"d_{place}"}) for place in range(settings)]
    asked = asked.model_copy(update={"datasets": tuple(datasets)})
    noise = np.random.default_rng(0).normal(0, 0.01, (settings, 3, seeds))
    rows = [
        {"dataset": dataset.label, "backbone": "resnet18", "loss": loss.label, "seed": seed, "state": "finished",
         "sample_wise_accuracy": 0.9, "accuracy_at_validation_threshold": None,
         "uniform_accuracy": 0.6 + 0.2 * (k > 0) + float(noise[d, k, seed])}
        for d, dataset in enumerate(datasets)
        for k, loss in enumerate(asked.losses)
        for seed in range(seeds)
    ]  # fmt: skip
    looked = Looked(str(seeds)) if planned else None
    return latex(compare(asked, rows, looked=looked), overall(asked, rows))


def test_every_table_has_a_caption_a_label_and_the_rules_of_booktabs() -> None:
    found = text()
    floats = re.findall(r"\\begin\{table\}.*?\\end\{table\}", found, re.DOTALL)
    assert len(floats) == 3
    for table in floats:
        assert re.search(r"\\caption\{.+\}\n\\label\{tab:under-test[\w.-]*\}", table)
        assert re.findall(r"\\(toprule|midrule|bottomrule)", table)[:: len(table)] == ["toprule"]
        assert table.count(r"\begin{tabular}") == table.count(r"\end{tabular}") == 1
    assert len(set(re.findall(r"\\label\{.*?\}", found))) == 3


def test_the_caption_says_how_it_was_tested_and_n() -> None:
    caption = re.findall(r"\\caption\{(.*)\}", text())[0]
    for part in ("Is it so?", "paired t test", "Holm", "n = 6 seeds", r"95 \%", "Bold", "underlined"):
        assert part in caption


def test_the_best_is_bold_and_what_is_not_significantly_worse_is_underlined() -> None:
    lines = [line for line in text(settings=1).splitlines() if re.match(r"[abc] & 6 ", line)]
    a, b, c = (line.split(" & ")[3] for line in lines)
    assert sorted((b[:5], c[:5])) == [r"\text", r"\unde"]
    assert "textbf" not in a
    assert "underline" not in a


def test_where_seeds_were_not_fixed_beforehand_nothing_is_shown_to_be_worse() -> None:
    lines = [line for line in text(settings=1, planned=False).splitlines() if re.match(r"[abc] & 6 ", line)]
    cells = [line.split(" & ")[3][:5] for line in lines]
    assert sorted(cells) == [r"\text", r"\unde", r"\unde"]
    assert "seeds not fixed beforehand" in text(planned=False)


@pytest.mark.parametrize("name", ["c", HOSTILE])
def test_rows_have_as_many_cells_as_columns_and_end(name: str) -> None:
    for columns, body in re.findall(
        r"\\begin\{tabular\}\{([^\n]*)\}\n(.*?)\\end\{tabular\}", text(name=name), re.DOTALL
    ):
        count = len(re.findall(r"[lr]|p\{.*?\}", columns.replace("@{}", "").replace(r"\linewidth", "")))
        for line in body.splitlines():
            assert line.startswith("\\") or line.endswith(r" \\")
            if line.endswith(r" \\") and not line.startswith(r"\multicolumn"):
                assert len(re.findall(r"(?<!\\)&", line)) == count - 1
                assert not line.startswith(("[", "*"))


def test_a_hostile_name_is_text() -> None:
    found = text(name=HOSTILE, question=ORDER)
    assert r"\input" not in found
    assert r"\textbackslash{}input\{/etc/passwd\}" in found
    assert r"{}[*\$x\_\{1\}\textasciicircum{}2\$ \& 5\% \#\{\textbar{}\textasciitilde{}" in found


def test_a_minus_is_one_and_a_range_is_none() -> None:
    found = text(question="From 0–4 and –, to -0.5 or 3-4")
    assert "From 0--4 and --, to $-$0.5 or 3-4" in found


def test_braces_balance() -> None:
    for found in (text(), text(name=HOSTILE, question=ORDER)):
        plain = re.sub(r"\\[{}]", "", found)
        assert plain.count("{") == plain.count("}")


def test_what_fits_no_page_goes_on_in_another_table_after_a_whole_setting() -> None:
    found = text(settings=30, seeds=2)
    assert r"\label{tab:under-test-2}" in found
    assert r"Continued from Table~\ref{tab:under-test}." in found
    for table in found.split(r"\begin{table}")[1:4]:
        body = table[table.index(r"\midrule") : table.index(r"\bottomrule")]
        lines = [line for line in body.splitlines() if line.endswith(r" \\")]
        assert 0 < len(lines) <= LINES_A_PAGE
        assert lines[0].startswith(r"\multicolumn")
        assert len(lines) % 6 == 0


WIDEST = 76
"""Letters of a row of \\small text with its gaps: about what \\textwidth of an article, 345 pt, holds."""


def test_rows_of_means_are_no_longer_than_a_page_of_an_article_is_wide() -> None:
    for table in text(settings=2, name="bce_unified").split(r"\begin{table}")[1:3]:
        body = table[table.index(r"\toprule") : table.index(r"\bottomrule")]
        shown = [line for line in body.splitlines() if line.endswith(r" \\") and not line.startswith(r"\multicolumn")]
        columns = [line.removesuffix(r" \\").split(" & ") for line in shown]
        letters = [[len(re.sub(r"\\(pm|Delta|\w+\{)|[$\\{}]", "", cell)) for cell in row] for row in columns]
        assert sum(max(of_column) + 3 for of_column in zip(*letters, strict=True)) <= WIDEST


def test_differences_stand_below_the_means_and_name_their_pairs() -> None:
    lines = text(settings=1).splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("b & 6 "))
    assert re.match(r"\\quad \$\\Delta\$, pairs: 6 &  & \+0\.0", lines[place + 1])
    assert "+20." in lines[place + 1] or "+19." in lines[place + 1]
    assert not lines[next(number for number, line in enumerate(lines) if line.startswith("a & 6 ")) + 1].startswith(
        r"\quad"
    )


def test_no_table_is_wider_than_the_text_of_an_article(tmp_path: Path) -> None:
    done = compiled(text(settings=5, name="bce_unified"), tmp_path)
    assert done.returncode == 0
    assert "Overfull" not in done.stdout


def test_it_compiles(tmp_path: Path) -> None:
    done = compiled(text(settings=12, name=HOSTILE, question=ORDER), tmp_path)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


def compiled(body: str, folder: Path) -> subprocess.CompletedProcess[str]:
    engine = parts.need("TeX")
    source = folder / "paper.tex"
    preamble = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
    source.write_text(f"{preamble}{body}\n\\end{{document}}\n", encoding="utf-8")
    options: list[Any] = [] if engine.name == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
    return subprocess.run([engine, *options, source.name], cwd=folder, capture_output=True, text=True, check=False)
