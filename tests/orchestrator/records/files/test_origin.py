"""Which cells were trained here: a file says so by a signature, and nothing that is deleted makes it say so."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.analysis.comparison import compare
from orchestrator.analysis.imported import ImportedCells
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Plan, plan
from orchestrator.launching.run_plan import note_rerun
from orchestrator.records.files import origin
from orchestrator.records.files.cell_file import encoded
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.import_cells import import_
from orchestrator.records.files.origin import Origins, ensure_secret, signature
from orchestrator.records.files.publication import export
from orchestrator.records.files.results import aggregate
from orchestrator.records.files.storage import Storage
from orchestrator.reproduction.verification import TrainedFiles, origins
from orchestrator.reproduction.verification import compare as rerun
from orchestrator.stores import Stores
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.records.files.evaluations import Account
    from orchestrator.workspace import Location
    from trainers.evaluation import Evaluation

CELLS = 4


@pytest.fixture
def asked() -> Plan:
    fields = {"name": "asked", "losses": ["softmax", "bce_unified"], "backbones": ["resnet8"], "datasets": ["digits"]}
    return plan(Experiment.model_validate({**fields, "seeds": CELLS // 2, "baseline": "softmax"}))


@pytest.fixture
def theirs(
    asked: Plan, an_account: Callable[..., Account], drawn: Callable[..., Evaluation], tmp_path: Path
) -> Workspace:
    """A colleague's workspace."""
    place = Workspace(tmp_path / "theirs")
    for seed, cell in enumerate(asked.cells):
        rows = drawn(seed=seed)
        Evaluations(place.evaluations).publish(cell.recipe, an_account(cell, rows), rows)
    return place


@pytest.fixture
def ours(asked: Plan, theirs: Workspace, place: Location, tmp_path: Path) -> Evaluations:
    """A workspace into which that was imported."""
    export(asked, theirs, tmp_path / "out")
    evaluations = Evaluations(Workspace(place).evaluations)
    assert len(import_(tmp_path / "out", evaluations).taken) == CELLS
    return evaluations


def told(asked: Plan, evaluations: Evaluations) -> list[str]:
    return [row["origin"] for row in aggregate(asked, evaluations).rows()]


def test_cells_are_here_where_they_were_trained_and_unverified_where_they_were_imported(
    asked: Plan, theirs: Workspace, ours: Evaluations
) -> None:
    assert told(asked, Evaluations(theirs.evaluations)) == ["here"] * CELLS
    assert told(asked, ours) == ["unverified"] * CELLS


