"""The cells' files: whole or not there, readable by anyone, and never trusted blindly."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from base64 import b64encode
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import compress

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

from orchestrator.errors import DamagedFileError, LostRowsError, NewerFormatError, WorkspaceError
from orchestrator.records.files import cell_file
from orchestrator.records.files.cell_file import SCHEMA, VERSION, encoded, encoded_rows
from orchestrator.records.files.evaluations import Account, Evaluations, read_account, set_aside
from orchestrator.records.files.origin import ensure_secret
from orchestrator.records.files.storage import Storage
from trainers.evaluation import Evaluation

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.experiment.plan import Cell
    from orchestrator.workspace import Location, Remote

    Cells = Callable[..., Cell]
    Accounts = Callable[..., Account]

COLUMNS = {
    "sample": pa.int32(),
    "label": pa.int32(),
    "prediction": pa.int32(),
    "positive": pa.float32(),
    "rival": pa.float32(),
    "logsumexp": pa.float32(),
    "logsumexp_tuned": pa.float32(),
    "runner_up": pa.int32(),
    "runner_up_score": pa.float32(),
    "log_odds": pa.float64(),
    "scores": pa.list_(pa.field("element", pa.float32())),
    "classes": pa.list_(pa.field("element", pa.int32())),
}


@pytest.fixture
def evaluations(tmp_path: Path) -> Evaluations:
    return Evaluations(tmp_path / "evaluations")


@pytest.fixture
def published(
    evaluations: Evaluations, a_cell: Cells, an_account: Accounts, evaluation: Evaluation
) -> tuple[Cell, Path]:
    cell = a_cell()
    return cell, evaluations.publish(cell.recipe, an_account(cell), evaluation)


def test_what_is_published_is_read_back(
    evaluations: Evaluations, published: tuple[Cell, Path], an_account: Accounts, evaluation: Evaluation
) -> None:
    cell, path = published
    assert evaluations.account(cell) == read_account(path) == an_account(cell)
    assert_same(evaluations.evaluation(cell), evaluation)


def assert_same(found: Evaluation, expected: Evaluation) -> None:
    for field in fields(Evaluation):
        here = getattr(found, field.name)
        there = getattr(expected, field.name)
        if there is None:
            assert here is None
        else:
            np.testing.assert_array_equal(here, there, strict=True)


def test_the_recipe_comes_back_ready_to_be_run(evaluations: Evaluations, published: tuple[Cell, Path]) -> None:
    cell, _ = published
    assert evaluations.account(cell).resolved == cell.recipe


def test_the_columns_are_those_of_the_contract(published: tuple[Cell, Path]) -> None:
    schema = pq.ParquetFile(published[1]).schema_arrow
    assert list(zip(schema.names, schema.types, strict=True)) == list(COLUMNS.items())


def test_the_metadata_is_json_under_the_key_cell(published: tuple[Cell, Path]) -> None:
    cell, path = published
    content = json.loads(pq.read_metadata(path).metadata[b"cell"])
    assert content["cell_id"] == cell.id
    assert {"recipe", "metrics", "learned_bias", "provenance", "history", "seconds"} <= content.keys()


def test_the_path_names_the_factors(evaluations: Evaluations, a_cell: Cells) -> None:
    cell = a_cell("bce_unified", "torchvision:resnet34", "cifar10")
    path = evaluations.path(cell.recipe, cell.id)
    folder = "dataset=cifar10/backbone=torchvision%3Aresnet34/loss=bce_unified"
    assert path == evaluations.folder / folder / f"{cell.id}.parquet"


@pytest.fixture
def grid(
    evaluations: Evaluations, a_cell: Cells, an_account: Accounts, evaluation: Evaluation
) -> tuple[Path, dict[tuple[str, str, str], int]]:
    """Eight files in a folder, and how many rows belong to each combination of factors."""
    counted = dict[tuple[str, str, str], int]()
    for loss in ("softmax", "bce_unified"):
        for backbone in ("resnet8", "torchvision:resnet34"):
            for seed in range(2):
                cell = a_cell(loss, backbone, seed=seed)
                evaluations.publish(cell.recipe, an_account(cell), evaluation)
            counted["digits", backbone, loss] = 100
    return evaluations.folder, counted


AXES = ["dataset", "backbone", "loss"]


def test_pyarrow_reads_the_folder_with_its_factors(grid: Any) -> None:
    folder, counted = grid
    table = ds.dataset(folder, partitioning="hive").to_table()
    assert pd.Series(counted).to_dict() == table.to_pandas().groupby(AXES).size().to_dict()
    assert set(COLUMNS) <= set(table.column_names)


def test_pandas_reads_the_folder_with_its_factors(grid: Any) -> None:
    folder, counted = grid
    assert pd.read_parquet(folder).groupby(AXES, observed=True).size().to_dict() == counted


def test_polars_reads_the_folder_with_its_factors(grid: Any) -> None:
    folder, counted = grid
    found = pl.scan_parquet(folder / "**/*.parquet", hive_partitioning=True).group_by(AXES).len().collect()
    assert {tuple(row[:3]): row[3] for row in found.iter_rows()} == counted


def test_duckdb_reads_the_folder_with_its_factors(grid: Any) -> None:
    folder, counted = grid
    source = f"read_parquet('{folder}/**/*.parquet', hive_partitioning=true)"
    query = f"SELECT dataset, backbone, loss, count(*) FROM {source} GROUP BY ALL"
    with duckdb.connect() as connection:
        assert {tuple(row[:3]): row[3] for row in connection.execute(query).fetchall()} == counted


def test_a_file_of_the_version_before_says_nothing_of_a_collapse_and_is_read(
    evaluations: Evaluations, published: tuple[Cell, Path], an_account: Accounts
) -> None:
    cell, path = published
    content = {name: value for name, value in asdict(an_account(cell)).items() if name != "collapse"}
    with_account(path, {**content, "version": 1})
    assert evaluations.account(cell).collapse is None
    assert evaluations.account(cell).state == "finished"


def test_a_diverged_cell_leaves_a_file_without_rows(
    evaluations: Evaluations, a_cell: Cells, an_account: Accounts
) -> None:
    cell = a_cell()
    diverged = an_account(cell, state="diverged", metrics={}, parameters=None, train_seconds=None, samples=0)
    path = evaluations.publish(cell.recipe, diverged, None)
    assert pq.read_table(path, partitioning=None).num_rows == 0
    assert {name: pq.read_schema(path).field(name).type for name in COLUMNS} == COLUMNS
    assert evaluations.account(cell).state == "diverged"
    assert evaluations.ids() == {cell.id}


def test_a_cell_that_is_not_done_is_not_found(evaluations: Evaluations, a_cell: Cells) -> None:
    assert evaluations.ids() == set()
    with pytest.raises(FileNotFoundError):
        evaluations.account(a_cell())
    with pytest.raises(FileNotFoundError):
        evaluations.evaluation(a_cell())


def test_publishing_twice_leaves_the_same_bytes(
    evaluations: Evaluations, published: tuple[Cell, Path], an_account: Accounts, evaluation: Evaluation
) -> None:
    cell, path = published
    before = path.read_bytes()
    evaluations.publish(cell.recipe, an_account(cell), evaluation)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_half_written_file_is_never_seen(evaluations: Evaluations, published: tuple[Cell, Path]) -> None:
    _, path = published
    path.rename(path.with_name(f".{path.name}.4711"))
    assert evaluations.ids() == set()
    assert list(evaluations.accounts()) == []
    assert ds.dataset(evaluations.folder, partitioning="hive").files == []


def test_a_writer_killed_midway_leaves_no_cell(evaluations: Evaluations, published: tuple[Cell, Path]) -> None:
    _, path = published
    program = f"""
