"""The verb as a user meets it: exit codes, formats, what is said before use, and the page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import program
from orchestrator import judge

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = 200
LABEL = np.random.default_rng(5).integers(0, 3, SAMPLES)
CLAIMS = """\
name: mine
question: Is <b>new</b> better?
baseline: old
claims:
  - {{id: C1, metric: sample_wise_accuracy, challenger: new, baseline: old, direction: {direction}, margin: {margin}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A table of two systems with four runs each, whose columns go by other names."""
    parts = list[dict[str, Any]]()
    for name, level in (("old", 1.0), ("new", 1.6), ("<i>odd</i>", 1.1)):
        for run in range(4):
            scores = np.random.default_rng([run, int(10 * level)]).normal(size=(SAMPLES, 3))
            scores[np.arange(SAMPLES), LABEL] += level
            parts.append(
                {
                    "model": [name] * SAMPLES,
                    "run": [run] * SAMPLES,
                    "id": np.arange(SAMPLES),
                    "truth": LABEL,
                    "scores": list(scores),
                }
            )
    pq.write_table(pa.concat_tables([pa.table(part) for part in parts]), tmp_path / "scores.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("direction", "margin", "code"), [("higher", 0.01, 0), ("lower", 0.01, 1), ("higher", 0.15, 3), ("equal", 0.001, 1)]
)
def test_the_gate_opens_for_supported_claims_only(folder: Path, direction: str, margin: float, code: int) -> None:
    (folder / "c.yaml").write_text(CLAIMS.format(direction=direction, margin=margin), encoding="utf-8")
    found = judge(folder / "scores.parquet", claims=folder / "c.yaml")
    assert found.gate == code


def test_the_command_says_what_it_took_for_what_and_exits_with_the_gate(folder: Path) -> None:
    (folder / "c.yaml").write_text(CLAIMS.format(direction="lower", margin=0.01), encoding="utf-8")
    given = ("judge", "scores.parquet", "--claims", "c.yaml", "--gate", "--report", "--format", "json")
    done = program.run(*given, folder=folder)
    assert done.returncode == 1, done.stderr
    assert (
        "scores.parquet: scores; system = model, seed = run, sample = id, label = truth, scores = scores" in done.stderr
    )
    told = json.loads(done.stdout)
    assert told["scored"]["conditions"] == "unknown"
    assert [claim["verdict"] for claim in told["claims"]] == ["refuted"]
    (noise,) = told["samples"]
    assert (noise["claim"], noise["samples"], len(noise["seeds"])) == ("C1", SAMPLES, 4)
    page = (folder / "mine.html").read_text(encoding="utf-8")
    assert "<i>odd</i>" not in page
    assert "Is &lt;b&gt;new&lt;/b&gt; better?" in page
    assert {path.name for path in folder.iterdir()} == {"scores.parquet", "c.yaml", "mine.html"}


def test_a_wrong_request_is_exit_code_2(folder: Path) -> None:
    for options in (("--gate",), ("--map", "label"), ("--baseline", "newest"), ("--map", "label=lable")):
        done = program.run("judge", "scores.parquet", *options, folder=folder)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_every_format_has_the_verdict(folder: Path) -> None:
    found = judge(folder / "scores.parquet", baseline="old")
    for form in ("markdown", "latex", "json"):
        assert "supported" in found.text(form)
    assert "supported" in found._repr_html_()
    assert "conditions: unknown" in found.text("latex").lower()


def test_shared_samples_are_compared_on_request_and_the_others_are_named(folder: Path) -> None:
    table = pq.read_table(folder / "scores.parquet")
    is_old = np.array([name == "old" for name in table["model"].to_pylist()])
    pq.write_table(table.filter(~(is_old & (np.array(table["id"]) < 3))), folder / "less.parquet")
    done = program.run("judge", "less.parquet", "--shared", folder=folder)
    assert done.returncode == 0
    assert (
        "less.parquet: 'old' (seed 0, these samples) lacks 3 of 200 samples that others have, such as '0'."
        in done.stderr
    )
    assert "Compared on the samples that all systems have; others are left out." in done.stdout
    found = judge(folder / "less.parquet", shared=True)
    assert {row["samples"] for row in found.rows} == {SAMPLES - 3}
    ordered = np.random.default_rng(0).permutation(len(table))
    again, whole = (judge(each, baseline="old") for each in (table.take(ordered), table))
    assert {each.difference for each in again.findings} == {each.difference for each in whole.findings}
