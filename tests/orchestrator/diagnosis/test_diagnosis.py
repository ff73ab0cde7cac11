"""What `doctor` notices, and that asking leaves no trace: a small launch, and what can befall it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import program
from orchestrator.diagnosis import machine, services
from orchestrator.diagnosis.examination import examine
from orchestrator.diagnosis.finding import CheckResult
from orchestrator.diagnosis.mending import mend
from orchestrator.diagnosis.request import data, room
from orchestrator.experiment.plan import Plan, plan
from orchestrator.experiment.reading import load
from orchestrator.pricing.price import Disk
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.sql.registry import Registry
from orchestrator.records.tracking.runs import Tracking
from orchestrator.report.terminal import health
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

# MLflow's own use of SQLAlchemy; an error there would leave its tables unusable for the whole process.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

GRID = """\
name: grid
losses: [softmax, bce_unified]
backbones: [resnet8]
datasets: [digits]
seeds: 1
recipe: {epochs: 1, batch_size: 64, learning_rate: 0.1}
baseline: softmax
"""

NOWHERE = "127.0.0.1:9"


def finished(folder: Path, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = program.run(*arguments, folder=folder)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


@dataclass
class Desk:
    """A folder with an experiment file, and perhaps a workspace."""

    folder: Path

    @property
    def place(self) -> Workspace:
        return Workspace(self.folder / "runs")

    @property
    def files(self) -> list[Path]:
        return sorted(self.place.evaluations.rglob("*.parquet"))

    @property
    def tracking(self) -> Tracking:
        return Tracking(self.place.tracking, "grid", artifacts=self.place.artifacts.as_uri())

    def spooled(self, name: str) -> Tracking:
        return replace(self.tracking, experiment=name, spool=self.place.root / "spool")

    def mend(self, *, whole: bool = False) -> list[str]:
        """What `--fix` says, of the experiment or of the whole workspace."""
        asked = None if whole else plan(load(self.folder / "grid.yaml"))
        with Registry.open(self.place.registry) as registry:
            return mend(asked, Evaluations(self.place.evaluations), registry, self.spooled)

    def examine(self, *, whole: bool = False, **changes: Any) -> list[CheckResult]:
        """The findings about the experiment, or about the whole workspace."""
        usual: dict[str, Any] = {
            "root": self.place.root,
            "evaluations": self.place.evaluations,
            "registry": self.place.registry,
            "tracking": lambda name: replace(self.tracking, experiment=name),
            "address": None,
            "data_dir": self.folder / "data",
        }
        ask = None if whole else lambda: plan(load(self.folder / "grid.yaml"))
        return examine(ask, **{**usual, **changes})

    def trouble(self, **changes: Any) -> list[CheckResult]:
        # Machine and disk are as they are where the tests run.
        own = ("packages", "machine", "devices", "disk")
        return [finding for finding in self.examine(**changes) if finding.state != "ok" and finding.subject not in own]

    def sql(self, store: str, statement: str) -> None:
        with closing(sqlite3.connect(self.folder / "runs" / store)) as database, database:
            database.execute(statement)

    def contents(self) -> set[Path]:
        # What SQLite keeps beside an open file is gone when the process ends, as the last tests see.
        return {path for path in self.folder.rglob("*") if not path.name.endswith(("-wal", "-shm"))}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("launched")
    (folder / "grid.yaml").write_text(GRID)
    finished(folder, "launch", "grid.yaml", "--executor", "inline")
    return folder


@pytest.fixture
def launched(original: Path, tmp_path: Path) -> Desk:
    """A workspace of one's own in which both cells are finished."""
    shutil.copytree(original, tmp_path / "desk")
    return Desk(tmp_path / "desk")


@pytest.fixture
def fresh(tmp_path: Path) -> Desk:
    """A folder in which nothing was launched."""
    (tmp_path / "grid.yaml").write_text(GRID)
    return Desk(tmp_path)


def only(findings: list[CheckResult]) -> CheckResult:
    (finding,) = findings
    assert finding.remedy
    return finding


@pytest.mark.parametrize("whole", [False, True])
def test_after_a_launch_all_is_well(launched: Desk, *, whole: bool) -> None:
    before = launched.contents()
    assert launched.trouble(whole=whole) == []
    assert any("agree on 2 finished cells" in finding.found for finding in launched.examine(whole=whole))
    assert launched.contents() == before