import os
from pathlib import Path
from orchestrator.records.files.evaluations import Evaluations, read_account
account = read_account(Path({str(path)!r}))
os.fsync = lambda file: os.kill(os.getpid(), 9)
Evaluations(Path({str(evaluations.folder.parent / "other")!r})).publish(account.resolved, account, None)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    other = Evaluations(evaluations.folder.parent / "other")
    assert other.ids() == set()
    assert list(other.accounts()) == []
    (left,) = other.storage.list()
    assert left.is_half_written


def test_a_write_that_fails_leaves_nothing(
    evaluations: Evaluations, a_cell: Cells, an_account: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    cell = a_cell()
    with pytest.raises(OSError, match="disk full"):
        evaluations.publish(cell.recipe, an_account(cell), None)
    assert [path for path in evaluations.folder.rglob("*") if path.is_file()] == []


# What cannot be trusted


def test_another_cells_file_is_refused(evaluations: Evaluations, published: tuple[Cell, Path], a_cell: Cells) -> None:
    _, path = published
    stranger = a_cell(seed=1)
    path.rename(evaluations.path(stranger.recipe, stranger.id))
    with pytest.raises(DamagedFileError, match="another cell"):
        evaluations.account(stranger)


def test_a_foreign_parquet_file_is_refused(published: tuple[Cell, Path]) -> None:
    _, path = published
    pq.write_table(pa.table({"sample": [1, 2]}), path)
    with pytest.raises(DamagedFileError, match="no cell's file"):
        read_account(path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"hello" * 100, b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_what_is_no_parquet_is_refused(evaluations: Evaluations, published: tuple[Cell, Path], content: bytes) -> None:
    cell, path = published
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="cannot be read as Parquet"):
        evaluations.account(cell)
    with pytest.raises(DamagedFileError, match="cannot be read as Parquet"):
        evaluations.evaluation(cell)


def with_account(path: Path, account: Any) -> None:
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.replace_schema_metadata({b"cell": json.dumps(account).encode()}), path)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": None},
        {"surplus": 1},
        {"state": "finisheg"},
        {"samples": "many"},
        {"samples": 7.5},
        {"metrics": [1]},
        {"metrics": {"uniform_accuracy": "high"}},
        {"epochs": None},
        {"provenance": None},
        {"started": 1e300},
        {"started": -1.0},
    ],
)
def test_an_account_that_makes_no_sense_is_refused(
    evaluations: Evaluations, published: tuple[Cell, Path], an_account: Accounts, changes: dict[str, Any]
) -> None:
    cell, path = published
    with_account(path, {**asdict(an_account(cell)), **changes})
    with pytest.raises(DamagedFileError):
        evaluations.account(cell)


