"""Measures of one's own: from a function over the samples to a verdict, and what is said when it fails."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from orchestrator.errors import ExperimentError, RequestError
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.reading import load
from orchestrator.records.files import results
from orchestrator.report import rows as texts
from orchestrator.reproduction.equivalence import margins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SOURCE = """\
import numpy as np

def defects_found(rows):
    defect = rows["label"] == 3
    return float(np.mean(rows["prediction"][defect] == 3))

defects_found.better, defects_found.low, defects_found.high = "higher", 0.0, 1.0

def shares(rows):
    right = rows["prediction"] == rows["label"]
    return [right[rows["label"] == each].mean() for each in np.unique(rows["label"])]

def macro(rows):
    return 0.5 + 0 * float(np.mean(shares(rows)))

def cost(rows):
    return 0.5

def accuracy(rows):
    return 0.5

macro.better, macro.low, macro.high, macro.counted = "higher", 0.0, 1.0, "classes"
cost.better, cost.low, cost.high, cost.counted, cost.weight = "lower", 0.0, 6.0, "samples", 5.0
accuracy.better, accuracy.low, accuracy.high, accuracy.counted = "higher", 0.0, 1.0, "samples"

def weightless(rows):
    return 0.5

weightless.weight = 0

def once(rows):
    return 0.5

once.counted = True

def odd(rows):
    return 1.0

odd.better = "bigger"

def never(rows):
    return None

def broken(rows):
    return rows["no such column"]

def many(rows):
    return rows["positive"]

