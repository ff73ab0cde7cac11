"""Verdicts on scores from anywhere, without a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.cli.options import FINE
from orchestrator.errors import RequestError

Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILES…", help="Tables of scores, logs of evaluations, or a folder.", show_default=False),
]
Claims = Annotated[
    Path | None,
    typer.Option(
        "--claims", metavar="FILE.yaml", help="What to judge. Default: each system is better than the baseline."
    ),
]


def judge(
    files: Files,
    *,
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="SYSTEM", help="Default: that of the claims, else the first.")
    ] = None,
    claims: Claims = None,
    form: Annotated[
        Literal["text", "markdown", "latex", "json"], typer.Option("--format", help="How to print it.")
    ] = "text",
    report: Annotated[bool, typer.Option("--report", help="Also write NAME.html, the report as one page.")] = False,
    gate: Annotated[
        bool,
        typer.Option("--gate", help="Exit with 0 if all primary claims are supported, 1 if one is refuted, else 3."),
    ] = False,
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="OURS=THEIRS", help="Which column is which, as in label=y_true; repeatable."),
    ] = None,
    shared: Annotated[
        bool, typer.Option("--shared", help="Compare on the samples that all systems have, if some lack some.")
    ] = False,
) -> None:
    """Judge scores from anywhere: is one system really better than another?

    A table has a row per sample, with columns system, seed, setting, sample and label, and one kind of result: the
    scores of all classes (columns score_CLASS, or named after the labels, or a list in scores), or positive and rival,
    or prediction, or value. A table with similarity, genuine, identity_a and identity_b is one of pairs to verify.
    """
    from orchestrator.judging import judgement
    from orchestrator.report.terminal.console import console, near, say

    people = console(stderr=True)
    asked = judgement.asked_of(claims)
    tables = judgement.read(files, _mapping(columns or []))
    for sentence in tables.told():
        say(people, sentence)
    found = judgement.judged(tables, baseline, asked, shared=shared)
    for sentence in found.lacking:
        say(people, sentence)
    code = found.gate if gate else FINE
    if form == "text":
        console().print(found.table())
    else:
        print(found.text(form))
    if report:
        written = Path(f"{found.experiment.name}.html").absolute()
        written.write_text(found.page, encoding="utf-8")
        say(people, f"Report: {near(written)}")
    raise typer.Exit(code)


def _mapping(given: list[str]) -> dict[str, str]:
    """The columns that `--map` names.

    Raises:
        RequestError: It is not written as OURS=THEIRS.
    """
    pairs = [each.partition("=") for each in given]
    if wrong := [each for each, (ours, _, theirs) in zip(given, pairs, strict=True) if not (ours and theirs)]:
        raise RequestError(f"--map {wrong[0]}: is written as OURS=THEIRS, as in --map label=y_true.")
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}