@pytest.mark.parametrize("account", [[], "text", 1, None, {}])
def test_an_account_that_is_none_is_refused(published: tuple[Cell, Path], account: Any) -> None:
    with_account(published[1], account)
    with pytest.raises(DamagedFileError):
        read_account(published[1])


def test_a_file_with_fewer_rows_than_its_account_says_is_refused(
    evaluations: Evaluations, a_cell: Cells, an_account: Accounts, evaluation: Evaluation
) -> None:
    cell = a_cell()
    some = Evaluation(**{name: values if values is None else values[:10] for name, values in vars(evaluation).items()})
    evaluations.publish(cell.recipe, an_account(cell, samples=50), some)
    with pytest.raises(DamagedFileError):
        evaluations.evaluation(cell)


def test_a_newer_version_is_not_damage(
    evaluations: Evaluations, published: tuple[Cell, Path], an_account: Accounts
) -> None:
    cell, path = published
    with_account(path, {**asdict(an_account(cell)), "version": VERSION + 1, "news": 1})
    newer = f"has version {VERSION + 1} of the cell format; this program reads {VERSION}: upgrade it"
    with pytest.raises(NewerFormatError, match=newer):
        evaluations.account(cell)


def test_a_foreign_file_is_named_and_one_set_aside_is_not(
    evaluations: Evaluations, published: tuple[Cell, Path], an_account: Accounts
) -> None:
    cell, path = published
    (evaluations.folder / "notes.txt").write_text("mine")
    renamed = path.with_name("renamed.parquet")
    renamed.write_bytes(path.read_bytes())
    found = dict(evaluations.accounts())
    assert found.pop(path) == an_account(cell)
    assert {str(error).partition(" ")[0] for error in found.values()} == {
        str(evaluations.folder / "notes.txt"),
        str(renamed),
    }
    assert [set_aside(place).name for place in sorted(found)] == ["_renamed.damaged", "_notes.txt.damaged"]
    assert list(evaluations.accounts()) == [(path, an_account(cell))]
    assert pd.read_parquet(evaluations.folder).shape[0] == 50