def test_the_secret_is_not_exported(theirs: Workspace, ours: Evaluations, tmp_path: Path) -> None:
    assert isinstance(theirs.root, Path)
    key = (theirs.root / "origin.key").read_bytes()
    assert len(key) == 64
    assert not any(key in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert ours.ids()


def test_a_secret_that_another_process_makes_meanwhile_is_the_secret_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Storage.read
    asked = list[str]()

    def late(self: Storage, name: str) -> bytes | None:
        """As for one who looks just before the other writes."""
        asked.append(name)
        return None if len(asked) == 1 else read(self, name)

    first = ensure_secret(tmp_path)
    monkeypatch.setattr(Storage, "read", late)
    assert ensure_secret(tmp_path) == first == (tmp_path / "origin.key").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["origin.key"]


def test_where_files_cannot_be_linked_there_is_a_secret_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    first = ensure_secret(tmp_path)
    Storage(tmp_path).create("origin.key", b"another")
    assert len(first) == 64
    assert ensure_secret(tmp_path) == first


@pytest.mark.parametrize("spoilt", [b"", b"\n", b"abc", 64 * b"x", 63 * b"a"])
def test_a_file_without_a_secret_is_replaced_and_makes_nobodys_cells_ours(
    spoilt: bytes, asked: Plan, theirs: Workspace, an_account: Callable[..., Account], drawn: Callable[..., Evaluation]
) -> None:
    cell = asked.cells[0]
    rows = drawn()
    assert isinstance(theirs.root, Path)
    evaluations = Evaluations(theirs.evaluations)
    (theirs.root / "origin.key").write_bytes(spoilt)
    (theirs.root / "evaluations" / evaluations.name(cell)).write_bytes(encoded(an_account(cell, rows), rows, spoilt))
    assert told(asked, evaluations) == ["unverified"] * CELLS
    made = ensure_secret(theirs.root)
    assert len(made) == 64
    assert made == ensure_secret(theirs.root) == (theirs.root / "origin.key").read_bytes() != spoilt
    assert told(asked, evaluations) == ["unverified"] * CELLS


def test_a_prepared_workspace_has_its_secret_before_any_worker_runs(tmp_path: Path) -> None:
    Stores(Workspace(tmp_path / "runs")).prepare()
    key = (tmp_path / "runs" / "origin.key").read_bytes()
    assert len(key) == 64
    Stores(Workspace(tmp_path / "runs")).prepare()
    assert (tmp_path / "runs" / "origin.key").read_bytes() == key


def test_a_rerun_with_the_same_numbers_verifies_what_came_with_the_cell(asked: Plan, ours: Evaluations) -> None:
    cell = asked.cells[0]
    left = TrainedFiles.of(cell, ours)
    note_rerun(cell, ours, rerun(left, left))
    assert told(asked, ours) == ["verified"] * CELLS


def test_a_rerun_with_other_numbers_verifies_nothing_even_beside_one_with_the_same(
    asked: Plan, ours: Evaluations
) -> None:
    for cell, seconds in zip(asked.cells, ([1.0], [2.0]), strict=False):
        left = TrainedFiles.of(cell, ours)
        other = left._replace(account=replace(left.account, learned_bias=seconds if cell is asked.cells[1] else []))
        note_rerun(cell, ours, rerun(left, other))
    assert told(asked, ours) == ["verified", *["unverified"] * (CELLS - 1)]
    note_rerun(asked.cells[2], ours, "It failed: memory")
    assert told(asked, ours) == ["verified", *["unverified"] * (CELLS - 1)]


def test_the_origins_of_a_plan_are_those_of_its_files(asked: Plan, theirs: Workspace, ours: Evaluations) -> None:
    damaged = asked.cells[3]
    ours.storage.write(ours.name(damaged), b"damaged")
    assert origins(asked, ours) == {cell.id: "unverified" for cell in asked.cells[:3]}
    assert set(origins(asked, Evaluations(theirs.evaluations)).values()) == {"here"}


def test_whoever_deletes_records_makes_nothing_verified(asked: Plan, ours: Evaluations) -> None:
    left = TrainedFiles.of(asked.cells[0], ours)
    note_rerun(asked.cells[0], ours, rerun(left, left))
    storage = origin.Storage(ours.folder.parent)
    for file in list(storage.list("imports")):
        storage.delete(file.name)
    assert told(asked, ours) == ["verified", *["unverified"] * (CELLS - 1)]
    for file in list(storage.list("marks")):
        storage.delete(file.name)
    assert told(asked, ours) == ["unverified"] * CELLS
    storage.write("imports/nonsense.json", b"[")
    storage.delete("origin.key")
    assert told(asked, ours) == ["unverified"] * CELLS


def test_without_its_secret_a_workspace_knows_none_of_its_cells(asked: Plan, theirs: Workspace) -> None:
    assert isinstance(theirs.root, Path)
    (theirs.root / "origin.key").unlink()
    assert told(asked, Evaluations(theirs.evaluations)) == ["unverified"] * CELLS
    ensure_secret(theirs.root)
    assert told(asked, Evaluations(theirs.evaluations)) == ["unverified"] * CELLS


def test_a_signature_is_of_one_account_and_its_rows(
    asked: Plan, theirs: Workspace, an_account: Callable[..., Account], drawn: Callable[..., Evaluation]
) -> None:
    """Nobody who knows a signed file can sign another: not with the signature, and not without the secret."""
    evaluations = Evaluations(theirs.evaluations)
    cell = asked.cells[0]
    assert isinstance(theirs.root, Path)
    signed = evaluations.footer(cell).signed
    other = drawn(seed=9)
    path = theirs.root / "evaluations" / evaluations.name(cell)
    path.write_bytes(encoded(an_account(cell, other), other, b"another secret"))
    footer = evaluations.footer(cell)
    origins = Origins.of(theirs.root)
    assert [origins.origin(footer.seal, mark) for mark in (footer.signed, signed, None, "")] == ["unverified"] * 4
    assert origins.origin(footer.seal, signature(ensure_secret(theirs.root), footer.seal or "")) == "here"
    assert Origins(b"", ()).origin(footer.seal, signature(b"", footer.seal or "")) == "unverified"


def test_own_cells_that_come_back_by_an_export_are_ours(asked: Plan, theirs: Workspace, tmp_path: Path) -> None:
    export(asked, theirs, tmp_path / "out")
    assert isinstance(theirs.root, Path)
    shutil.rmtree(theirs.root / "evaluations")
    assert len(import_(tmp_path / "out", Evaluations(theirs.evaluations)).taken) == CELLS
    assert told(asked, Evaluations(theirs.evaluations)) == ["here"] * CELLS


def test_an_import_is_recorded_with_its_source_and_time(ours: Evaluations, tmp_path: Path) -> None:
    storage = origin.Storage(ours.folder.parent)
    (file,) = storage.list("imports")
    content = origin.json.loads(storage.read(file.name) or b"")
    assert content["from"] == str(tmp_path / "out")
    assert content["imported"].endswith("+00:00")
    assert "git_commit" in content["export"]
    assert set(content["cells"]) == ours.ids()


# What a reader is told


def test_a_comparison_counts_imported_cells_and_names_what_the_sender_states(asked: Plan, ours: Evaluations) -> None:
    found = compare(asked.experiment, aggregate(asked, ours).rows())
    assert found.imported is not None
    assert (found.imported.cells, found.imported.of, found.imported.unverified) == (CELLS, CELLS, CELLS)
    assert {"compactness", "nc1", "temperature"} <= set(found.imported.stated)
    assert "uniform_accuracy" not in found.imported.stated
    said = " ".join(found.imported.told())
    assert "Imported cells: 4 of 4. Unverified, because no sample was rerun here with the same numbers: 4." in said
    assert "as stated by the sender" in said
    told: dict[str, Any] = found.to_json()["imported"]
    assert (told["cells"], told["unverified"]) == (CELLS, CELLS)


def test_that_imported_cells_diverged_is_as_their_sender_states(
    asked: Plan, an_account: Callable[..., Account], tmp_path: Path
) -> None:
    theirs = Workspace(tmp_path / "lost")
    ours = Evaluations(tmp_path / "ours" / "evaluations")
    for cell in asked.cells:
        account = an_account(cell, state="diverged", metrics={}, samples=0)
        Evaluations(theirs.evaluations).publish(cell.recipe, account, None)
    export(asked, theirs, tmp_path / "lost.out")
    assert len(import_(tmp_path / "lost.out", ours).taken) == CELLS
    found = ImportedCells.among(aggregate(asked, ours).rows())
    assert found is not None
    assert (found.diverged, found.unverified) == (CELLS, CELLS)
    assert "Imported cells that diverged, as stated by the sender and not shown by any row: 4 of 4." in found.told()
    assert found.to_json()["diverged"] == CELLS


def test_of_cells_trained_here_nothing_is_said(asked: Plan, theirs: Workspace) -> None:
    rows = aggregate(asked, Evaluations(theirs.evaluations)).rows()
    assert ImportedCells.among(rows) is None
    assert compare(asked.experiment, rows).imported is None
