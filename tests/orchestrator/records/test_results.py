"""The results table: one row a cell, from the cells' files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import NewerFormatError
from orchestrator.experiment import Experiment
from orchestrator.plan import Plan, plan
from orchestrator.records import results
from orchestrator.records.evaluations import Evaluations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.plan import Cell
    from orchestrator.records.evaluations import Account
    from trainers.evaluation import Evaluation

COLUMNS = {
    "experiment": "string",
    "cell_id": "string",
    "loss": "string",
    "backbone": "string",
    "dataset": "string",
    "seed": "int64",
    "state": "string",
    "samples": "int64",
    "sample_wise_accuracy": "double",
    "class_wise_accuracy": "double",
    "uniform_accuracy": "double",
    "unified_threshold": "double",
    "threshold_low": "double",
    "threshold_high": "double",
    "learned_bias": "double",
    "bias_gap": "double",
    "bias_distance": "double",
    "accuracy_at_bias": "double",
    "compactness": "double",
    "distinctiveness": "double",
    "uniformity": "double",
    "train_seconds": "double",
    "images_per_second": "double",
    "epochs": "int64",
    "parameters": "int64",
    "mlflow_run_id": "string",
    "git_commit": "string",
    "protocol": "int64",
}
"""What the contract promises, in its order; more may stand between."""


@pytest.fixture
def asked() -> Plan:
    return plan(
        Experiment.model_validate(
            {
                "name": "asked",
                "losses": ["softmax", {"name": "bce_unified", "as": "ours"}],
                "backbones": ["resnet8"],
                "datasets": ["digits"],
                "seeds": 2,
                "baseline": "softmax",
            }
        )
    )


@pytest.fixture
def evaluations(tmp_path: Path) -> Evaluations:
    return Evaluations(tmp_path / "evaluations")


@pytest.fixture
def publish(
    evaluations: Evaluations, an_account: Callable[..., Account], evaluation: Evaluation
) -> Callable[..., Path]:
    def publish(cell: Cell, **changes: Any) -> Path:
        account = an_account(cell, **changes)
        return evaluations.publish(cell.recipe, account, evaluation if account.state == "finished" else None)

    return publish


def test_the_columns_of_the_contract_are_there_in_their_order() -> None:
    there = {name: str(kind) for name, kind in zip(results.SCHEMA.names, results.SCHEMA.types, strict=True)}
    assert [name for name in there if name in COLUMNS] == list(COLUMNS)
    assert {name: there[name] for name in COLUMNS} == COLUMNS


def test_every_done_cell_has_a_row_under_its_label(asked: Plan, evaluations: Evaluations, publish: Any) -> None:
    for cell in asked.cells:
        publish(cell)
    found = results.aggregate(asked, evaluations)
    assert found.table.schema.equals(results.SCHEMA)
    assert [row["cell_id"] for row in found.rows()] == [cell.id for cell in asked.cells]
    assert {(row["loss"], row["seed"]) for row in found.rows()} == {
        (loss, seed) for loss in ("softmax", "ours") for seed in (0, 1)
    }
    assert {row["uniform_accuracy"] for row in found.rows()} == {0.5}
    assert {row["learned_bias"] for row in found.rows()} == {None}
    assert (found.missing, found.damaged) == ((), ())


def test_cells_without_a_file_are_missing(asked: Plan, evaluations: Evaluations, publish: Any) -> None:
    publish(asked.cells[0])
    found = results.aggregate(asked, evaluations)
    assert found.table.num_rows == 1
    assert found.missing == asked.cells[1:]


def test_a_diverged_cell_has_a_row_without_measures(asked: Plan, evaluations: Evaluations, publish: Any) -> None:
    publish(asked.cells[0], state="diverged", metrics={}, samples=0, parameters=None)
    (row,) = results.aggregate(asked, evaluations).rows()
    assert (row["state"], row["samples"], row["uniform_accuracy"], row["parameters"]) == ("diverged", 0, None, None)


def test_a_damaged_file_is_set_aside_named_and_missing(asked: Plan, evaluations: Evaluations, publish: Any) -> None:
    good, bad = (publish(cell) for cell in asked.cells[:2])
    bad.write_bytes(bad.read_bytes()[:-20])
    found = results.aggregate(asked, evaluations)
    assert [row["cell_id"] for row in found.rows()] == [good.stem]
    assert found.missing == asked.cells[1:]
    (sentence,) = found.damaged
    assert str(bad) in sentence
    assert evaluations.ids() == {good.stem}
    assert [file.name for file in bad.parent.iterdir()] == [f"{bad.stem}.damaged"]
    assert results.aggregate(asked, evaluations).damaged == ()


def test_a_file_of_a_newer_version_is_left_where_it_is(asked: Plan, evaluations: Evaluations, publish: Any) -> None:
    path = publish(asked.cells[0], version=2)
    with pytest.raises(NewerFormatError):
        results.aggregate(asked, evaluations)
    assert path.exists()


def test_what_only_cannot_be_opened_is_left_where_it_is(
    asked: Plan, evaluations: Evaluations, publish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, *_ = [publish(cell) for cell in asked.cells]

    def too_many(*_: Any, **__: Any) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(pq, "read_schema", too_many)
    with pytest.raises(Exception, match="Too many open files"):
        results.aggregate(asked, evaluations)
    assert path.exists()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(data=st.data())
def test_a_flipped_byte_costs_one_cell_at_most(asked: Plan, evaluations: Evaluations, publish: Any, data: Any) -> None:
    bad, good = (publish(cell) for cell in asked.cells[:2])
    content = bytearray(bad.read_bytes())
    start = content.index(b'"cell_id"') if data.draw(st.booleans()) else 0
    content[data.draw(st.integers(start, len(content) - 1))] = data.draw(st.sampled_from(b'.0e-"5\xff'))
    bad.write_bytes(content)
    found = results.aggregate(asked, evaluations)
    assert good.stem in {row["cell_id"] for row in found.rows()}
    assert found.table.num_rows + len(found.missing) == len(asked)


def test_the_table_is_written_whole(asked: Plan, evaluations: Evaluations, publish: Any, tmp_path: Path) -> None:
    publish(asked.cells[0])
    path = tmp_path / "results" / "asked.parquet"
    for _ in range(2):
        results.write(results.aggregate(asked, evaluations), path)
    assert pq.read_schema(path).equals(results.SCHEMA)
    assert pq.read_table(path).num_rows == 1
    assert [file.name for file in path.parent.iterdir()] == ["asked.parquet"]


def test_a_table_without_rows_keeps_its_schema(asked: Plan, evaluations: Evaluations) -> None:
    found = results.aggregate(asked, evaluations)
    assert found.table.schema.equals(results.SCHEMA)
    assert isinstance(found.table, pa.Table)
    assert found.rows() == []
