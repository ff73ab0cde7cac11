"""The examples in docstrings, run as a reader would type them: in a fresh session, with only what they import."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("trainers", "orchestrator")
    for file in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in file.read_text("utf-8") and file.name != "notebook.py"  # its example needs the cells of test_study.py
]
NEEDED = {
    "trainers.plugin.Plugin",
    "trainers.losses.Loss",
    "trainers.backbones.Backbone",
    "trainers.datasets.Dataset",
    "trainers.fit.fit",
    "trainers.metrics.uniform",
    "orchestrator.statistics.intervals.paired_interval",
    "orchestrator.statistics.verdicts.verdict",
}


def examples(module: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder().find(importlib.import_module(module), globs={"__name__": "__main__"})
    return [each for each in found if each.examples]


@pytest.mark.parametrize("module", MODULES)
def test_examples_give_what_they_show(module: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for each in examples(module):
        report: list[str] = []
        result = doctest.DocTestRunner(optionflags=flags).run(each, out=report.append)
        assert not result.failed, "".join(report)


def test_what_people_extend_and_call_has_an_example() -> None:
    named = {each.name for module in MODULES for each in examples(module)}
    assert named >= NEEDED
