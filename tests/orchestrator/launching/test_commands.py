"""Launches of commands: the shipped examples, equal to what others compute of their scores, and killed half-way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from scipy import stats

import program
from orchestrator.judging.judgement import judge
from orchestrator.notebook import results

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "experiments" / "commands"

LAUNCH = [sys.executable, "-m", "orchestrator", "launch"]


def launched(file: Path, workspace: Path, *options: str) -> dict[str, Any]:
    """What a launch says in the end."""
    words = [*LAUNCH, str(file), "--workspace", str(workspace), "--executor", "inline", "--json", *options]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def by_hand(script: Path, folder: Path, loss: str, strength: float, seed: int) -> Path:
    """The scores that a script writes when a person runs it."""
    out = folder / f"{loss}-{seed}.csv"
    words = ["--loss", loss, "--strength", str(strength), "--seed", str(seed), "--out", str(out)]
    subprocess.run([sys.executable, str(script), *words], check=True, capture_output=True)
    header, *rows = out.read_text().splitlines()
    out.write_text("\n".join([f"system,seed,{header}", *(f"{loss},{seed},{row}" for row in rows)]))
    return out


def uniform_accuracy(file: Path) -> float:
    """Of a file's test rows, by trying a threshold in every gap between scores."""
    rows = [line.split(",") for line in file.read_text().splitlines()[1:]]
    tests = [row for row in rows if row[4] == "test"]
    scores = np.array([row[5:] for row in tests], np.float64)
    label = np.array([int(row[3]) for row in tests])
    own = scores[np.arange(len(label)), label]
    scores[np.arange(len(label)), label] = -np.inf
    rival = scores.max(axis=1)
    edges = np.unique([*own, *rival])
    return max(float(np.mean((rival < t) & (t < own))) for t in (edges[1:] + edges[:-1]) / 2)


@pytest.mark.slow  # scikit-learn is imported by each cell
def test_a_study_by_launch_by_judge_and_by_scipy_is_the_same(tmp_path: Path) -> None:
    asked = tmp_path / "sklearn.yaml"
    asked.write_text((EXAMPLES / "sklearn.yaml").read_text().replace("seeds: 5", "seeds: 3"))
    (tmp_path / "sklearn_digits.py").write_text((EXAMPLES / "sklearn_digits.py").read_text())
    counts = launched(asked, tmp_path / "runs")
    assert (counts["done"], counts["failed"]) == (6, 0)
    finding = results(tmp_path / "runs", asked).comparison.findings[0]

    strengths = {"logistic": 1.0, "hinge": 0.1}
    script = EXAMPLES / "sklearn_digits.py"
    files = {
        (loss, seed): by_hand(script, tmp_path, loss, strength, seed)
        for loss, strength in strengths.items()
        for seed in range(3)
    }
    claim = {"metric": "uniform_accuracy", "challenger": "hinge", "baseline": "logistic", "direction": "higher"}
    judged = judge(*files.values(), claims=[{"id": "uniform", **claim, "margin": 0.002}]).findings[0]
    assert judged.verdict == finding.verdict

    found = {key: uniform_accuracy(file) for key, file in files.items()}
    differences = [found["hinge", seed] - found["logistic", seed] for seed in range(3)]
    low, high = stats.t.interval(0.95, 2, np.mean(differences), stats.sem(differences))
    for each in (finding, judged):
        interval = each.difference
        assert interval is not None
        computed = (interval.estimate, interval.low, interval.high)
        assert computed == pytest.approx((np.mean(differences), low, high), abs=1e-9)


@pytest.mark.slow  # torch is imported by each cell
@pytest.mark.parametrize("example", ["torch", "lightning"])
def test_the_other_shipped_examples_run(tmp_path: Path, example: str) -> None:
    pytest.importorskip(example)
    counts = launched(EXAMPLES / f"{example}.yaml", tmp_path, "--seeds", "2")
    assert (counts["done"], counts["failed"]) == (4, 0)
    rows = results(tmp_path, EXAMPLES / f"{example}.yaml").rows
    assert all(row["sample_wise_accuracy"] > 0.8 for row in rows)
    if example == "torch":
        assert {row["epochs"] for row in rows} == {10}


TUNED = """
import csv, sys
loss, rate, _, out = sys.argv[1:]
rate = float(rate)
print(loss, rate)
with open(out, "w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["sample", "label", "split", "score_0", "score_1"])
    for row in range(40):  # the nearer to 0.3, the more validation rows are right; of test rows, those above the rate
        table.writerow([f"v{row}", 0, "validation", 1 if row / 40 > abs(rate - 0.3) else -1, 0])
        table.writerow([f"t{row}", 0, "test", 1 if row / 40 > rate else -1, 0])
"""

