"""An exported folder: everything is in it, programs can read its description, and a colleague's cells are done."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import frictionless
import jsonschema
import mlcroissant
import pandas as pd
import pytest

from orchestrator.errors import RequestError
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Plan, plan
from orchestrator.experiment.reading import load
from orchestrator.records.files import command_logs, left_files
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.import_cells import import_
from orchestrator.records.files.publication import Exported, export
from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.experiment.plan import Cell
    from orchestrator.records.files.evaluations import Account
    from orchestrator.workspace import Location
    from trainers.evaluation import Evaluation

    Publish = Callable[..., None]


@pytest.fixture
def asked() -> Plan:
    return plan(
        Experiment.model_validate(
            {
                "name": "Asked",
                "question": "Is it better?",
                "losses": ["softmax", {"name": "bce_unified", "as": "ours", "bias_init": 1.5}],
                "backbones": ["torchvision:resnet18"],
                "datasets": ["digits"],
                "seeds": [3, 7],
                "recipe": {"epochs": 5, "milestones": [0.5]},
                "overrides": [{"where": {"loss": "ours"}, "recipe": {"learning_rate": 0.1}}],
                "baseline": "softmax",
                "claims": [
                    {
                        "id": "c1",
                        "metric": "uniform_accuracy",
                        "challenger": "ours",
                        "baseline": "softmax",
                        "direction": "higher",
                    }
                ],
            }
        )
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "runs")


@pytest.fixture
def publish(
    workspace: Workspace,
    an_account: Callable[..., Account],
    evaluation: Evaluation,
    drawn: Callable[..., Evaluation],
) -> Publish:
    def publish(cell: Cell, place: Workspace = workspace, **changes: Any) -> None:
        account = an_account(cell, evaluation, drawn(20, seed=1), **changes)
        rows, validation = (evaluation, drawn(20, seed=1)) if account.state == "finished" else (None, None)
        Evaluations(place.evaluations).publish(cell.recipe, account, rows, validation)

    return publish


@pytest.fixture
def folder(asked: Plan, workspace: Workspace, publish: Publish, tmp_path: Path) -> Path:
    """What is exported of three cells of four, one of which diverged, and a report."""
    for cell in asked.cells[:2]:
        publish(cell)
    publish(asked.cells[2], state="diverged", metrics={}, samples=0)
    Storage(workspace.root).write("reports/Asked/index.html", b"<html>")
    assert export(asked, workspace, tmp_path / "out") == Exported(3, 1, ())
    return tmp_path / "out"


def test_the_names_of_classes_go_with_it(asked: Plan, workspace: Workspace, publish: Publish, tmp_path: Path) -> None:
    names = [f"kind {number}" for number in range(10)]
    publish(asked.cells[0], provenance={"git_commit": "abc", "class_names": names})
    export(asked, workspace, tmp_path / "named")
    table = pd.read_csv(tmp_path / "named" / "classes.csv")
    assert table.to_dict("list") == {"dataset": ["digits"] * 10, "label": [*range(10)], "class": names}
    card = (tmp_path / "named" / "README.md").read_text()
    assert f"- Classes of digits: {', '.join(names)}.\n- Models trained" in card
    assert "| `classes.csv` | the names of the classes by data set and label |\n| `experiment.yaml`" in card
    described = json.loads((tmp_path / "named" / "datapackage.json").read_text())
    assert "classes" in [resource["name"] for resource in described["resources"]]


def test_everything_is_there(folder: Path, asked: Plan) -> None:
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there - {"requirements.lock"} == {
        "README.md",
        "SHA256SUMS",
        "croissant.json",
        "datapackage.json",
        "experiment.yaml",
        "provenance.json",
        "report/index.html",
        "results.csv",
        "results.parquet",
        *(f"evaluations/{Evaluations(folder).name(cell)}" for cell in asked.cells[:3]),
        *(f"validation/{Evaluations(folder).name(cell)}" for cell in asked.cells[:2]),
    }


def test_the_experiment_comes_back_with_every_cell(folder: Path, asked: Plan) -> None:
    back = plan(load(folder / "experiment.yaml"))
    assert back == asked


def test_the_table_is_that_of_the_cells_in_the_folder(folder: Path, asked: Plan) -> None:
    table = pd.read_parquet(folder / "results.parquet")
    assert set(table["cell_id"]) == {cell.id for cell in asked.cells[:3]}
    text = pd.read_csv(folder / "results.csv")
    assert text["cell_id"].tolist() == table["cell_id"].tolist()
    assert len(pd.read_parquet(folder / "evaluations")) == 100
    assert len(pd.read_parquet(folder / "validation")) == 40


def test_provenance_is_told_of_the_export_and_of_each_cell(folder: Path, asked: Plan) -> None:
    told = json.loads((folder / "provenance.json").read_bytes())
    assert told["cells"] == {cell.id: {"git_commit": "abc", "threads": 1, "devices": 1} for cell in asked.cells[:3]}
    assert "git_commit" in told["export"]


def test_the_card_says_what_people_ask_first(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    for part in (
        "# Asked",
        "Is it better?",
        "softmax, ours",
        "2 finished, 0 collapsed, 1 diverged, 1 missing",
        "`uniform_accuracy`",
    ):
        assert part in card


def test_the_checksums_are_those_of_sha256sum(folder: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True, check=True
    )
    assert len(done.stdout.splitlines()) == len([path for path in folder.rglob("*") if path.is_file()]) - 1


PATH = {"type": "string", "pattern": r"^(?=[^./~])(?!file:)((?!\/\.\.\/)(?!\\)(?!:\/\/).)*$"}
KINDS = ["string", "number", "integer", "boolean", "object", "array", "any"]
RULES = {
    "type": "object",
    "required": ["resources"],
    "properties": {
        "$schema": {"const": "https://datapackage.org/profiles/2.0/datapackage.json"},
        "name": {"type": "string", "pattern": "^([-a-z0-9._/])+$"},
        "title": {"type": "string"},
        "description": {"type": "string"},
        "created": {"type": "string", "format": "date-time"},
        "resources": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "path"],
                "properties": {
                    "name": {"type": "string", "pattern": "^([-a-z0-9._/])+$"},
                    "path": {"oneOf": [PATH, {"type": "array", "minItems": 1, "items": PATH}]},
                    "type": {"enum": ["table"]},
                    "format": {"type": "string"},
                    "mediatype": {"type": "string", "pattern": "^(.+)/(.+)$"},
                    "hash": {"type": "string", "pattern": "^([^:]+:[a-fA-F0-9]+|[a-fA-F0-9]{32}|)$"},
                    "schema": {
                        "type": "object",
                        "required": ["fields"],
                        "properties": {
                            "fields": {
                                "type": "array",
                                "minItems": 1,
                                "items": {
                                    "type": "object",
                                    "required": ["name"],
                                    "properties": {
                                        "name": {"type": "string"},
                                        "type": {"enum": KINDS},
                                        "description": {"type": "string"},
                                    },
                                    "additionalProperties": False,
                                },
                            }
                        },
                        "additionalProperties": False,
                    },
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}
"""The Data Package standard's rules (datapackage.org/profiles/2.0) on what we write; nothing else may be written."""