@pytest.mark.parametrize("whole", [False, True])
def test_before_a_launch_nothing_is_wrong_and_nothing_is_created(fresh: Desk, *, whole: bool) -> None:
    before = fresh.contents()
    assert fresh.trouble(whole=whole) == []
    found = {finding.subject: finding.found for finding in fresh.examine(whole=whole)}
    assert found["registry"].startswith("none yet")
    assert found["tracking"].startswith("none yet")
    assert found["data digits"] == "found"
    assert fresh.contents() == before


def test_a_foreign_database_gets_no_tables(fresh: Desk) -> None:
    file = fresh.folder / "other.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE mine (x)")
    assert fresh.trouble(registry=f"sqlite:///{file}", tracking=lambda name: Tracking(f"sqlite:///{file}", name)) == []
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]


# Files, registry and MLflow


@pytest.mark.parametrize("whole", [False, True])
def test_a_deleted_file_is_noticed(launched: Desk, *, whole: bool) -> None:
    launched.files[0].unlink()
    registry, mlflow = launched.trouble(whole=whole)
    for finding in (registry, mlflow):
        assert finding.state == "problem"
        assert finding.found.startswith(f"1 cell ({launched_id(launched)})")
        assert "launch runs" in finding.remedy
    assert "done in the registry, but their files are gone" in registry.found
    assert "finished in MLflow, but have no file" in mlflow.found


@pytest.mark.parametrize("damage", ["missing", "altered"])
@pytest.mark.parametrize("whole", [True, False])
def test_validation_rows_that_are_missing_or_altered_are_noticed(launched: Desk, *, damage: str, whole: bool) -> None:
    path = next((launched.folder / "runs" / "validation").rglob("*.parquet"))
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes() + b" ")
    finding = only(launched.trouble(whole=whole))
    assert (finding.state, str(path) in finding.found, "gc --remove --cells" in (finding.remedy or "")) == (
        "problem",
        True,
        True,
    )


def launched_id(desk: Desk) -> str:
    """The cell whose file is gone."""
    with closing(sqlite3.connect(desk.folder / "runs" / "registry.db")) as registry:
        ids = {row[0] for row in registry.execute("SELECT id FROM cells")}
    (gone,) = ids - {path.stem for path in desk.files}
    return gone[:16]


def test_cells_the_registry_does_not_know_as_done_are_noticed(launched: Desk) -> None:
    launched.sql("registry.db", "UPDATE cells SET state = 'planned'")
    finding = only(launched.trouble())
    assert finding.state == "problem"
    assert finding.found.startswith("2 cells (")
    assert "not in the registry" in finding.found
    assert "rebuild" in finding.remedy


def test_files_without_a_registry_are_a_warning_that_names_rebuild(launched: Desk) -> None:
    launched.place.root.joinpath("registry.db").unlink()
    for whole in (False, True):
        finding = only(launched.trouble(whole=whole))
        assert finding.state == "warning"
        assert "rebuild" in finding.remedy
    assert not launched.place.has_registry()


def test_files_without_a_tracking_store_are_a_warning_that_names_rebuild(launched: Desk) -> None:
    launched.place.root.joinpath("mlflow.db").unlink()
    finding = only(launched.trouble())
    assert finding.state == "warning"
    assert "doctor FILE.yaml --fix" in finding.remedy
    assert not launched.place.root.joinpath("mlflow.db").exists()


def test_a_cell_left_running_is_a_warning(launched: Desk) -> None:
    launched.files[0].unlink()
    launched.sql("registry.db", f"UPDATE cells SET state = 'running' WHERE id LIKE '{launched_id(launched)}%'")
    launched.sql("mlflow.db", "UPDATE runs SET status = 'RUNNING'")
    running, stale, comparison = launched.trouble()
    assert "comparison" in comparison.found
    assert running.state == "warning"
    assert "launch died" in running.found
    assert stale.found.startswith("1 cell (")  # the other is done
    assert "running in MLflow" in stale.found


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE runs SET status = 'RUNNING'", "2 cells (*): running in MLflow, though nothing runs them"),
        ("UPDATE runs SET status = 'FAILED'", "2 cells (*): done by their files, but failed or were killed in MLflow"),
        ("UPDATE runs SET lifecycle_stage = 'deleted'", "2 cells (*): done by their files, but have no MLflow run"),
    ],
)
def test_a_run_that_does_not_tell_the_truth_is_noticed(launched: Desk, statement: str, told: str) -> None:
    launched.sql("mlflow.db", statement)
    finding, *comparison = launched.trouble()
    assert len(comparison) == ("RUNNING" in statement)
    before, _, after = told.partition("*")
    assert finding.state == "problem"
    assert finding.found.startswith(before)
    assert finding.found.endswith(after)
    assert "doctor FILE.yaml --fix" in finding.remedy


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE latest_metrics SET value = value + 1 WHERE key = 'uniform_accuracy'",
        "DELETE FROM latest_metrics WHERE key = 'train_loss'",
        "DELETE FROM params",
    ],
)
def test_a_run_with_other_values_than_the_file_is_noticed(launched: Desk, statement: str) -> None:
    launched.sql("mlflow.db", statement)
    for whole in (False, True):
        finding = only(launched.trouble(whole=whole))
        assert finding.state == "problem"
        assert finding.found.endswith("finished in MLflow with values that differ from their files or are incomplete")