constant = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module."""
    (tmp_path / "my_measures.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_measures", raising=False)
    return "my_measures"


def asked(metric: str, **fields: Any) -> dict[str, Any]:
    claim = {"id": "c", "metric": metric, "challenger": "bce_unified", "baseline": "softmax", "direction": "higher"}
    return {
        "name": "x",
        "losses": ["softmax", "bce_unified"],
        "backbones": ["resnet8"],
        "datasets": ["digits"],
        "seeds": 4,
        "baseline": "softmax",
        "claims": [claim],
        **fields,
    }


def test_a_claim_is_judged_by_a_function_of_its_samples(module: str, done: Callable[..., Any]) -> None:
    metric = f"{module}:defects_found"
    found = done(asked(metric))
    cell = found.plan.cells[0]
    evaluation = found.evaluations.evaluation(cell)
    defect = evaluation.label == 3
    assert found.rows[0][metric] == pytest.approx(np.mean(evaluation.prediction[defect] == 3))
    (finding,) = found.comparison.findings
    by_loss: Mapping[str, dict[int, float]] = {
        loss: {row["seed"]: row[metric] for row in found.rows if row["loss"] == loss}
        for loss in ("softmax", "bce_unified")
    }
    difference = np.mean([by_loss["bce_unified"][seed] - by_loss["softmax"][seed] for seed in range(4)])
    assert finding.difference.estimate == pytest.approx(difference)
    assert finding.difference.n == 4
    assert texts.statement(finding.claim) == f"c: {metric} of bce_unified is above that of softmax"


def _macro_step(labels: Sequence[NDArray[np.int32]]) -> float:
    """Of the cell whose rarest class weighs most: one of its samples, relative to all classes."""
    counts = [np.bincount(label)[np.bincount(label) > 0] for label in labels]
    return max(1 / (len(each) * each.min()) for each in counts)


@pytest.mark.parametrize("name", ["macro", "cost", "accuracy"])
def test_equal_pairs_are_believed_to_scatter_by_half_a_step_of_the_measure(
    module: str, done: Callable[..., Any], name: str
) -> None:
    claim = {"id": "c", "metric": f"{module}:{name}", "challenger": "bce_unified", "baseline": "softmax"}
    found = done(asked("", seeds=3, claims=[{**claim, "direction": "equal", "margin": 0.015}]))
    labels = [found.evaluations.evaluation(cell).label for cell in found.plan.cells]
    step = {"macro": _macro_step(labels), "cost": 5 / 120, "accuracy": 1 / 120}[name]
    (finding,) = found.comparison.findings
    assert finding.difference.estimate == 0
    # t at 97.5 % with two degrees of freedom, from a table
    assert finding.difference.high == pytest.approx(4.3027 * step / 2 / math.sqrt(3), rel=1e-4)
    assert finding.verdict == ("supported" if name == "accuracy" else "undecided")


def test_the_results_table_has_it_as_a_column(module: str, done: Callable[..., Any], tmp_path: Path) -> None:
    metric = f"{module}:defects_found"
    found = done(asked(metric))
    place = tmp_path / "results" / "x.parquet"
    place.parent.mkdir()
    results.write(results.aggregate(found.plan, found.evaluations), place)
    assert [row[metric] for row in results.read(place)] == [row[metric] for row in found.rows]


def test_a_file_whose_rows_were_damaged_since_they_were_checked_is_set_aside(
    module: str, done: Callable[..., Any]
) -> None:
    found = done(asked(f"{module}:defects_found"))
    cell = found.plan.cells[1]
    storage = found.evaluations.storage
    content = bytearray(storage.read(found.evaluations.name(cell)) or b"")
    content[100] ^= 1  # in the rows, of which the footer knows only the checksum
    storage.write(found.evaluations.name(cell), bytes(content))
    again = results.aggregate(found.plan, found.evaluations)
    assert [missing.id for missing in again.missing] == [cell.id]
    (said,) = again.damaged
    assert cell.id in said
    assert "set aside" in said
    assert again.rows() == [row for row in found.rows if row["cell_id"] != cell.id]
    assert cell.id not in found.evaluations.ids()


def test_a_bound_that_it_declares_stands_for_a_cell_that_diverged(module: str, done: Callable[..., Any]) -> None:
    found = done(asked(f"{module}:defects_found"), diverged=lambda cell: cell.name == "bce_unified/resnet8/digits/s0")
    (finding,) = found.comparison.findings
    assert (finding.lost, finding.difference.n) == (1, 3)
    assert finding.at_worst is not None
    baseline = next(row for row in found.rows if (row["loss"], row["seed"]) == ("softmax", 0))
    complete = 3 * finding.difference.estimate
    assert finding.at_worst.estimate == pytest.approx((complete - baseline[f"{module}:defects_found"]) / 4)


def test_a_cell_without_a_value_makes_no_pair(module: str, done: Callable[..., Any]) -> None:
    found = done(asked(f"{module}:never"), diverged=lambda cell: cell.seed == 0)
    (finding,) = found.comparison.findings
    assert finding.difference.n == 0
    assert finding.verdict == "undecided"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("broken", "The measure 'my_measures:broken' failed on softmax/resnet8/digits/s0: KeyError: 'no such column'."),
        ("many", "The measure 'my_measures:many' failed on softmax/resnet8/digits/s0: TypeError: "),
    ],
)
def test_a_function_that_fails_is_named_with_its_cell(
    module: str, done: Callable[..., Any], name: str, sentence: str
) -> None:
    with pytest.raises(RequestError) as caught:
        done(asked(f"{module}:{name}"))
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        ("my_measures:defects", "The module 'my_measures' has no function 'defects'. Did you mean 'defects_found'?"),
        ("my_measures:odd", "The measure 'my_measures:odd' declares {'better': 'bigger'}: 'better' is"),
        ("my_measures:weightless", "The measure 'my_measures:weightless' declares {'weight': 0}: 'better' is"),
        ("my_measures:once", "The measure 'my_measures:once' declares {'counted': True}: 'better' is"),
        ("my_measures:constant", "The module 'my_measures' has no function 'constant'."),
        ("no_such_module:f", "The measure 'no_such_module:f' cannot be imported: No module named 'no_such_module'."),
        ("uniform", "No measure named 'uniform'. Did you mean 'uniformity'?"),
    ],
)
def test_what_cannot_be_imported_is_told_at_its_line(
    module: str, written: Callable[[str], Path], tiny: str, metric: str, sentence: str
) -> None:
    claim = f"{{id: c, metric: '{metric}', challenger: bce_unified, baseline: softmax, direction: higher}}"
    path = written(f"{tiny}claims:\n  - {claim}\n")
    with pytest.raises(ExperimentError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}:{len(tiny.splitlines()) + 2}: {sentence}")


def test_a_module_that_fails_while_it_is_imported_says_why(module: str, tmp_path: Path) -> None:
    (tmp_path / "bad_measures.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(ValueError, match="'bad_measures:f' cannot be imported: ZeroDivisionError: division by zero"):
        Experiment.model_validate(asked("bad_measures:f"))


def test_seeds_until_decided_cannot_wait_for_it(module: str) -> None:
    seeds = {"min": 5, "max": 9, "until": "decided"}
    with pytest.raises(ValueError, match="about a built-in measure"):
        Experiment.model_validate(asked(f"{module}:never", seeds=seeds))


def test_anchors_are_not_asked_for_what_no_cell_records(module: str) -> None:
    assert margins(Experiment.model_validate(asked(f"{module}:never"))) == {}