def test_a_whole_file_is_checked_by_its_name(evaluations: Evaluations, published: tuple[Cell, Path]) -> None:
    cell, path = published
    whole = evaluations.checked(evaluations.name(cell))
    content = whole.file
    assert (content, whole.rows.num_rows, whole.validation) == (path.read_bytes(), 50, None)
    path.write_bytes(content.replace(b"PAR1", b"PAR2", 1))
    renamed = evaluations.name(cell).replace("dataset=digits", "dataset=other")
    evaluations.storage.write(renamed, content)
    with pytest.raises(DamagedFileError, match="named after"):
        evaluations.checked(renamed)


def test_a_footer_longer_than_expected_is_read(
    evaluations: Evaluations, a_cell: Cells, an_account: Accounts, evaluation: Evaluation
) -> None:
    cell = a_cell()
    long = an_account(cell, history=[{"train_loss": float(epoch)} for epoch in range(10_000)])
    evaluations.publish(cell.recipe, long, evaluation)
    assert evaluations.account(cell) == long


def test_a_storage_that_fails_is_no_damage(evaluations: Evaluations, published: tuple[Cell, Path]) -> None:
    cell, path = published
    path.unlink()
    path.mkdir()
    for read in (evaluations.account, evaluations.evaluation):
        with pytest.raises(WorkspaceError, match="cannot be read now"):
            read(cell)


# In an object store


def test_local_and_remote_files_are_the_same_bytes(
    published: tuple[Cell, Path], s3_place: Remote, an_account: Accounts, evaluation: Evaluation
) -> None:
    cell, path = published
    remote = Evaluations(s3_place / "evaluations")
    Storage(s3_place).write("origin.key", ensure_secret(path.parents[4]))  # else the signatures differ
    there = remote.publish(cell.recipe, an_account(cell), evaluation)
    assert there == remote.path(cell.recipe, cell.id)
    assert Storage(there.parent).read(there.name) == path.read_bytes()


def test_an_object_store_is_read_as_a_folder_is(
    place: Location, a_cell: Cells, an_account: Accounts, evaluation: Evaluation
) -> None:
    evaluations = Evaluations(place / "evaluations")
    cells = [a_cell("bce_unified", "torchvision:resnet34", seed=seed) for seed in range(3)]
    for cell in cells:
        evaluations.publish(cell.recipe, an_account(cell), evaluation)
    assert evaluations.ids() == {cell.id for cell in cells}
    assert [evaluations.account(cell) for cell in cells] == [an_account(cell) for cell in cells]
    np.testing.assert_array_equal(evaluations.evaluation(cells[0]).rival, evaluation.rival)
    assert dict(evaluations.accounts()) == {evaluations.path(c.recipe, c.id): an_account(c) for c in cells}
    with pytest.raises(FileNotFoundError):
        evaluations.account(a_cell())
    set_aside(evaluations.path(cells[0].recipe, cells[0].id))
    assert evaluations.ids() == {cell.id for cell in cells[1:]}
    assert len(list(evaluations.accounts())) == 2