SEARCH = """
name: tuned
trainer: {command: [python, train.py, "{loss}", "{loss.rate}", "{seed}", "{out}"]}
losses: [{name: a, rate: 0.5}, {name: b, rate: 0.9}]
backbones: [none]
datasets: [drawn]
seeds: 2
baseline: a
tuning: {space: {rate: "uniform(0, 1)"}, trials: 5, searcher: SEARCHER, metric: sample_wise_accuracy}
"""


@pytest.mark.slow  # 14 commands
@pytest.mark.parametrize("searcher", ["random", "optuna"])
def test_parameters_of_a_command_are_tuned_on_its_validation_rows(tmp_path: Path, searcher: str) -> None:
    (tmp_path / "train.py").write_text(TUNED)
    file = tmp_path / "study.yaml"
    file.write_text(SEARCH.replace("SEARCHER", searcher))
    counts = launched(file, tmp_path / "runs")
    assert (counts["done"], counts["failed"]) == (4, 0)
    tried: dict[str, set[float]] = {"a": set(), "b": set()}
    for log in (tmp_path / "runs" / "logs").glob("*.txt"):
        loss, rate = log.read_text().split()
        tried[loss].add(float(rate))
    assert [len(rates) for rates in tried.values()] == [5, 5]
    study = results(tmp_path / "runs", file)
    found = {row["cell_id"]: row["sample_wise_accuracy"] for row in study.rows}
    for cell in study.plan.cells:
        rate = cell.recipe.loss.parameters["rate"]
        assert validated(rate) == max(map(validated, tried[cell.loss]))
        assert found[cell.id] == np.mean(np.arange(40) / 40 > rate)


def validated(rate: float) -> float:
    """The share of validation rows that the script gets right."""
    return float(np.mean(np.arange(40) / 40 > abs(rate - 0.3)))


@pytest.mark.parametrize("verb", ["plan", "launch"])
def test_a_command_that_cannot_start_is_refused_before_the_first_cell(tmp_path: Path, verb: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY.replace("python, train.py", "python, tran.py").replace(", data: drawn.txt", ""))
    options = ["--executor", "inline"] if verb == "launch" else []
    done = program.run(verb, file, "--workspace", tmp_path / "runs", *options, folder=tmp_path)
    assert done.returncode == 2
    assert f"study.yaml:3: The command cannot start: there is no file {tmp_path / 'tran.py'}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "runs").rglob("*.parquet"))
    assert not (tmp_path / "runs" / "logs").exists()


SCRIPT = """
import os, sys, time
seed, out, checkpoint = sys.argv[1:]
with open("begun.txt", "a") as file:
    print(seed, os.path.exists(os.path.join(checkpoint, "half")), os.getpid(), file=file)
if seed == "1" and not os.path.exists(os.path.join(checkpoint, "half")):
    open(os.path.join(checkpoint, "half"), "w").close()
    time.sleep(600)
with open(out, "w") as file:
    print("sample,label,score_a,score_b", file=file)
    print("first,a,1,0", file=file)
    print("second,b,0,1", file=file)
"""

STUDY = """
name: killed
trainer: {command: [python, train.py, "{seed}", "{out}", "{checkpoint}"]}
losses: [only]
backbones: [none]
datasets: [{name: drawn, data: drawn.txt}]
seeds: 3
threshold: test
baseline: only
"""


@pytest.mark.slow  # three launches
def test_a_launch_that_was_killed_goes_on_and_nothing_is_lost_or_done_twice(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "drawn.txt").write_text("what it learns from")
    file = tmp_path / "study.yaml"
    file.write_text(dedent(STUDY))
    begun = tmp_path / "begun.txt"
    words = [*LAUNCH, str(file), "--workspace", str(tmp_path / "runs"), "--executor", "inline"]
    first = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (begun.exists() and "1 False" in begun.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    hanging = int(next(line for line in begun.read_text().splitlines() if line.startswith("1 ")).split()[2])

    counts = launched(file, tmp_path / "runs")
    assert (counts["total"], counts["done"], counts["failed"]) == (3, 3, 0)
    lines = [tuple(line.split()[:2]) for line in begun.read_text().splitlines()]
    assert sorted(lines) == [("0", "False"), ("1", "False"), ("1", "True"), ("2", "False")]
    assert not Path(f"/proc/{hanging}").exists()
    study = results(tmp_path / "runs", file)
    assert [row["seed"] for row in study.rows] == [0, 1, 2]
    assert all(row["uniform_accuracy"] == 1 for row in study.rows)
    account = study.stores.evaluations.account(study.plan.cells[0])
    assert account.provenance["class_names"] == ["a", "b"]
    assert len(account.provenance["data_digest"]) == 64
    assert launched(file, tmp_path / "runs")["done"] == 3
    assert len(begun.read_text().splitlines()) == 4

    (tmp_path / "drawn.txt").write_text("other data")
    planned = subprocess.run(
        [sys.executable, "-m", "orchestrator", "plan", str(file), "--workspace", str(tmp_path / "runs"), "--json"],
        capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ},
    )  # fmt: skip
    assert json.loads(planned.stdout)["pending"] == 3