def test_the_description_follows_the_data_package_standard(folder: Path) -> None:
    package = json.loads((folder / "datapackage.json").read_bytes())
    jsonschema.validate(package, RULES, format_checker=jsonschema.FormatChecker())
    names = [resource["name"] for resource in package["resources"]]
    assert len(set(names)) == len(names)
    for resource in package["resources"]:
        paths = [resource["path"]] if isinstance(resource["path"], str) else resource["path"]
        for path in paths:
            assert (folder / path).is_file()
            fields = [field["name"] for field in resource["schema"]["fields"]]
            read = pd.read_csv if path.endswith(".csv") else pd.read_parquet
            assert [name for name in read(folder / path).columns if name not in ("dataset", "backbone", "loss")] == [
                name for name in fields if name not in ("dataset", "backbone", "loss")
            ]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever would use the network is refused."""

    def refuse(*_: object) -> None:
        raise OSError("a validator wants the network")

    for method in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, method, refuse)


@pytest.mark.usefixtures("offline")
def test_frictionless_finds_no_error_in_the_description_and_in_the_rows(folder: Path) -> None:
    report = frictionless.validate(str(folder / "datapackage.json"))
    assert (report.errors, [error for task in report.tasks for error in task.errors]) == ([], [])
    assert {task.name: task.stats["rows"] for task in report.tasks} == {
        "results": 3,
        "results-csv": 3,
        "samples": 50,
        "validation-samples": 20,
    }
    # Of a Parquet resource in several files it reads the first; so it is given each.
    package = json.loads((folder / "datapackage.json").read_bytes())
    schema = frictionless.Schema.from_descriptor(package["resources"][2]["schema"])
    for path in [*package["resources"][2]["path"], *package["resources"][3]["path"]]:
        one = frictionless.Resource(path=path, basepath=str(folder), schema=schema).validate()
        assert one.valid, one.to_summary()


@pytest.mark.usefixtures("offline")
def test_frictionless_would_find_an_error(folder: Path) -> None:
    csv = (folder / "results.csv").read_text()
    (folder / "results.csv").write_text(csv.replace("softmax", "other", 1))
    report = frictionless.validate(str(folder / "datapackage.json"))
    assert [error.type for task in report.tasks for error in task.errors] == ["hash-count"]


@pytest.mark.usefixtures("offline")
# mlcroissant's use of rdflib and of pandas
@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.reset_index:DeprecationWarning")
def test_mlcroissant_finds_no_error_and_reads_every_row(folder: Path, asked: Plan) -> None:
    dataset = mlcroissant.Dataset(folder / "croissant.json")
    issues = dataset.metadata.ctx.issues
    assert not issues.errors
    # Only whoever publishes can say these.
    missing = ("citeAs", "datePublished", "license", "version")
    assert all(any(word in warning for word in missing) for warning in issues.warnings), issues.warnings
    table = pd.read_parquet(folder / "results.parquet")
    results = list(dataset.records("results"))
    assert [row["results/cell_id"].decode() for row in results] == table["cell_id"].tolist()
    assert [row["results/compactness"] for row in results] == [0.5, 0.5, None]
    samples = list(dataset.records("samples"))
    assert len(samples) == 100
    assert {row["samples/cell_id"].decode() for row in samples} == {cell.id for cell in asked.cells[:2]}
    assert {len(row["samples/scores"]) for row in samples} == {10}
    assert len(list(dataset.records("validation_samples"))) == 40


def test_a_folder_that_holds_something_is_left_alone(asked: Plan, workspace: Workspace, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(RequestError, match="is not empty"):
        export(asked, workspace, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_nothing_done_is_nothing_to_export(asked: Plan, workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="No cell of 'Asked' is done"):
        export(asked, workspace, tmp_path / "out")


def test_a_damaged_cell_is_named_set_aside_and_not_exported(
    asked: Plan, workspace: Workspace, publish: Publish, tmp_path: Path
) -> None:
    for cell in asked.cells:
        publish(cell)
    evaluations = Evaluations(workspace.evaluations)
    name = evaluations.name(asked.cells[0])
    content = bytearray(evaluations.storage.read(name) or b"")
    content[100] ^= 1  # in the rows, of which the footer knows only the checksum
    evaluations.storage.write(name, bytes(content))
    told = export(asked, workspace, tmp_path / "out")
    assert (told.cells, told.missing) == (3, 1)
    assert "set aside" in told.damaged[0]
    assert asked.cells[0].id not in evaluations.ids()


# Import


def test_imported_cells_are_done_with_the_same_bytes(folder: Path, asked: Plan, place: Location) -> None:
    theirs = Evaluations(folder / "evaluations")
    ours = Evaluations(Workspace(place).evaluations)
    told = import_(folder, ours)
    assert (set(told.taken), told.present, told.problems) == ({cell.id for cell in asked.cells[:3]}, (), ())
    assert ours.ids() == theirs.ids()
    for name in theirs.names():
        assert ours.storage.read(name) == theirs.storage.read(name)
        assert ours.validations.read(name) == theirs.validations.read(name)
    assert len(list(ours.validations.list())) == 2
    again = import_(folder, ours)
    assert (again.taken, set(again.present), again.problems) == ((), theirs.ids(), ())


@pytest.fixture
def by_command(workspace: Workspace, publish: Publish, tmp_path: Path) -> tuple[Plan, Path]:
    """An exported study of a command, of which one cell left a model, and both printed something."""
    asked = plan(
        Experiment.model_validate(
            {
                "name": "Mine",
                "trainer": {"command": ["true", "{loss}", "{out}"]},
                "losses": ["a", "b"],
                "backbones": ["mine"],
                "datasets": ["mine"],
                "seeds": [0],
                "baseline": "a",
            }
        )
    )
    evaluations = Evaluations(workspace.evaluations)
    for number, cell in enumerate(asked.cells):
        left = {"sha256": sha256(b"a model").hexdigest()} if number else None
        publish(cell, provenance={"model": left})
        command_logs.keep(workspace, cell.id, f"printed {number}")
        if number:
            Storage(workspace.root).write(left_files.model_of(evaluations.name(cell)), b"a model")
    export(asked, workspace, tmp_path / "mine")
    return asked, tmp_path / "mine"


def test_what_commands_printed_and_left_comes_along(by_command: tuple[Plan, Path], place: Location) -> None:
    asked, folder = by_command
    ours = Workspace(place)
    told = import_(folder, Evaluations(ours.evaluations))
    assert (set(told.taken), told.problems) == ({cell.id for cell in asked.cells}, ())
    assert [command_logs.printed(ours, cell.id) for cell in asked.cells] == ["printed 0", "printed 1"]
    (model,) = [file.name for file in Storage(ours.models).list()]
    assert model.endswith(f"{asked.cells[1].id}.onnx")
    assert Storage(ours.models).read(model) == b"a model"
    assert import_(folder, Evaluations(ours.evaluations)).problems == ()


def test_what_a_command_left_is_taken_if_it_is_whole_and_nothing_here_is_lost(
    by_command: tuple[Plan, Path], tmp_path: Path
) -> None:
    asked, folder = by_command
    first, second = (cell.id for cell in asked.cells)
    ours = Workspace(tmp_path / "ours")
    command_logs.keep(ours, first, "our own attempt")
    (model,) = (folder / "models").rglob("*.onnx")
    model.write_bytes(b"another model")
    (folder / "logs" / f"{second}.txt").write_text("altered", encoding="utf-8")
    told = import_(folder, Evaluations(ours.evaluations))
    assert set(told.taken) == {first, second}
    assert sorted(problem.partition(" ")[0].rpartition("/")[2] for problem in told.problems) == sorted(
        [f"{first}.txt", f"{second}.txt", f"{second}.onnx"]
    )
    assert f"logs/{first}.txt is there already, with other content, and stays as it is." in told.problems
    assert command_logs.printed(ours, first) == "our own attempt"
    with pytest.raises(RequestError, match="No output of a cell"):
        command_logs.printed(ours, second)
    assert list(Storage(ours.models).list()) == []


def test_an_exported_object_store_workspace_is_imported(
    asked: Plan, place: Location, publish: Publish, tmp_path: Path
) -> None:
    for cell in asked.cells:
        publish(cell, place=Workspace(place))
    export(asked, Workspace(place), tmp_path / "out")
    assert len(import_(tmp_path / "out", Evaluations(tmp_path / "ours")).taken) == 4


def test_a_cell_trained_here_as_well_is_named_and_kept(
    folder: Path, asked: Plan, publish: Publish, tmp_path: Path
) -> None:
    here = Workspace(tmp_path / "here")
    publish(asked.cells[0], place=here, seconds=9.0)
    publish(asked.cells[1], place=here, state="diverged", metrics={}, samples=0)
    ours = Evaluations(here.evaluations)
    before = {name: ours.storage.read(name) for name in ours.names()}
    told = import_(folder, ours)
    assert told.taken == (asked.cells[2].id,)
    assert sorted(problem.partition("training with ")[2] for problem in told.problems) == [
        "other scores, and stays as it is.",
        "the same scores, and stays as it is.",
    ]
    assert {name: ours.storage.read(name) for name in before} == before


def test_what_was_altered_is_named_and_left_out(folder: Path, asked: Plan, tmp_path: Path) -> None:
    names = [f"evaluations/{Evaluations(folder).name(cell)}" for cell in asked.cells[:3]]
    altered = bytearray((folder / names[0]).read_bytes())
    altered[100] ^= 1
    (folder / names[0]).write_bytes(altered)
    (folder / names[1]).unlink()
    (folder / "README.md").write_text("mine")
    told = import_(folder, Evaluations(tmp_path / "ours"))
    assert told.taken == (asked.cells[2].id,)
    assert len(told.problems) == 3
    for name, said in [(names[0], "was altered"), (names[1], "is missing"), ("README.md", "was altered")]:
        assert any(name in problem and said in problem for problem in told.problems)


def test_a_cell_that_is_not_what_its_name_says_is_named_and_left_out(folder: Path, asked: Plan, tmp_path: Path) -> None:
    """Also where whoever put it there made the checksums fit."""
    first, second = (folder / "evaluations" / Evaluations(folder).name(cell) for cell in asked.cells[:2])
    shutil.copy(first, second)
    first.with_name("0.parquet").write_bytes(b"foreign")
    listed = subprocess.run(["sha256sum", str(second.relative_to(folder))], cwd=folder, capture_output=True, check=True)
    sums = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    kept = [line for line in sums if second.name not in line]
    (folder / "SHA256SUMS").write_text("".join([*kept, listed.stdout.decode()]))
    told = import_(folder, Evaluations(tmp_path / "ours"))
    assert set(told.taken) == {asked.cells[0].id, asked.cells[2].id}
    assert [("named after" in problem, "not in SHA256SUMS" in problem) for problem in told.problems] in (
        [(True, False), (False, True)],
        [(False, True), (True, False)],
    )


def test_a_file_that_is_damaged_here_is_named(folder: Path, asked: Plan, publish: Publish, tmp_path: Path) -> None:
    here = Workspace(tmp_path / "here")
    ours = Evaluations(here.evaluations)
    ours.storage.write(ours.name(asked.cells[0]), b"damaged")
    told = import_(folder, ours)
    assert len(told.taken) == 2
    assert "cannot be read as Parquet" in told.problems[0]
    assert ours.storage.read(ours.name(asked.cells[0])) == b"damaged"


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"\xff\xfe"])
def test_another_folder_is_no_exported_one(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "SHA256SUMS").write_bytes(content)
    with pytest.raises(RequestError, match="is no exported experiment"):
        import_(tmp_path, Evaluations(tmp_path / "ours"))


def test_no_file_outside_the_folder_is_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("private")
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  ../outside\n")
    told = import_(folder, Evaluations(tmp_path / "ours"))
    assert told.problems == (f"{folder / '../outside'} is missing.",)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("missing", [True, False])
def test_a_cell_whose_validation_rows_are_missing_or_others_is_named_and_left_out(
    folder: Path, asked: Plan, tmp_path: Path, *, missing: bool, listed: bool
) -> None:
    path = folder / "validation" / Evaluations(folder).name(asked.cells[0])
    path.unlink() if missing else path.write_bytes(path.read_bytes()[:-1])
    if listed:  # whoever altered them made the checksums fit
        sums = [line for line in (folder / "SHA256SUMS").read_text().splitlines(keepends=True) if path.name not in line]
        files = [file for file in folder.rglob(path.name) if file.exists()]
        (folder / "SHA256SUMS").write_text(
            "".join(
                [*sums, *(f"{sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder)}\n" for file in files)]
            )
        )
    told = import_(folder, Evaluations(tmp_path / "ours" / "evaluations"))
    assert set(told.taken) == {asked.cells[1].id, asked.cells[2].id}
    said = "is missing: the validation rows" if missing else "is not the file of validation rows"
    assert any(f"{path} {said}" in problem for problem in told.problems)


def test_a_cell_whose_validation_rows_are_lost_here_is_named_and_not_exported_but_stays_done(
    asked: Plan, workspace: Workspace, publish: Publish, tmp_path: Path
) -> None:
    for cell in asked.cells:
        publish(cell)
    evaluations = Evaluations(workspace.evaluations)
    evaluations.validations.delete(evaluations.name(asked.cells[0]))
    told = export(asked, workspace, tmp_path / "out")
    assert (told.cells, told.missing) == (3, 1)
    assert "is missing: the validation rows" in told.damaged[0]
    assert "left out" in told.damaged[0]
    assert asked.cells[0].id in evaluations.ids()