def test_all_files_are_walked_and_the_damaged_named(
    evaluations: Evaluations, published: tuple[Cell, Path], a_cell: Cells, an_account: Accounts, evaluation: Evaluation
) -> None:
    other = a_cell(seed=1)
    damaged = evaluations.publish(other.recipe, an_account(other), evaluation)
    damaged.write_bytes(damaged.read_bytes()[:-10])
    found = dict(evaluations.accounts())
    assert found[published[1]] == an_account(published[0])
    assert isinstance(found[damaged], DamagedFileError)


once = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


LATER = ("collapse", "classes", "scores", "temperature", "bias", "sigmoid", "validation_sha256")
"""What the account of version 1 does not have."""


def of_version_1(account: Account, evaluation: Evaluation) -> bytes:
    """A file as the first releases wrote it: without checksums, ranks, scores and validation rows."""
    told = {name: value for name, value in asdict(account).items() if name not in LATER} | {"version": 1}
    schema = pa.schema(list(SCHEMA)[:7], {b"cell": json.dumps(told).encode()})
    sink = pa.BufferOutputStream()
    columns = {name: getattr(evaluation, name) for name in schema.names}
    pq.write_table(pa.table(columns, schema=schema), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


@pytest.fixture(params=["checked", "unchecked"])
def whole(
    request: pytest.FixtureRequest, published: tuple[Cell, Path], an_account: Accounts, evaluation: Evaluation
) -> bytes:
    """A cell's file with checksums, and one of the first releases without."""
    if request.param == "checked":
        return published[1].read_bytes()
    return of_version_1(an_account(published[0]), evaluation)


def old(account: Account, whole: bytes) -> Account:
    """What is read of an account that may be of version 1."""
    if b"cell_sha256" in whole:
        return account
    return replace(account, version=1, **dict.fromkeys(LATER))


@pytest.mark.parametrize("whole", ["unchecked"], indirect=True)
def test_files_of_version_1_are_read_by_every_reader_and_lack_what_came_later(
    evaluations: Evaluations, published: tuple[Cell, Path], an_account: Accounts, evaluation: Evaluation, whole: bytes
) -> None:
    cell, path = published
    path.write_bytes(whole)
    account = old(an_account(cell), whole)
    assert evaluations.account(cell) == account
    assert evaluations.content(cell)["scores"] is None
    assert dict(evaluations.accounts()) == {path: account}
    ranks = dict.fromkeys(("runner_up", "runner_up_score", "log_odds", "scores", "classes"))
    assert_same(evaluations.evaluation(cell), replace(evaluation, **ranks))
    assert evaluations.validation(cell) is None
    assert (evaluations.checked(evaluations.name(cell)).file, evaluations.ids()) == (whole, {cell.id})


def spoilt(whole: bytes, draw: Any) -> bytes:
    """The bytes truncated, or with a few of them changed."""
    if draw(st.booleans()):
        return whole[: draw(st.integers(0, len(whole) - 1))]
    content = bytearray(whole)
    metadata = whole.index(b"PAR1", 4) if b"PAR1" in whole[4:-4] else 0
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.sampled_from([0, metadata, max(0, len(whole) - 200)]))
        content[draw(st.integers(start, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


@once
@given(data=st.data())
def test_damage_is_refused_or_harmless(
    evaluations: Evaluations,
    published: tuple[Cell, Path],
    *,
    an_account: Accounts,
    evaluation: Evaluation,
    whole: bytes,
    data: Any,
) -> None:
    """Whatever happens to a file, nothing but the two refusals is raised; with checksums, nothing else is read."""
    cell, path = published
    path.write_bytes(content := spoilt(whole, data.draw))
    with suppress(DamagedFileError, NewerFormatError):
        account = evaluations.account(cell)
        assert account == an_account(cell) or b"cell_sha256" not in content
    with suppress(DamagedFileError, NewerFormatError):
        rows = evaluations.evaluation(cell)
        if b"rows_sha256" in content:
            assert_same(rows, evaluation)
    with suppress(NewerFormatError):
        dict(evaluations.accounts())


@pytest.mark.parametrize("whole", ["checked"], indirect=True)
def test_every_part_of_a_file_is_watched(
    evaluations: Evaluations, published: tuple[Cell, Path], an_account: Accounts, evaluation: Evaluation, whole: bytes
) -> None:
    """One bit after the other is flipped: what is read is what was written, or refused."""
    cell, path = published
    positions = range(0, len(whole), 7)
    refused = 0
    for position in positions:
        content = bytearray(whole)
        content[position] ^= 1 << position % 8
        path.write_bytes(content)
        try:
            assert evaluations.account(cell) == an_account(cell)
            rows = evaluations.evaluation(cell)
        except (DamagedFileError, NewerFormatError):
            refused += 1
        else:
            assert_same(rows, evaluation)
    assert refused > 0.7 * len(positions)


@given(content=st.binary(max_size=300))
@once
def test_foreign_bytes_are_refused(evaluations: Evaluations, published: tuple[Cell, Path], content: bytes) -> None:
    cell, path = published
    for end in (b"", len(content).to_bytes(4, "little") + b"PAR1"):
        path.write_bytes(content + end)
        for read in (evaluations.account, evaluations.evaluation, evaluations.content):
            with pytest.raises(DamagedFileError):
                read(cell)


def test_an_account_with_numbers_json_has_not_is_not_published(
    evaluations: Evaluations, a_cell: Cells, an_account: Accounts
) -> None:
    cell = a_cell()
    with pytest.raises(ValueError, match="JSON"):
        evaluations.publish(cell.recipe, replace(an_account(cell), metrics={"uniform_accuracy": float("nan")}), None)
    assert evaluations.ids() == set()


# The rows of the validation split


@pytest.fixture
def both(
    evaluations: Evaluations, a_cell: Cells, an_account: Accounts, drawn: Callable[..., Evaluation]
) -> tuple[Cell, Path, Path]:
    """A cell, its file, and the file of its validation rows."""
    cell = a_cell()
    path = evaluations.publish(cell.recipe, an_account(cell), drawn(), drawn(20, seed=1))
    assert isinstance(path, Path)
    return cell, path, path.parents[4] / "validation" / evaluations.name(cell)


def test_validation_rows_come_back_from_a_file_of_the_same_name_beside(
    evaluations: Evaluations, both: tuple[Cell, Path, Path], drawn: Callable[..., Evaluation]
) -> None:
    cell, path, beside = both
    found = evaluations.validation(cell)
    assert found is not None
    assert_same(found, drawn(20, seed=1))
    assert_same(evaluations.evaluation(cell), drawn())
    assert evaluations.account(cell).validation_sha256 == hashlib.sha256(beside.read_bytes()).hexdigest()
    assert beside.relative_to(beside.parents[4]).parts[1:] == path.relative_to(path.parents[4]).parts[1:]
    assert list(zip(pq.read_schema(beside).names, pq.read_schema(beside).types, strict=True)) == list(COLUMNS.items())


def test_rows_kept_apart_lie_in_a_file_of_their_own_that_the_account_speaks_of(
    evaluations: Evaluations, a_cell: Cells, an_account: Accounts, drawn: Callable[..., Evaluation]
) -> None:
    cell = a_cell()
    plain = evaluations.publish(cell.recipe, an_account(cell), drawn(), drawn(20, seed=1))
    assert isinstance(plain, Path)
    before = pq.read_metadata(plain).metadata[b"cell"]
    assert b"certification" not in before
    assert evaluations.account(cell).version == 3
    assert evaluations.certification(cell) is None
    evaluations.publish(cell.recipe, an_account(cell), drawn(), drawn(20, seed=1), drawn(30, seed=2))
    beside = evaluations.folder.parent / "certification" / evaluations.name(cell)
    assert isinstance(beside, Path)
    account = evaluations.account(cell)
    assert (account.version, account.certification_sha256) == (VERSION, hashlib.sha256(beside.read_bytes()).hexdigest())
    found = evaluations.certification(cell)
    assert found is not None
    assert_same(found, drawn(30, seed=2))
    assert len(pd.read_parquet(evaluations.folder)) == 50
    whole = evaluations.checked(evaluations.name(cell))
    other = Evaluations(evaluations.folder.parent / "other" / "evaluations")
    other.take(evaluations.name(cell), whole)
    copied = other.certification(cell)
    assert copied is not None
    assert_same(copied, found)
    beside.unlink()
    for read in (lambda: evaluations.certification(cell), lambda: evaluations.checked(evaluations.name(cell))):
        with pytest.raises(LostRowsError, match="is missing: the certification rows that"):
            read()


def test_groups_come_back_with_the_rows_and_change_no_column(
    evaluations: Evaluations, a_cell: Cells, an_account: Accounts, drawn: Callable[..., Evaluation]
) -> None:
    cell = a_cell()
    groups = (np.arange(50, dtype=np.int32) * 7) % 20
    test = replace(drawn(), group=groups)
    validation = replace(drawn(20, seed=1), group=groups[:20])
    path = evaluations.publish(cell.recipe, an_account(cell), test, validation, replace(test, group=groups[::-1]))
    assert isinstance(path, Path)
    assert_same(evaluations.evaluation(cell), test)
    for found, expected in (
        (evaluations.validation(cell), groups[:20]),
        (evaluations.certification(cell), groups[::-1]),
    ):
        assert found is not None
        assert found.group is not None
        assert found.group.tolist() == expected.tolist()
    assert pq.read_schema(path).names == list(COLUMNS)
    account = evaluations.account(cell)
    assert account.version == VERSION
    assert account.group_sha256 == hashlib.sha256(groups.astype("<i4").tobytes()).hexdigest()
    table = evaluations.checked(evaluations.name(cell)).rows
    assert table.num_rows == 50


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (None, "of another checksum"),
        ("AAAA", "cannot be read"),
        ("other", "of another checksum"),
        ("few", "groups of other rows than its 50"),
        ("many", "groups of other rows than its 50"),
    ],
)
def test_groups_that_are_not_those_of_the_account_are_damage(
    evaluations: Evaluations, published: tuple[Cell, Path], an_account: Accounts, groups: str | None, said: str
) -> None:
    cell, _ = published
    test = replace(evaluations.evaluation(cell), group=np.arange(50, dtype=np.int32) // 2)
    written = {"other": np.arange(50, dtype="<i4"), "few": np.arange(5, dtype="<i4"), "many": np.zeros(10**7, "<i4")}
    if groups in written:
        groups = b64encode(compress(written[groups].tobytes())).decode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_file, "_groups", lambda _: {} if groups is None else {"groups": groups})
        evaluations.publish(cell.recipe, an_account(cell), test)
    with pytest.raises(DamagedFileError, match=said):
        evaluations.evaluation(cell)


def test_a_scan_of_the_folder_meets_test_rows_only(evaluations: Evaluations, both: tuple[Cell, Path, Path]) -> None:
    assert len(pd.read_parquet(evaluations.folder)) == 50
    assert len(pd.read_parquet(evaluations.validations.root)) == 20
    assert evaluations.ids() == {both[0].id}


def test_files_of_many_and_of_few_classes_are_one_dataset(
    evaluations: Evaluations, both: tuple[Cell, Path, Path], a_cell: Cells, an_account: Accounts, drawn: Any
) -> None:
    many = a_cell(dataset="cifar100")
    rows = drawn(30, classes=120)
    evaluations.publish(many.recipe, an_account(many, samples=30, classes=120), rows)
    assert evaluations.account(many).scores == "top"
    assert_same(evaluations.evaluation(many), rows)
    found = pd.read_parquet(evaluations.folder, columns=["scores", "classes"])
    assert (len(found), found["classes"].isna().sum()) == (80, 50)
    assert both[0].id != many.id


def test_the_scores_are_left_out_where_they_are_not_wanted(
    evaluations: Evaluations, both: tuple[Cell, Path, Path], drawn: Callable[..., Evaluation]
) -> None:
    assert_same(evaluations.evaluation(both[0], scores=False), replace(drawn(), scores=None))


@pytest.mark.parametrize("damage", ["missing", "cut", "one bit", "of another cell"])
def test_validation_rows_that_are_not_those_are_never_read(
    evaluations: Evaluations, both: tuple[Cell, Path, Path], drawn: Callable[..., Evaluation], damage: str
) -> None:
    cell, _, beside = both
    content = bytearray(beside.read_bytes())
    content[100] ^= 1
    damaged = {
        "cut": beside.read_bytes()[:-1],
        "one bit": bytes(content),
        "of another cell": encoded_rows("0" * 64, "validation", drawn(20, seed=1)),
    }
    beside.unlink() if damage == "missing" else beside.write_bytes(damaged[damage])
    said = "is missing: the validation rows" if damage == "missing" else "is not the file of validation rows"
    for read in (lambda: evaluations.validation(cell), lambda: evaluations.checked(evaluations.name(cell))):
        with pytest.raises(DamagedFileError, match=f"{cell.id}.parquet {said} that .*{cell.id}.parquet speaks of"):
            read()
    assert_same(evaluations.evaluation(cell), drawn())


@pytest.mark.parametrize(
    "changes",
    [
        {"scores": None},
        {"classes": np.zeros((20, 10), np.int32)},
        {"runner_up": None},
        {"scores": np.zeros((20, 9), np.float32)},
    ],
)
def test_rows_of_another_kind_than_the_account_speaks_of_are_refused(
    evaluations: Evaluations, a_cell: Cells, an_account: Accounts, drawn: Any, changes: dict[str, Any]
) -> None:
    cell = a_cell()
    rows = drawn(20)
    evaluations.publish(cell.recipe, an_account(cell, samples=20), rows, replace(rows, **changes))
    with pytest.raises(DamagedFileError, match="does not hold rows of the kind"):
        evaluations.validation(cell)
    other = a_cell(seed=1)
    path = evaluations.publish(other.recipe, an_account(other, samples=20), rows)
    path.write_bytes(encoded(an_account(other, samples=20), replace(rows, **changes)))
    with pytest.raises(DamagedFileError, match="does not hold the rows"):
        evaluations.evaluation(other)


def test_an_attempt_killed_between_the_two_files_leaves_no_cell_and_the_next_writes_the_same(
    evaluations: Evaluations, both: tuple[Cell, Path, Path], an_account: Accounts, drawn: Any
) -> None:
    cell, path, beside = both
    before = beside.read_bytes()
    path.unlink()
    assert (evaluations.ids(), list(evaluations.accounts())) == (set(), [])
    evaluations.publish(cell.recipe, an_account(cell, started=2.0, seconds=9.0), drawn(), drawn(20, seed=1))
    assert beside.read_bytes() == before
    assert evaluations.validation(cell) is not None


def test_a_cell_is_not_done_before_its_validation_rows_are_there(
    evaluations: Evaluations, a_cell: Cells, an_account: Accounts, drawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = a_cell()
    written = list[str]()
    write = Storage.write

    def noted(storage: Storage, name: str, content: bytes) -> None:
        written.append(storage.root.name)
        write(storage, name, content)

    monkeypatch.setattr(Storage, "write", noted)
    evaluations.publish(cell.recipe, an_account(cell), drawn(), drawn(20))
    assert written[-2:] == ["validation", "evaluations"]


def test_validation_rows_lie_in_an_object_store_as_well(
    place: Location, a_cell: Cells, an_account: Accounts, drawn: Any
) -> None:
    cell = a_cell()
    evaluations = Evaluations(place / "evaluations")
    evaluations.publish(cell.recipe, an_account(cell), drawn(), drawn(20, seed=1))
    found = evaluations.validation(cell)
    assert found is not None
    assert_same(found, drawn(20, seed=1))
    evaluations.validations.delete(evaluations.name(cell))
    with pytest.raises(DamagedFileError, match="is missing"):
        evaluations.validation(cell)