def test_what_waits_in_the_spool_is_noticed(launched: Desk) -> None:
    left_in_the_spool(launched)
    finding = only(launched.trouble(tracking=launched.spooled))
    assert finding.state == "warning"
    assert finding.found == "1 attempt in the spool with updates that MLflow did not accept in time"


def left_in_the_spool(desk: Desk) -> None:
    """What is left of an attempt at a cell that another has finished since."""
    cell = plan(load(desk.folder / "grid.yaml")).cells[0]
    desk.sql("mlflow.db", "UPDATE experiments SET name = 'away' WHERE name = 'grid'")
    with desk.spooled("grid").run(cell) as run:
        run.fail("the store is away")
    desk.sql("mlflow.db", "UPDATE experiments SET name = 'grid' WHERE name = 'away'")


def stray(desk: Desk, cell: str) -> None:
    from orchestrator.records.tracking.mlflow_store import connect

    client = connect(desk.tracking.uri)
    experiment = client.get_experiment_by_name("grid")
    assert experiment is not None
    run = client.create_run(experiment.experiment_id, tags={"cell_id": cell})
    client.set_terminated(run.info.run_id, "FINISHED")


def test_a_stray_run_is_noticed(launched: Desk) -> None:
    stray(launched, "f00d" * 16)
    finding = only(launched.trouble())
    assert finding.found == "1 cell (f00df00df00df00d): finished in MLflow, but have no file"


def test_a_cell_with_two_runs_is_noticed(launched: Desk) -> None:
    stray(launched, launched.files[0].stem)
    finding = only(launched.trouble())
    assert finding.found == f"1 cell ({launched.files[0].stem[:16]}): in MLflow more than once"


def test_a_cell_another_experiment_ran_lacks_no_run(launched: Desk) -> None:
    (launched.folder / "grid.yaml").write_text(GRID.replace("name: grid", "name: twin"))
    finished(launched.folder, "launch", "grid.yaml")
    assert launched.trouble() == []


# Mending


WRONG = {
    "registry": [
        ("registry.db", "UPDATE cells SET state = 'planned'"),
        ("registry.db", "UPDATE cells SET state = 'failed'"),
        ("registry.db", "DELETE FROM attempts"),
    ],
    "runs": [
        ("mlflow.db", "UPDATE runs SET status = 'RUNNING'"),
        ("mlflow.db", "UPDATE runs SET status = 'FAILED'"),
        ("mlflow.db", "UPDATE runs SET lifecycle_stage = 'deleted'"),
        ("mlflow.db", "DELETE FROM params"),
        ("mlflow.db", "DELETE FROM latest_metrics; DELETE FROM metrics"),
        ("mlflow.db", "UPDATE latest_metrics SET value = 7; UPDATE metrics SET value = 7"),
    ],
}


@pytest.mark.parametrize(("store", "statement"), [case for cases in WRONG.values() for case in cases])
def test_what_is_wrong_is_put_right_from_the_files(launched: Desk, store: str, statement: str) -> None:
    files = {path: path.read_bytes() for path in launched.files}
    for part in statement.split(";"):
        launched.sql(store, part)
    said = launched.mend()
    is_of_all_runs = "'RUNNING'" in statement  # that of the comparison, too, which has a sentence of its own
    assert len(said) == ("attempts" not in statement) + is_of_all_runs
    assert launched.trouble() == []
    assert launched.mend() == []
    assert {path: path.read_bytes() for path in launched.files} == files


def test_two_runs_of_a_cell_become_one(launched: Desk) -> None:
    stray(launched, launched.files[0].stem)
    (sentence,) = launched.mend()
    assert sentence == f"1 cell ({launched.files[0].stem[:16]}) in MLflow more than once: one run kept."
    assert launched.trouble() == []


