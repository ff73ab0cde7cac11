"""The results table: one row a cell, from the cells' files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import DamagedFileError, NewerFormatError, RequestError, WorkspaceError
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Plan, plan
from orchestrator.records.files import cell_file, compact, results
from orchestrator.records.files.cell_rows import SCHEMA
from orchestrator.records.files.compact import SAMPLES, compact_samples
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.scan_curves import accuracy_curves
from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Workspace
from trainers.metrics.uniform import uniform_accuracy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.experiment.plan import Cell
    from orchestrator.records.files.evaluations import Account
    from orchestrator.workspace import Location, Remote
    from trainers.evaluation import Evaluation

COLUMNS = {
    "experiment": "string",
    "cell_id": "string",
    "loss": "string",
    "backbone": "string",
    "dataset": "string",
    "seed": "int64",
    "state": "string",
    "decide_by": "string",
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
        return evaluations.publish(cell.recipe, account, None if account.state == "diverged" else evaluation)

    return publish


def test_the_columns_of_the_contract_are_there_in_their_order() -> None:
    there = {name: str(kind) for name, kind in zip(SCHEMA.names, SCHEMA.types, strict=True)}
    assert [name for name in there if name in COLUMNS] == list(COLUMNS)
    assert {name: there[name] for name in COLUMNS} == COLUMNS


ADDED = (
    *("temperature_at_edge", "uniform_accuracy_sigmoid", "sample_wise_accuracy_sigmoid"),
    *("macro_accuracy", "head_accuracy", "medium_accuracy", "tail_accuracy", "training_accuracy"),
    *("calibration_error_sigmoid", "negative_log_likelihood", "negative_log_likelihood_sigmoid"),
    *("brier_score", "brier_score_sigmoid", "area_under_risk_coverage_probability", "means_from_simplex"),
    *("open_auroc_calibrated", "open_fpr95_probability", "open_fpr95_energy"),
    *("open_oscr_probability", "open_oscr_energy", "shift_accuracy_at_validation_threshold"),
)


def test_the_measures_that_came_later_are_there() -> None:
    assert {str(SCHEMA.field(name).type) for name in ADDED} == {"double"}


def test_a_row_says_by_what_its_loss_decides(evaluations: Evaluations, publish: Any) -> None:
    fields = {"name": "asked", "backbones": ["resnet8"], "datasets": ["digits"], "seeds": 1, "baseline": "softmax"}
    losses = ["softmax", "softmax_calibrated", {"name": "bce", "as": "yes_or_no", "decide_by": "sigmoid"}]
    asked = plan(Experiment.model_validate({**fields, "losses": losses}))
    for cell in asked.cells:
        publish(cell)
    found = {row["loss"]: row["decide_by"] for row in results.aggregate(asked, evaluations).rows()}
    assert found == {"softmax": "raw", "softmax_calibrated": "calibrated", "yes_or_no": "sigmoid"}


def test_every_done_cell_has_a_row_under_its_label(asked: Plan, evaluations: Evaluations, publish: Any) -> None:
    for cell in asked.cells:
        publish(cell)
    found = results.aggregate(asked, evaluations)
    assert found.table.schema.equals(SCHEMA)
    assert [row["cell_id"] for row in found.rows()] == [cell.id for cell in asked.cells]
    assert {(row["loss"], row["seed"]) for row in found.rows()} == {
        (loss, seed) for loss in ("softmax", "ours") for seed in (0, 1)
    }
    assert {row["compactness"] for row in found.rows()} == {0.5}
    assert {row["learned_bias"] for row in found.rows()} == {None}
    assert (found.missing, found.damaged) == ((), ())


def test_cells_without_a_file_are_missing(asked: Plan, evaluations: Evaluations, publish: Any) -> None:
    publish(asked.cells[0])
    found = results.aggregate(asked, evaluations)
    assert found.table.num_rows == 1
    assert found.missing == asked.cells[1:]


def test_a_collapsed_cell_has_a_row_with_its_measures(asked: Plan, evaluations: Evaluations, publish: Any) -> None:
    publish(asked.cells[0], state="collapsed", collapse="all the same")
    (row,) = results.aggregate(asked, evaluations).rows()
    assert (row["state"], row["samples"], row["compactness"]) == ("collapsed", 50, 0.5)


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
    assert [file.name for file in bad.parent.iterdir()] == [f"_{bad.stem}.damaged"]
    assert results.aggregate(asked, evaluations).damaged == ()


def test_a_file_of_a_newer_version_is_left_where_it_is(asked: Plan, evaluations: Evaluations, publish: Any) -> None:
    path = publish(asked.cells[0], version=cell_file.VERSION + 1)
    with pytest.raises(NewerFormatError):
        results.aggregate(asked, evaluations)
    assert path.exists()


def test_what_only_cannot_be_opened_is_left_where_it_is(asked: Plan, evaluations: Evaluations, publish: Any) -> None:
    path, *_ = [publish(cell) for cell in asked.cells]
    path.unlink()
    path.mkdir()
    with pytest.raises(WorkspaceError, match="cannot be read now"):
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
    assert pq.read_schema(path).equals(SCHEMA)
    assert pq.read_table(path).num_rows == 1
    assert [file.name for file in path.parent.iterdir()] == ["asked.parquet"]


def test_a_table_without_rows_keeps_its_schema(asked: Plan, evaluations: Evaluations) -> None:
    found = results.aggregate(asked, evaluations)
    assert found.table.schema.equals(SCHEMA)
    assert isinstance(found.table, pa.Table)
    assert found.rows() == []


def test_an_object_store_holds_files_and_table(
    asked: Plan, place: Location, an_account: Callable[..., Account], evaluation: Evaluation
) -> None:
    workspace = Workspace(place)
    evaluations = Evaluations(workspace.evaluations)
    for cell in asked.cells[:3]:
        evaluations.publish(cell.recipe, an_account(cell), evaluation)
    path = evaluations.path(asked.cells[1].recipe, asked.cells[1].id)
    Storage(path.parent).write(path.name, b"PAR1 no more")
    found = results.aggregate(asked, evaluations)
    assert (found.table.num_rows, len(found.missing), len(found.damaged)) == (2, 2, 1)
    assert str(path) in found.damaged[0]
    results.write(found, workspace.results("asked"))
    written = Storage(workspace.root).read("results/asked.parquet")
    assert pq.read_table(pa.BufferReader(written)).equals(found.table)


# The dataset of all samples


@pytest.fixture
def compacted(asked: Plan, evaluations: Evaluations, publish: Any, tmp_path: Path) -> Path:
    for cell in asked.cells[:-1]:
        publish(cell)
    publish(asked.cells[-1], state="diverged", metrics={}, samples=0, parameters=None)
    assert compact_samples(asked, evaluations, tmp_path / "compacted") == 150
    return tmp_path / "compacted"


COUNTED = {("digits", "resnet8", "softmax"): 100, ("digits", "resnet8", "ours"): 50}
"""Rows by dataset, backbone and loss, as the experiment labels them."""
AXES = ["dataset", "backbone", "loss"]


def test_pyarrow_reads_the_dataset(compacted: Path) -> None:
    table = ds.dataset(compacted, partitioning="hive").to_table()
    assert {name: table.schema.field(name).type for name in SAMPLES.names} == dict(
        zip(SAMPLES.names, SAMPLES.types, strict=True)
    )
    assert table.to_pandas().groupby(AXES).size().to_dict() == COUNTED


def test_pandas_reads_the_dataset(compacted: Path) -> None:
    found = pd.read_parquet(compacted, filters=[("loss", "==", "softmax")])
    assert found.groupby(["cell_id", "seed"]).size().tolist() == [50, 50]


def test_polars_reads_the_dataset(compacted: Path) -> None:
    found = pl.scan_parquet(compacted / "**/*.parquet", hive_partitioning=True).group_by(AXES).len().collect()
    assert {tuple(row[:3]): row[3] for row in found.iter_rows()} == COUNTED


def test_duckdb_reads_the_dataset(compacted: Path) -> None:
    source = f"read_parquet('{compacted}/**/*.parquet', hive_partitioning=true)"
    query = f"SELECT dataset, backbone, loss, count(*) FROM {source} GROUP BY ALL"
    with duckdb.connect() as connection:
        assert {tuple(row[:3]): row[3] for row in connection.execute(query).fetchall()} == COUNTED


def test_the_dataset_holds_the_rows_of_the_files(
    asked: Plan, evaluations: Evaluations, compacted: Path, evaluation: Evaluation
) -> None:
    for cell in asked.cells[:-1]:
        found = pd.read_parquet(compacted, filters=[("cell_id", "==", cell.id)])
        np.testing.assert_array_equal(found["rival"], evaluation.rival)
        assert found["seed"].unique() == [cell.seed]
    assert len(evaluations.ids()) == len(asked)


def test_validation_rows_are_a_dataset_of_their_own(
    asked: Plan, evaluations: Evaluations, an_account: Callable[..., Account], drawn: Any, tmp_path: Path
) -> None:
    for seed, cell in enumerate(asked.cells):
        rows = drawn(20, seed=seed) if seed else None
        evaluations.publish(cell.recipe, an_account(cell, drawn(), rows), drawn(), rows)
    assert compact_samples(asked, evaluations, tmp_path / "rows", Evaluations.validation) == 60
    found = pd.read_parquet(tmp_path / "rows")
    assert found.groupby("cell_id").size().to_dict() == {cell.id: 20 for cell in asked.cells[1:]}
    assert (
        np.stack(found[found["cell_id"] == asked.cells[1].id]["scores"]).tolist() == drawn(20, seed=1).scores.tolist()
    )
    evaluations.validations.delete(evaluations.name(asked.cells[1]))
    with pytest.raises(RequestError, match="is missing: the validation rows"):
        compact_samples(asked, evaluations, tmp_path / "rows", Evaluations.validation)


def test_compacting_again_leaves_the_same_and_nothing_else(
    asked: Plan, evaluations: Evaluations, compacted: Path
) -> None:
    before = {path: path.read_bytes() for path in compacted.rglob("*.parquet")}
    (compacted / "dataset=digits" / "loss=gone").mkdir()
    (compacted / "dataset=digits" / "loss=gone" / "part-00000.parquet").touch()
    compact_samples(asked, evaluations, compacted)
    assert {path: path.read_bytes() for path in compacted.rglob("*") if path.is_file()} == before


def test_large_datasets_are_cut_into_files(
    asked: Plan, evaluations: Evaluations, compacted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "_ROWS", 60)
    assert compact_samples(asked, evaluations, compacted) == 150
    assert len(list(compacted.rglob("*.parquet"))) == 4
    assert len(pd.read_parquet(compacted)) == 150


def test_an_experiment_that_is_not_done_is_not_compacted(
    asked: Plan, evaluations: Evaluations, publish: Any, tmp_path: Path
) -> None:
    publish(asked.cells[0])
    with pytest.raises(RequestError, match="3 of 4 cells of 'asked' are not done"):
        compact_samples(asked, evaluations, tmp_path / "compacted")


def test_damaged_rows_are_set_aside_when_compacting(
    asked: Plan, evaluations: Evaluations, publish: Any, tmp_path: Path
) -> None:
    *_, bad = [publish(cell) for cell in asked.cells]
    content = bytearray(bad.read_bytes())
    content[100] ^= 1
    bad.write_bytes(content)
    with pytest.raises(RequestError, match="was set aside"):
        compact_samples(asked, evaluations, tmp_path / "compacted")
    assert len(evaluations.ids()) == 3


def test_a_dataset_in_an_object_store_is_read_there(
    asked: Plan, evaluations: Evaluations, publish: Any, s3_place: Remote
) -> None:
    for cell in asked.cells:
        publish(cell)
    assert compact_samples(asked, evaluations, s3_place / "compacted" / "asked") == 200
    assert {loss: curve.samples for loss, curve in accuracy_curves(s3_place / "compacted" / "asked").items()} == {
        "softmax": 100,
        "ours": 100,
    }


# Curves


@pytest.mark.parametrize("points", [2, 100, 5000])
def test_a_curve_tells_the_accuracy_at_each_threshold(compacted: Path, evaluation: Evaluation, points: int) -> None:
    for curve in accuracy_curves(compacted, points).values():
        positive = evaluation.positive.astype(float)
        rival = evaluation.rival.astype(float)
        right = [np.mean((rival < threshold) & (threshold <= positive)) for threshold in curve.threshold[1:-1]]
        np.testing.assert_allclose(curve.accuracy[1:-1], right, rtol=0, atol=1e-12)
        assert (curve.threshold[0], curve.threshold[-1]) == (
            pytest.approx(min(positive.min(), rival.min())),
            pytest.approx(max(positive.max(), rival.max())),
        )
        assert uniform_accuracy(positive, rival).accuracy >= curve.accuracy.max()


def test_curves_come_from_the_cells_files_as_well(
    compacted: Path, evaluations: Evaluations, publish: Any, asked: Plan
) -> None:
    publish(asked.cells[0]).with_suffix(".damaged").write_bytes(b"set aside")
    found = accuracy_curves(evaluations.folder)
    assert {loss: curve.samples for loss, curve in found.items()} == {"softmax": 100, "bce_unified": 50}
    np.testing.assert_array_equal(found["softmax"].accuracy, accuracy_curves(compacted)["softmax"].accuracy)


def test_a_damaged_page_is_no_curve(compacted: Path) -> None:
    path = min(compacted.rglob("*.parquet"))
    content = bytearray(path.read_bytes())
    table = pq.read_metadata(path).row_group(0)
    column = next(
        table.column(number) for number in range(table.num_columns) if table.column(number).path_in_schema == "rival"
    )
    content[column.dictionary_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="cannot be read"):
        accuracy_curves(compacted)


def test_no_samples_have_no_curve(tmp_path: Path) -> None:
    assert accuracy_curves(tmp_path) == {}