def test_registry_and_mlflow_that_are_gone_come_back(launched: Desk) -> None:
    for name in ("registry.db", "mlflow.db"):
        launched.place.root.joinpath(name).unlink()
    assert len(launched.mend()) == 2
    assert launched.trouble() == []


def test_a_deleted_file_makes_its_cell_one_to_run_again(launched: Desk) -> None:
    launched.files[0].unlink()
    registry, mlflow = launched.mend()
    assert registry.endswith("done in the registry but without a file: the next launch runs them again.")
    assert "marked as failed" in mlflow
    assert launched.trouble() == []


def test_a_damaged_file_is_named_and_left_as_it_is(launched: Desk) -> None:
    cut = launched.files[0]
    cut.write_bytes(cut.read_bytes()[:-10])
    content = cut.read_bytes()
    assert any(cut.name in sentence for sentence in launched.mend())
    assert cut.read_bytes() == content


def test_what_waits_in_the_spool_is_told_and_changes_no_later_outcome(launched: Desk) -> None:
    left_in_the_spool(launched)
    said = launched.mend()
    assert "Sent 1 attempt from the spool to MLflow's 'grid'." in said
    assert launched.trouble(tracking=launched.spooled) == []
    assert launched.mend() == []


def test_without_an_experiment_file_what_needs_none_is_put_right(launched: Desk) -> None:
    launched.sql("registry.db", "UPDATE cells SET state = 'planned'")
    launched.sql("mlflow.db", "UPDATE runs SET status = 'RUNNING'")
    stray(launched, "f00d" * 16)
    assert len(launched.mend(whole=True)) == 4  # one is of the comparison's run
    assert launched.trouble(whole=True) == []


# Services


def test_unreachable_services_are_problems_without_a_password(fresh: Desk) -> None:
    registry = f"postgresql://u:secret@{NOWHERE}/x"
    uri = f"postgresql://u:secret@{NOWHERE}/y"
    findings = fresh.trouble(registry=registry, tracking=lambda name: Tracking(uri, name), address=NOWHERE)
    assert [(finding.subject, finding.state) for finding in findings] == [
        ("ray", "problem"),
        ("registry", "problem"),
        ("tracking", "problem"),
    ]
    assert all(finding.remedy for finding in findings)
    assert "secret" not in str(findings)


def test_what_is_no_tracking_server_is_a_problem() -> None:
    finding, usable = services.tracking(f"http://u:secret@{NOWHERE}")
    assert (finding.state, usable) == ("problem", False)
    assert "--tracking" in finding.remedy
    assert "secret" not in str(finding)


def test_a_registry_of_another_schema_is_left_as_it_is(launched: Desk) -> None:
    for revision, state in (("0000", "warning"), ("9999", "problem")):
        launched.sql("registry.db", f"UPDATE alembic_version SET version_num = '{revision}'")
        finding, usable = services.registry(launched.place.registry)
        assert (finding.state, usable) == (state, False)
        assert revision in finding.found
        assert finding.remedy


def test_a_check_that_breaks_keeps_no_other_from_being_made(fresh: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("no idea of postgresql://u:secret@host/x")

    monkeypatch.setattr(machine, "devices", broken)
    findings = fresh.examine()
    finding = next(finding for finding in findings if finding.subject == "devices")
    assert finding.state == "problem"
    assert "no idea" in finding.found
    assert "secret" not in finding.found
    assert findings[-1].subject == "records"


# The request and the machine


def test_every_problem_of_an_experiment_file_is_a_line(fresh: Desk) -> None:
    (fresh.folder / "grid.yaml").write_text(GRID.replace("softmax, ", "sofmax, ").replace("epochs: 1", "epochs: x"))
    findings = [finding for finding in fresh.trouble() if finding.subject == "experiment"]
    assert len(findings) > 1
    assert any("Did you mean 'softmax'?" in finding.found for finding in findings)


def test_a_cell_larger_than_every_machine_is_a_problem(written: Callable[[str], Path]) -> None:
    asked = plan(load(written(GRID + "resources: {cpus: 8}\n")))
    assert room(asked, [{"CPU": 8.0}]).state == "ok"
    finding = room(asked, [{"CPU": 4.0}, {"CPU": 2.0, "GPU": 1.0}])
    assert finding.state == "problem"
    assert finding.found.endswith("(at most 4 and 1)")
    assert "Lower 'resources'" in finding.remedy


@pytest.mark.parametrize(
    ("dataset", "state", "remedy"), [("cifar10", "warning", "A launch downloads"), ("cub200", "problem", "Unpack")]
)
def test_missing_data_is_noticed_and_not_fetched(
    dataset: str, state: str, remedy: str, written: Callable[[str], Path], tmp_path: Path
) -> None:
    asked = plan(load(written(GRID.replace("digits", dataset))))
    (finding,) = data(asked, tmp_path / "data")
    assert (finding.subject, finding.state) == (f"data {dataset}", state)
    assert finding.found.startswith(f"No data for '{dataset}': expected ")
    assert finding.remedy.startswith(remedy)
    assert not (tmp_path / "data").exists()


def test_unknown_samples_that_do_not_fit_or_are_missing_are_problems(
    written: Callable[[str], Path], tmp_path: Path
) -> None:
    asked = plan(load(written(GRID.replace("digits", "{name: cifar10, unknowns: cub200}"))))
    known, unknown, misfit = sorted(data(asked, tmp_path / "data"), key=lambda each: (each.subject, each.found))
    assert (known.subject, known.state) == ("data cifar10", "warning")
    assert (misfit.subject, misfit.state) == ("data cub200", "problem")
    assert (unknown.subject, unknown.state, unknown.remedy) == ("data cifar10", "problem", "correct 'unknowns'")
    assert "have 3x224x224 numbers, and its own 3x32x32" in unknown.found


def test_other_versions_than_the_locked_ones_are_a_warning(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==0.0.1\nnever-heard-of==1\n")
    finding = machine.packages(lock)
    assert finding.state == "warning"
    assert "1 differ" in finding.found
    assert "instead of 0.0.1" in finding.found
    assert "requirements.lock" in finding.remedy


def test_a_workspace_below_a_file_is_a_problem(fresh: Desk) -> None:
    assert machine.workspace(fresh.folder / "grid.yaml" / "runs").state == "problem"
    assert machine.workspace(fresh.folder / "a" / "b").state == "ok"


def test_little_room_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "GiB free" in machine.disk(tmp_path / "absent").found
    monkeypatch.setattr(machine, "LITTLE_DISK", 2**70)
    monkeypatch.setattr(machine, "LITTLE_MEMORY", 2**70)
    for finding in (machine.disk(tmp_path), machine.memory()):
        assert finding.state == "warning"
        assert finding.remedy


def test_a_disk_that_is_too_small_for_the_cells_that_wait_is_a_problem_and_says_how_much_they_need(
    tmp_path: Path,
) -> None:
    few = machine.disk(tmp_path, 2**20)
    many = machine.disk(tmp_path, 2**60)
    assert few.state != "problem"
    assert many.state == "problem"
    assert "the cells that wait need about 1073741824.0 GiB" in many.found
    assert machine.decoded(tmp_path, 2**20) == []
    (warning,) = machine.decoded(tmp_path / "absent", 2**60)
    assert warning.state == "warning"


def test_the_disk_is_compared_with_what_the_price_says_of_the_plan(fresh: Desk) -> None:
    asked = list[Plan]()

    def space(plan: Plan) -> Disk:
        asked.append(plan)
        return Disk(results=2**60, states=2**60, decoded=2**60)

    found = [each for each in fresh.examine(space=space) if each.subject == "disk"]
    assert [each.state for each in found] == ["problem", "warning"]
    assert "need about 2147483648.0 GiB" in found[0].found
    assert len(asked) == 1


# The verb


def test_the_verb_exits_with_1_where_there_is_a_problem_and_prints_text_as_it_is(launched: Desk) -> None:
    odd = launched.folder / "a[bold]b"
    launched.place.root.rename(odd)
    before = set(launched.folder.rglob("*"))
    said = finished(launched.folder, "doctor", "grid.yaml", "--workspace", odd.name)
    assert "a[bold]b" in said.stdout
    assert set(launched.folder.rglob("*")) == before
    next(Workspace(odd).evaluations.rglob("*.parquet")).unlink()
    said = finished(launched.folder, "doctor", "grid.yaml", "--workspace", odd.name, "--json", expect=1)
    assert said.stderr == ""
    findings = json.loads(said.stdout)
    assert {tuple(finding) for finding in findings} == {("subject", "state", "found", "remedy")}
    assert [finding["subject"] for finding in findings if finding["state"] == "problem"] == ["records", "records"]


def test_a_remedy_stands_beside_what_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    found = [CheckResult("disk", "warning", "[red]1 GiB[/red] free", "make room"), CheckResult("ray", "ok", "there")]
    Console(width=100).print(health.findings(found))
    out = capsys.readouterr().out
    assert "[red]1 GiB[/red] free → make room" in out
    assert out.strip().endswith("1 warning.")
