"""The command line as a user meets it: other processes, real stores, a small grid of digits."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import program
import services
from orchestrator.records.tracking.runs import Tracking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# MLflow's own use of SQLAlchemy; an error there would leave its tables unusable for the whole process.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

GRID = """\
name: grid
question: Is [bold]this[/bold] calm?
losses: [softmax, bce_unified]
backbones: [resnet8]
datasets: [digits]
seeds: 2
recipe: {epochs: 1, batch_size: 64, learning_rate: 0.1}
baseline: softmax
claims:
  - {id: uniform, metric: uniform_accuracy, challenger: bce_unified, baseline: softmax, direction: higher}
"""

FAILING = """\
import os
from trainers.losses.softmax import Softmax


class Moody(Softmax):
    '''A loss that works once MOOD is good.'''

    name = "moody"

    def per_sample(self, logits, labels):
        if os.environ.get("MOOD") != "good":
            raise RuntimeError("not [today]")
        return super().per_sample(logits, labels)
"""


@dataclass
class Desk:
    """A folder to work in, and the program."""

    folder: Path

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        return program.start(*arguments, folder=self.folder, **options)

    def run(self, *arguments: object, expect: int = 0, **environment: str) -> Run:
        done = program.run(*arguments, folder=self.folder, **environment)
        out = done.stdout
        err = done.stderr
        assert done.returncode == expect, f"{arguments} ended with {done.returncode}:\n{out}\n{err}"
        if "--debug" not in arguments:
            assert "Traceback" not in out + err
        return Run(out, err)

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.glob("runs/evaluations/dataset=*/backbone=*/loss=*/*.parquet"))

    @property
    def states(self) -> dict[str, str]:
        with closing(sqlite3.connect(self.folder / "runs" / "registry.db")) as registry:
            return dict(registry.execute("SELECT id, state FROM cells"))

    @property
    def attempts(self) -> list[tuple[str, str]]:
        with closing(sqlite3.connect(self.folder / "runs" / "registry.db")) as registry:
            return registry.execute("SELECT cell, outcome FROM attempts ORDER BY id").fetchall()

    def results(self, name: str = "grid") -> list[dict[str, Any]]:
        return pq.read_table(self.folder / "runs" / "results" / f"{name}.parquet").to_pylist()

    def tracked(self, name: str = "grid") -> dict[str, str]:
        """How the run of each cell ended, by cell; no cell has two."""
        runs = Tracking(f"sqlite:///{self.folder / 'runs' / 'mlflow.db'}", name).runs()
        assert len({run.cell_id for run in runs}) == len(runs)
        return {run.cell_id: run.status for run in runs}


@dataclass
class Run:
    """What a command printed."""

    out: str
    err: str


@pytest.fixture(scope="module")
def set_up(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Desk]:
    """A folder with an experiment file and a workspace that has an MLflow store."""

    def set_up(name: str) -> Desk:
        folder = tmp_path_factory.mktemp(name)
        (folder / "grid.yaml").write_text(GRID)
        services.put_store(folder / "runs")
        return Desk(folder)

    return set_up


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder in which nothing was launched."""
    (tmp_path / "grid.yaml").write_text(GRID)
    return Desk(tmp_path)


@dataclass
class Launched:
    """A desk on which the grid was launched, and what was there afterwards."""

    desk: Desk
    run: Run
    contents: dict[Path, bytes]


@pytest.fixture(scope="module")
def launched(set_up: Callable[[str], Desk]) -> Launched:
    desk = set_up("launched")
    run = desk.run("launch", "grid.yaml", "--executor", "inline")
    return Launched(desk, run, {path: path.read_bytes() for path in desk.files})


# What the verbs are called

SHARED = {"--help"}
AXES = {"--loss", "--backbone", "--dataset", "--only", "--seeds", "--set"}
VERBS = {
    "init": set[str](),
    "rehearse": {"--stand-in", "--workspace", "--tracking", "--data-dir", "--address", "--executor",
                 "--max-concurrent", "--format", *AXES},
    "launch": {"--workspace", "--registry", "--tracking", "--data-dir", "--address", "--executor", "--max-concurrent",
               "--retry-failed", "--join", "--trust-old", "--rehash", "--budget", "--notify", "--smoke", "--json",
               *AXES},
    "plan": {"--workspace", "--registry", "--data-dir", "--rehash", "--register", "--on", "--price", "--json", *AXES},
    "status": {"--workspace", "--registry", "--cell", "--log", "--watch", "--json"},
    "aggregate": {"--workspace", "--data-dir", "--compact", *AXES},
    "compare": {"--workspace", "--data-dir", "--registry", "--format", "--null", "--samples", *AXES},
    "report": {"--workspace", "--data-dir", "--registry", "--index", *AXES},
    "decide": {"--workspace", "--data-dir", "--json", *AXES},
    "deploy": {"--out", "--inputs", "--workspace", "--data-dir", "--json", *AXES},
    "check": {"--json"},
    "judge": {"--baseline", "--claims", "--format", "--report", "--gate", "--map", "--shared"},
    "export": {"--workspace", "--data-dir", *AXES},
    "import": {"--workspace"},
    "gc": {"--workspace", "--registry", "--remove", "--cells"},
    "add": {"--loss", "--backbone", "--dataset", "--seeds", "--remove", "--workspace", "--registry", "--data-dir"},
    "ui": {"--workspace", "--tracking", "--port"},
    "rebuild": {"--workspace", "--data-dir", "--registry", "--tracking", "--mlflow"},
    "verify": {"--workspace", "--data-dir", "--cells", "--sample", *AXES},
    "doctor": {"--workspace", "--registry", "--tracking", "--data-dir", "--address", "--fix", "--json"},
    "list": {"--json"},
    "show": {"--json"},
}  # fmt: skip
"""What users rely on: add to it, but take nothing away unless an issue says so."""


def test_the_verbs_are_these(desk: Desk) -> None:
    commands = desk.run("--help").out.partition("Commands:\n")[2].partition("\n\n")[0]
    assert set(re.findall(r"^  (\w+) ", commands, re.MULTILINE)) == set(VERBS)


def test_help_imports_next_to_nothing(desk: Desk) -> None:
    code = "import sys, orchestrator.cli; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], cwd=desk.folder, capture_output=True, text=True, check=True)
    assert not {"numpy", "pydantic", "sqlalchemy", "pyarrow", "rich", "torch", "ray"} & set(told.stdout.split())


HELP = """
import sys
from orchestrator.cli import app
for verb in sys.argv[1:]:
    app([verb, "--help"], prog_name="orchestrator", standalone_mode=False)
print(*sys.modules, file=sys.stderr)
"""


def test_help_of_a_verb_waits_for_no_gpu_stack_and_no_store(desk: Desk) -> None:
    command = [sys.executable, "-c", HELP, *VERBS]
    told = subprocess.run(command, cwd=desk.folder, capture_output=True, text=True, check=True)
    assert all(f"orchestrator {verb} " in told.stdout for verb in VERBS)
    assert not {"torch", "torchvision", "ray", "mlflow", "sqlalchemy", "scipy"} & set(told.stderr.split())


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_options_are_these(desk: Desk, verb: str) -> None:
    told = desk.run(verb, "--help").out
    assert set(re.findall(r"^  (--[\w-]+)", told, re.MULTILINE)) - SHARED == VERBS[verb]


def test_help_is_whole_in_80_columns(desk: Desk) -> None:
    for words in (["-h"], ["status", "--help"]):
        told = desk.run(*words, COLUMNS="80").out
        assert not re.search(r"\w\.\.\.", told)
        assert max(map(len, told.splitlines())) <= 80


def test_the_version_is_told_alone(desk: Desk) -> None:
    assert re.fullmatch(r"orchestrator \d+\.\d+\.\d+( \(commit [0-9a-f]{10}\))?\n", desk.run("--version").out)


@pytest.mark.parametrize(
    ("shell", "typed", "found"),
    [
        ("bash", "orchestrator la", "launch"),
        ("zsh", "orchestrator launch --backb", '"--backbone"'),
        ("fish", "orchestrator launch x.yaml --loss foc", "focal"),
    ],
)
def test_shells_complete_verbs_options_and_names(desk: Desk, shell: str, typed: str, found: str) -> None:
    asked = {"_ORCHESTRATOR_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": typed, "COMP_WORDS": typed}
    more = {"COMP_CWORD": str(len(typed.split()) - 1), "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert found in desk.run(**asked, **more).out


def test_show_tells_what_a_plugin_takes_and_where_it_is(desk: Desk) -> None:
    told = desk.run("show", "loss", "cosface").out
    assert "margin on the true class (Wang 2018" in told
    assert re.search(r"scores\.margin +0\.4 +number +In training only", told)
    assert "trainers.losses.faces" in told
    asked = {
        each["name"]: each
        for each in json.loads(desk.run("show", "dataset", "image_folder", "--json").out)["parameters"]
    }
    assert asked["path"]["default"] == "required"
    assert asked["channels"] == {**asked["channels"], "type": "1 or 3", "default": "3"}
    assert "architecture" in desk.run("show", "backbone", "torchvision:resnet34").out
    assert "Did you mean 'focal'?" in desk.run("show", "loss", "fokal", expect=2).err


def test_measures_are_listed(desk: Desk) -> None:
    told = json.loads(desk.run("list", "measures", "--json").out)
    assert told["uniform_accuracy"] == "share right with the best single threshold, on raw test scores"
    assert "expected_cost" in told


# A launch and what it leaves


def test_a_launch_says_what_it_does_and_found(launched: Launched) -> None:
    out = launched.run.out
    assert "grid: 4 cells, 0 already done, 4 to run." in out
    assert len(re.findall(r"^\w+/resnet8/digits/s\d  [\d.]+ s  uniform 0\.\d{4}", out, re.MULTILINE)) == 4
    assert "Is [bold]this[/bold] calm?" in out
    assert "uniform: uniform_accuracy of bce_unified is above that of softmax" in out
    assert launched.run.err == ""


def test_its_records_agree(launched: Launched) -> None:
    desk = launched.desk
    ids = {path.stem for path in desk.files}
    assert len(ids) == 4
    assert desk.states == dict.fromkeys(ids, "finished")
    assert sorted(desk.attempts) == sorted((cell, "finished") for cell in ids)
    assert desk.tracked() == dict.fromkeys(ids, "FINISHED")
    assert {row["cell_id"] for row in desk.results()} == ids
    assert len(desk.results()) == 4


def test_the_table_names_the_runs(launched: Launched) -> None:
    uri = f"sqlite:///{launched.desk.folder / 'runs' / 'mlflow.db'}"
    runs = {run.cell_id: run for run in Tracking(uri, "grid").runs()}
    for row in launched.desk.results():
        run = runs[row["cell_id"]]
        assert row["mlflow_run_id"] == run.run_id
        assert run.name == f"{row['loss']}/{row['backbone']}/{row['dataset']}/s{row['seed']}"
        for measure in ("uniform_accuracy", "sample_wise_accuracy", "train_seconds"):
            assert run.metrics[measure] == pytest.approx(row[measure])


def comparisons(desk: Desk) -> list[Any]:
    """The runs of the comparison in MLflow, with those that are deleted."""
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client = MlflowClient(tracking_uri=f"sqlite:///{desk.folder / 'runs' / 'mlflow.db'}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "grid"]
    return list(client.search_runs([experiment.experiment_id], "tags.summary = 'comparison'", ViewType.ALL))


def test_what_a_killed_launch_left_of_the_comparison_is_mended_by_one_with_nothing_to_run(launched: Launched) -> None:
    desk = launched.desk
    (run,) = comparisons(desk)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {})
    with closing(sqlite3.connect(desk.folder / "runs" / "mlflow.db")) as store, store:
        store.execute("UPDATE runs SET status = 'RUNNING' WHERE run_uuid = ?", [run.info.run_id])
    (noted,) = (desk.folder / "runs" / "spool").rglob("summary.sha256")
    told = noted.read_text()
    noted.unlink()
    found = desk.run("doctor", "grid.yaml").out
    assert "the run of the comparison is unfinished in MLflow: grid" in found
    desk.run("launch", "grid.yaml", "--executor", "inline")
    assert sorted((each.info.lifecycle_stage, each.info.status) for each in comparisons(desk)) == [
        ("active", "FINISHED"),
        ("deleted", "KILLED"),
    ]
    assert noted.read_text() == told


def test_uniform_accuracy_is_what_counting_at_every_threshold_gives(launched: Launched) -> None:
    by_id = {path.stem: path for path in launched.desk.files}
    for row in launched.desk.results():
        table = pq.read_table(by_id[row["cell_id"]], partitioning=None)
        positive, rival = (table[name].to_numpy().astype(np.float64) for name in ("positive", "rival"))
        ends = np.unique(np.concatenate([positive, rival]))
        thresholds = (ends[:-1] + ends[1:])[:, None] / 2
        best = np.mean((rival < thresholds) & (thresholds < positive), axis=1).max()
        assert row["uniform_accuracy"] == pytest.approx(best, abs=1e-9)
        right = table["label"].to_numpy() == table["prediction"].to_numpy()
        assert row["sample_wise_accuracy"] == pytest.approx(right.mean(), abs=1e-9)
        assert row["samples"] == table.num_rows == 797


def test_the_same_launch_again_reruns_nothing_and_starts_nothing_heavy(launched: Launched) -> None:
    desk = launched.desk
    before = desk.attempts
    run = desk.run("launch", "grid.yaml", PYTHONPROFILEIMPORTTIME="1")
    assert "grid: all 4 cells are already done; nothing is rerun." in run.out
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in run.err.splitlines() if "|" in line}
    assert "orchestrator" in imported
    assert not imported & {"torch", "ray", "mlflow"}
    assert {path: path.read_bytes() for path in desk.files} == launched.contents
    assert desk.attempts == before


def test_plan_counts_what_is_done(launched: Launched) -> None:
    desk = launched.desk
    plan = json.loads(desk.run("plan", "grid.yaml", "--seeds", 3, "--json").out)
    assert [plan[key] for key in ("experiment", "total", "done", "pending")] == ["grid", 6, 4, 2]
    assert {cell["id"] for cell in plan["cells"] if cell["state"] == "finished"} == {path.stem for path in desk.files}
    assert {cell["seed"] for cell in plan["cells"] if cell["state"] == "pending"} == {2}
    assert plan["cells"][0].keys() == {"id", "loss", "backbone", "dataset", "seed", "state"}


def test_plan_and_status_give_machines_the_next_cells_with_the_reason_and_the_command(launched: Launched) -> None:
    desk = launched.desk
    wider = GRID.replace("seeds: 2", "seeds: {min: 3, max: 9, until: decided}")
    (desk.folder / "wider.yaml").write_text(wider.replace("direction: higher", "direction: higher, over: all"))
    told = json.loads(desk.run("plan", "wider.yaml", "--workspace", "runs", "--set", "recipe.epochs=1", "--json").out)
    why = "the first 3 seeds of every setting"
    nothing = {"seed": None, "dataset": None, "backbone": None, "claim": None}
    expected = {"sentence": f"Next: {why}.", "why": why, **nothing}
    launch = "python -m orchestrator launch wider.yaml"
    assert told["next"] == {**expected, "command": f"{launch} --workspace runs --set recipe.epochs=1"}
    (status,) = json.loads(desk.run("status", "wider.yaml", "--json").out)
    assert status["next"] == {**expected, "command": launch}
    assert f"Next: {why}." in desk.run("status", "wider.yaml").out
    assert json.loads(desk.run("plan", "grid.yaml", "--json").out)["next"] is None
    assert json.loads(desk.run("status", "--json").out)[0]["next"] is None


def test_plan_needs_no_registry_to_know_what_is_done(launched: Launched, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "evaluations").symlink_to(launched.desk.folder / "runs" / "evaluations")
    plan = json.loads(launched.desk.run("plan", "grid.yaml", "--json", "--workspace", tmp_path / "runs").out)
    assert (plan["done"], plan["pending"]) == (4, 0)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["evaluations"]


def test_plan_reads_for_people_too(launched: Launched) -> None:
    out = launched.desk.run("plan", "grid.yaml", "--seeds", 3).out
    assert "6 in all, 4 done, 2 to run" in out
    assert "times from the time of equal cells here" in " ".join(out.split())
    assert "simulated with the queue of a launch" in " ".join(out.split())
    assert "Is [bold]this[/bold] calm?" in out


def test_a_launch_without_time_for_a_cell_begins_none_and_says_what_is_decided(
    set_up: Callable[[str], Desk],
) -> None:
    desk = set_up("no-time")
    run = desk.run("launch", "grid.yaml", "--executor", "inline", "--budget", "0.000001", expect=130)
    told = " ".join(run.out.split())
    assert "The budget is spent: 4 cells left, of which none is expected to end in time." in told
    assert "No claim is decided: there is no result yet." in told
    assert not desk.files


def test_status_says_what_the_registry_knows(launched: Launched) -> None:
    desk = launched.desk
    assert "grid: 4 finished" in desk.run("status", "grid.yaml").out
    assert "grid: 4 finished" in desk.run("status").out
    (status,) = json.loads(desk.run("status", "--json").out)
    assert status["experiment"] == "grid"
    assert status["counts"]["finished"] == 4
    assert status["running"] == status["failures"] == []


def test_status_shows_the_attempts_at_a_cell(launched: Launched) -> None:
    desk = launched.desk
    cell = desk.files[0].stem
    told = desk.run("status", "--cell", cell[:10]).out
    assert re.search(r"attempt 1, begun \d{4}-\d\d-\d\d .* UTC on .*: finished after \d+ s", told)
    (attempt,) = json.loads(desk.run("status", "--cell", cell, "--json").out)
    assert attempt["outcome"] == "finished"
    assert "No cell that was begun here" in desk.run("status", "--cell", "zz", expect=2).err


def test_another_recipe_is_for_one_command_alone(launched: Launched) -> None:
    desk = launched.desk
    plan = json.loads(desk.run("plan", "grid.yaml", "--set", "recipe.epochs=2", "--json").out)
    assert (plan["total"], plan["done"]) == (4, 0)
    assert (json.loads(desk.run("plan", "grid.yaml", "--json").out))["done"] == 4
    said = desk.run("plan", "grid.yaml", "--set", "recipe.epochs=2").out
    assert "Options change the recipe for this command alone: recipe.epochs=2." in said
    wrong = desk.run("plan", "grid.yaml", "--set", "recipe.epoch=2", "--set", "epochs=2", expect=2).err
    assert "--set recipe.epoch=2: No recipe field named 'epoch'. Did you mean 'epochs'?" in wrong
    assert "--set epochs=2: A setting is recipe.FIELD=VALUE" in wrong
    assert "epochs" in desk.run("plan", "grid.yaml", "--set", "recipe.epochs=0", expect=2).err


def test_aggregate_writes_the_same_table_again(launched: Launched) -> None:
    before = launched.desk.results()
    (launched.desk.folder / "runs" / "results" / "grid.parquet").unlink()
    assert "4 of 4 cells are in runs/results/grid.parquet." in launched.desk.run("aggregate", "grid.yaml").out
    assert launched.desk.results() == before


@pytest.mark.parametrize(
    ("form", "part"), [("text", "resnet8 on digits"), ("markdown", "| digits"), ("latex", r"\toprule")]
)
def test_compare_prints_a_table(launched: Launched, form: str, part: str) -> None:
    run = launched.desk.run("compare", "grid.yaml", "--format", form)
    assert part in run.out
    assert "softmax" in run.out
    assert run.err == ""


def test_compare_prints_json(launched: Launched) -> None:
    comparison = json.loads(launched.desk.run("compare", "grid.yaml", "--format", "json").out)
    assert (comparison["missing"], comparison["diverged"]) == (0, 0)
    means = [row["uniform_accuracy"] for row in launched.desk.results() if row["loss"] == "softmax"]
    assert comparison["lines"][0]["means"]["uniform_accuracy"]["estimate"] == pytest.approx(np.mean(means))


@pytest.mark.parametrize(
    ("axis", "names"),
    [("losses", {"softmax", "bce_unified"}), ("backbones", {"resnet8"}), ("datasets", {"digits", "mnist"})],
)
def test_list_shows_the_catalogue(desk: Desk, axis: str, names: set[str]) -> None:
    known = json.loads(desk.run("list", axis, "--json").out)
    assert names <= known.keys()
    assert all(known.values())
    printed = desk.run("list", axis).out
    assert all(name in printed for name in known)


@pytest.fixture(scope="module")
def copied(set_up: Callable[[str], Desk], launched: Launched) -> tuple[Desk, dict[Path, bytes]]:
    """Another workspace that got the files of the launch above, and no registry; the last file is cut short."""
    desk = set_up("copied")
    contents = dict[Path, bytes]()
    for path, content in launched.contents.items():
        copy = desk.folder / path.relative_to(launched.desk.folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
        contents[copy] = content
    copy.write_bytes(content[:-30])
    return desk, contents


def test_a_damaged_file_is_told_and_set_aside(copied: tuple[Desk, dict[Path, bytes]]) -> None:
    desk, contents = copied
    damaged = list(contents)[-1]
    run = desk.run("aggregate", "grid.yaml")
    assert damaged.name in run.out
    assert "It was set aside" in run.out
    assert "3 of 4 cells" in run.out
    assert damaged.with_name(f"_{damaged.stem}.damaged").exists()
    assert not damaged.exists()


def test_more_seeds_run_only_what_is_new_or_was_damaged(copied: tuple[Desk, dict[Path, bytes]]) -> None:
    desk, contents = copied
    run = desk.run("launch", "grid.yaml", "--executor", "inline", "--seeds", 3, "--json")
    (line,) = run.out.splitlines()
    told = json.loads(line)
    assert told.pop("seconds") > 0
    assert told == {
        "experiment": "grid",
        "total": 6,
        "done": 6,
        "pending": 0,
        "failed": 0,
        "diverged": 0,
        "collapsed": 0,
    }
    assert "grid: 6 cells, 3 already done, 3 to run." in run.err
    assert len(desk.attempts) == len(desk.tracked()) == 3
    assert set(desk.states.values()) == {"finished"}
    assert len(desk.results()) == len(desk.files) == 6
    whole = list(contents)[:-1]
    assert all(path.read_bytes() == contents[path] for path in whole)


# What was asked stays asked


@pytest.fixture(scope="module")
def grown(set_up: Callable[[str], Desk], launched: Launched) -> Desk:
    """A small file in a workspace that has more cells, which a launch asks for by flags and need not train."""
    desk = set_up("grown")
    for part in ("evaluations", "validation"):
        shutil.copytree(launched.desk.folder / "runs" / part, desk.folder / "runs" / part)
    small = GRID.partition("claims:")[0].replace("[softmax, bce_unified]", "[softmax]  # the first").replace("2", "1")
    (desk.folder / "grid.yaml").write_text(small)
    desk.run("launch", "grid.yaml")
    assert len(desk.results()) == 1
    out = desk.run("launch", "grid.yaml", "--loss", "bce_unified", "--seeds", 2).out
    assert "all 4 cells are already done; nothing is rerun" in out
    return desk


@pytest.mark.parametrize("is_rebuilt", [False, True])
def test_every_later_verb_has_what_a_launch_added_by_flags(grown: Desk, *, is_rebuilt: bool) -> None:
    if is_rebuilt:
        for file in grown.folder.glob("runs/registry.db*"):
            file.unlink()
        grown.run("rebuild", "grid.yaml")
    plan = json.loads(grown.run("plan", "grid.yaml", "--json").out)
    assert (plan["total"], plan["done"]) == (4, 4)
    assert [entry["by"] for entry in plan["additions"]["added"]] == ["launch"]
    (status,) = json.loads(grown.run("status", "--json").out)
    assert status["counts"]["finished"] == 4
    assert status["additions"] == plan["additions"]
    assert "additions" in {each["kind"] for each in status["documents"]}
    assert "loss bce_unified" in grown.run("status").out
    assert "Added by launch on " in grown.run("compare", "grid.yaml").out
    assert "4 of 4 cells" in grown.run("aggregate", "grid.yaml").out
    assert len(grown.results()) == 4


def test_only_narrows_one_command_which_says_so(grown: Desk) -> None:
    run = grown.run("compare", "grid.yaml", "--loss", "softmax", "--only")
    assert "Options leave out of this view: loss bce_unified." in run.out
    assert run.err == "Options leave out of this command alone: loss bce_unified. What was asked stays asked.\n"
    out = grown.run("launch", "grid.yaml", "--loss", "softmax", "--only").out
    assert "all 2 cells are already done" in out
    assert "launch grid.yaml  # also what this launch left out" in out
    assert len(grown.results()) == 4
    assert "grid: 4 finished" in grown.run("status", "grid.yaml").out


def test_add_writes_into_the_file_and_takes_back(set_up: Callable[[str], Desk], grown: Desk) -> None:
    desk = set_up("back")
    shutil.copytree(grown.folder, desk.folder, dirs_exist_ok=True)
    before = (desk.folder / "grid.yaml").read_text()
    assert "Cells asked: 4 before, 4 now." in desk.run("add", "grid.yaml", "--loss", "bce_unified").out
    assert "[softmax, bce_unified]  # the first" in (desk.folder / "grid.yaml").read_text()
    out = desk.run("add", "grid.yaml", "--remove", "--loss", "bce_unified", "--seeds", "2").out
    assert "Taken back from grid.yaml and from what flags added: loss bce_unified; seed 1." in out
    assert "Cells asked: 4 before, 1 now." in out
    assert (desk.folder / "grid.yaml").read_text() == before
    assert len(desk.results()) == 1
    assert "Taken back on " in desk.run("status", "grid.yaml").out
    assert "Did you mean 'softmax'" in desk.run("add", "grid.yaml", "--remove", "--loss", "sofmax", expect=2).err


@pytest.mark.parametrize("verb", ["launch", "plan", "status", "compare", "aggregate", "report", "verify", "rebuild"])
def test_a_damaged_record_of_additions_is_one_error_for_every_verb(desk: Desk, verb: str) -> None:
    record = desk.folder / "runs" / "experiments" / "grid.additions.json"
    record.parent.mkdir(parents=True)
    record.write_text("{")
    err = refused(desk, verb, "grid.yaml")
    assert len(err.splitlines()) == 1
    assert re.search(r"grid\.additions\.json is damaged \(.+\), so .* Restore the file from a copy", err)
    assert record.read_text() == "{"


# Rebuilding and verifying


@pytest.fixture(scope="module")
def rebuilt(set_up: Callable[[str], Desk], launched: Launched) -> Desk:
    """Another workspace that got nothing but the files of the launch above, and was rebuilt."""
    desk = set_up("rebuilt")
    shutil.copytree(launched.desk.folder / "runs" / "evaluations", desk.folder / "runs" / "evaluations")
    out = desk.run("rebuild", "grid.yaml", "--mlflow").out
    assert "Cells put back: 4. Damaged files, passed over: 0." in out
    return desk


REGISTERED = [
    "SELECT id, loss, backbone, dataset, seed, recipe, state FROM cells ORDER BY id",
    "SELECT experiment, cell, loss, backbone, dataset FROM experiment_cells ORDER BY cell",
    "SELECT cell, experiment, node, started, seconds, outcome, epoch, error FROM attempts ORDER BY cell",
    "SELECT name, question, claims_hash, document FROM experiments",
]


@pytest.mark.parametrize("query", REGISTERED)
def test_a_rebuilt_registry_is_as_it_was(launched: Launched, rebuilt: Desk, query: str) -> None:
    was, is_ = (rows(desk.folder / "runs" / "registry.db", query) for desk in (launched.desk, rebuilt))
    assert was
    assert is_ == was


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as opened:
        return opened.execute(query).fetchall()


RUN = "JOIN tags AS cell ON cell.run_uuid = {0}.run_uuid AND cell.key = 'cell_id'"
TRACKED = [
    f"SELECT cell.value, runs.name, status FROM runs {RUN.format('runs')}",
    f"SELECT cell.value, params.key, params.value FROM params {RUN.format('params')}",
    f"SELECT cell.value, tags.key, tags.value FROM tags {RUN.format('tags')}",
    f"SELECT cell.value, metrics.key, step, metrics.value, is_nan FROM metrics {RUN.format('metrics')}",
    f"SELECT cell.value, l.key, step, l.value FROM latest_metrics AS l {RUN.format('l')}",
]


@pytest.mark.parametrize("query", TRACKED)
def test_a_rebuilt_tracking_store_is_as_it_was(launched: Launched, rebuilt: Desk, query: str) -> None:
    was, is_ = (sorted(rows(desk.folder / "runs" / "mlflow.db", query)) for desk in (launched.desk, rebuilt))
    assert was
    assert is_ == was


def test_a_rebuilt_workspace_has_the_recipes_and_reruns_nothing(launched: Launched, rebuilt: Desk) -> None:
    was, is_ = (
        sorted(path.read_text() for path in desk.folder.glob("runs/mlartifacts/*/artifacts/recipe.json"))
        for desk in (launched.desk, rebuilt)
    )
    assert len(was) == 4
    assert is_ == was
    assert [path.read_bytes() for path in rebuilt.files] == list(launched.contents.values())
    assert "nothing is rerun" in rebuilt.run("launch", "grid.yaml").out
    assert "4 finished" in rebuilt.run("status").out


def test_a_registry_alone_comes_back_without_mlflow_or_an_experiment(launched: Launched, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "evaluations").symlink_to(launched.desk.folder / "runs" / "evaluations")
    run = Desk(tmp_path).run("rebuild", PYTHONPROFILEIMPORTTIME="1")
    assert "Cells put back: 4." in run.out
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in run.err.splitlines() if "|" in line}
    assert not imported & {"torch", "ray", "mlflow"}
    assert Desk(tmp_path).states == launched.desk.states


def test_what_cannot_be_rebuilt_is_told(desk: Desk) -> None:
    assert "add FILE.yaml" in refused(desk, "rebuild", "--mlflow")
    assert "no per-cell files" in refused(desk, "rebuild")
    assert not (desk.folder / "runs").exists()


def test_a_cell_reproduces_and_nothing_is_written(launched: Launched) -> None:
    folder = launched.desk.folder
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and "runs" in path.parts}
    out = launched.desk.run("verify", "grid.yaml").out
    first = min(path.stem for path in launched.desk.files)
    assert re.match(rf"identical  \w+/resnet8/digits/s\d \({first[:16]}\)\n", out)
    assert "1 of 1 cell reproduces bit for bit." in out
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and "runs" in path.parts}
    assert after == before


def test_a_cell_that_does_not_reproduce_is_told_with_what_changed(
    set_up: Callable[[str], Desk], launched: Launched
) -> None:
    desk = set_up("altered")
    shutil.copytree(launched.desk.folder / "runs" / "evaluations", desk.folder / "runs" / "evaluations")
    altered, damaged, *_ = desk.files
    table = pq.read_table(altered, partitioning=None)
    account = json.loads(table.schema.metadata[b"cell"])
    account["provenance"]["torch_version"] = "0.[old]"
    rival = table["rival"].to_numpy().copy()
    rival[3] += 0.5
    table = table.set_column(4, table.schema.field("rival"), pa.array(rival))
    pq.write_table(table.replace_schema_metadata({"cell": json.dumps(account)}), altered)
    damaged.write_bytes(damaged.read_bytes()[:-30])
    cells = f"{altered.stem[:20]},{damaged.stem[:20]}"
    out = desk.run("verify", "grid.yaml", "--cells", cells, expect=1).out
    assert re.search(r"^different  .*\n  largest \|difference\| in columns: rival 0\.5\n", out, re.MULTILINE)
    assert "samples whose correctness changed: 0" in out
    assert "torch_version 0.[old] → " in out
    assert re.search(r"^not verified  .*\n  .*cannot be read as Parquet", out, re.MULTILINE)
    assert "0 of 2 cells reproduce bit for bit." in out


def test_a_cell_that_is_not_there_cannot_be_verified(launched: Launched) -> None:
    assert "begins with 'xyz'" in launched.desk.run("verify", "grid.yaml", "--cells", "xyz", expect=2).err


# Cells that fail or diverge


def broken(desk: Desk) -> Desk:
    """A desk whose grid has a loss that fails, and one that diverges."""
    (desk.folder / "moods.py").write_text(FAILING)
    grid = GRID.replace("bce_unified", "moody") + "plugins: [moods]\n"
    grid += "overrides: [{where: {loss: softmax}, recipe: {learning_rate: 1.0e+9}}]\n"
    (desk.folder / "grid.yaml").write_text(grid)
    return desk


@pytest.fixture(scope="module")
def failed(set_up: Callable[[str], Desk]) -> tuple[Desk, Run]:
    """A launch of which half the cells fail and a quarter diverges."""
    desk = broken(set_up("failed"))
    return desk, desk.run("launch", "grid.yaml", "--executor", "inline", "--json", expect=1)


def test_inline_and_debug_raise_a_fault_of_a_loss_where_it_is(set_up: Callable[[str], Desk]) -> None:
    desk = broken(set_up("debugged"))
    moody = ("launch", "grid.yaml", "--executor", "inline", "--loss", "moody", "--loss", "softmax", "--only")
    run = desk.run(*moody, "--seeds", "1", "--debug", expect=1)
    assert "moods.py" in run.err, "the traceback leads to the line of the loss"
    assert run.err.endswith("RuntimeError: not [today]\n")
    assert "failed" not in desk.states.values(), "so the same command tries it again"
    again = desk.run(*moody, "--seeds", "1", "--debug", MOOD="good")
    assert "Traceback" not in again.err
    assert set(desk.states.values()) == {"finished", "diverged", "planned"}, "what --only leaves out stays planned"


def test_failed_cells_are_told_and_the_others_kept(failed: tuple[Desk, Run]) -> None:
    desk, run = failed
    told = json.loads(run.out.splitlines()[-1])
    assert [told[key] for key in ("total", "done", "pending", "failed", "diverged")] == [4, 2, 2, 2, 2]
    assert run.err.count("failed: RuntimeError: not [today]") == 2
    assert len(re.findall(r"diverged in epoch 1", run.err)) == 2
    assert sorted(desk.states.values()) == ["diverged", "diverged", "failed", "failed"]
    assert sorted(desk.tracked().values()) == ["FAILED", "FAILED", "FINISHED", "FINISHED"]
    assert [row["state"] for row in desk.results()] == ["diverged", "diverged"]
    assert [pq.read_metadata(path).num_rows for path in desk.files] == [0, 0]


def test_status_names_failures_with_their_reason(failed: tuple[Desk, Run]) -> None:
    out = failed[0].run("status").out
    assert "2 failed" in out
    assert out.count("RuntimeError: not [today]") == 2


def test_failed_cells_are_left_alone_until_asked_for(failed: tuple[Desk, Run]) -> None:
    desk, _ = failed
    before = desk.attempts
    run = desk.run("launch", "grid.yaml", "--executor", "inline", expect=1, MOOD="good")
    assert "2 failed earlier and are skipped; --retry-failed runs them again." in run.out
    assert desk.attempts == before
    states = {cell["state"] for cell in json.loads(desk.run("plan", "grid.yaml", "--json").out)["cells"]}
    assert states == {"failed", "diverged"}
    desk.run("launch", "grid.yaml", "--executor", "inline", "--retry-failed", MOOD="good")
    assert sorted(desk.states.values()) == ["diverged", "diverged", "finished", "finished"]
    assert set(desk.tracked().values()) == {"FINISHED"}
    assert len(desk.files) == len(desk.results()) == 4
    assert desk.attempts[: len(before)] == before
    assert [outcome for _, outcome in desk.attempts[len(before) :]] == ["finished"] * 2


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address on this machine, and what was sent there."""
    received: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/secret", received
        server.shutdown()
        thread.join()


def test_a_webhook_hears_of_the_first_failure_and_of_the_end(
    set_up: Callable[[str], Desk], webhook: tuple[str, list[dict[str, Any]]]
) -> None:
    url, received = webhook
    desk = broken(set_up("notified"))
    desk.run("launch", "grid.yaml", "--executor", "inline", "--notify", url, expect=1)
    first, last = received
    assert first["text"].startswith("First failure: moody/resnet8/digits/s0: RuntimeError")
    assert last["text"] == "grid: 2 of 4 cells done, 2 failed, 2 diverged, 2 pending."
    assert (last["total"], last["failed"]) == (4, 2)


def test_a_webhook_that_does_not_answer_fails_nothing(set_up: Callable[[str], Desk]) -> None:
    run = set_up("unheard").run("launch", "grid.yaml", "--executor", "inline", "--notify", "http://127.0.0.1:9/secret")
    assert "The webhook of --notify was not reached" in run.out
    assert "secret" not in run.out + run.err


def test_what_is_no_webhook_is_refused(set_up: Callable[[str], Desk]) -> None:
    desk = set_up("mistaken")
    run = desk.run("launch", "grid.yaml", "--notify", "me@here", expect=2)
    assert run.err == "--notify needs an address that begins with http:// or https://.\n"
    assert not desk.files


# Interruption


def test_a_cell_that_finished_as_its_driver_died_has_one_attempt_that_finished(set_up: Callable[[str], Desk]) -> None:
    desk = set_up("died")
    desk.run("launch", "grid.yaml", "--executor", "inline")
    before = desk.attempts
    with closing(sqlite3.connect(desk.folder / "runs" / "registry.db")) as registry:  # as who takes over leaves it
        registry.execute("UPDATE attempts SET outcome = 'interrupted', seconds = NULL WHERE id = 2")
        registry.execute("UPDATE cells SET state = 'planned' WHERE id = ?", [before[1][0]])
        registry.commit()
    assert "nothing is rerun" in desk.run("launch", "grid.yaml", "--executor", "inline").out
    assert desk.attempts == before
    assert set(desk.states.values()) == {"finished"}


def ignoring_nothing() -> None:
    """A shell that starts tests in the background makes them, and their children, deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupted(desk: Desk, *arguments: object, after: str = " uniform 0.") -> tuple[int, str, str]:
    """Launch, and press Ctrl-C once a line says so; by default, that a first cell has finished."""
    with desk.start("launch", "grid.yaml", *arguments, preexec_fn=ignoring_nothing) as process:
        lines = []
        for line in process.stdout or []:
            lines.append(line)
            if after in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    return process.returncode, "".join(lines) + out, err


def test_ctrl_c_keeps_what_is_finished(set_up: Callable[[str], Desk]) -> None:
    desk = set_up("interrupted")
    (desk.folder / "grid.yaml").write_text(GRID.replace("seeds: 2", "seeds: 60").replace("epochs: 1", "epochs: 3"))
    code, out, err = interrupted(desk)
    assert code == 130, out + err
    assert "Interrupted. Everything finished so far is kept" in out
    assert "Traceback" not in out + err
    assert err == ""
    told = len(re.findall(r" uniform 0\.", out))
    assert 1 <= told < 120
    states = list(desk.states.values())
    assert states.count("finished") == told
    assert states.count("planned") == 120 - told
    assert told <= len(desk.files) <= told + 2
    assert set(desk.tracked().values()) <= {"FINISHED", "KILLED"}
    plan = json.loads(desk.run("plan", "grid.yaml", "--json").out)
    assert plan["done"] == len(desk.files)


def test_ctrl_c_while_ray_starts_leaves_nothing(set_up: Callable[[str], Desk]) -> None:
    desk = set_up("impatient")
    code, out, err = interrupted(desk, "--executor", "ray", after="to run.")
    assert code == 130, out + err
    assert "Interrupted. Everything finished so far is kept" in out
    assert err == ""
    assert set(desk.states.values()) == {"planned"}
    assert not desk.files


# On Ray

CHATTER = ["INFO", "WARNING", "(raylet)", "(pid=", "Tune", "tune", "alembic", "mlflow.db", "Ray", "dashboard", "usage"]


def test_a_launch_on_ray_is_calm_and_complete(set_up: Callable[[str], Desk]) -> None:
    desk = set_up("calm")
    run = desk.run("launch", "grid.yaml", "--seeds", 1, "--max-concurrent", 2)
    assert run.err == ""
    lines = run.out.splitlines()
    ours = {line for line in lines if line.startswith("Conditions: ")}  # which says that nothing was tuned
    assert len(ours) == 1
    assert not [word for word in CHATTER if any(word in line for line in lines if line not in ours)]
    assert lines[:3] == [
        "Launching grid.yaml.",
        "Options leave out of this command alone: seed 1. What was asked stays asked.",
        "grid: 2 cells, 0 already done, 2 to run.",
    ]
    cells = [line for line in lines if re.match(r"\w+/resnet8/digits/s\d  [\d.]+ s  uniform 0\.\d{4}", line)]
    assert len(cells) == 2
    done = {path.stem for path in desk.files}
    assert {cell: state for cell, state in desk.states.items() if cell in done} == dict.fromkeys(done, "finished")
    assert {state for cell, state in desk.states.items() if cell not in done} == {"planned"}
    assert desk.tracked() == {path.stem: "FINISHED" for path in desk.files}
    assert len(desk.results()) == 2


# What is refused, with one message and nothing started

NOWHERE = "127.0.0.1:9"


def refused(desk: Desk, *arguments: object, **environment: str) -> str:
    run = desk.run(*arguments, expect=2, **environment)
    assert "Traceback" not in run.err
    assert "Unexpected" not in run.err
    assert not desk.files
    return run.err


@pytest.mark.parametrize("verb", ["launch", "plan", "status", "aggregate", "compare"])
def test_a_bad_file_is_told_by_every_verb(desk: Desk, verb: str) -> None:
    (desk.folder / "grid.yaml").write_text(GRID.replace("bce_unified]", "bce_unifed]"))
    err = refused(desk, verb, "grid.yaml")
    assert err.startswith("grid.yaml:3: No loss named 'bce_unifed'. Did you mean 'bce_unified'? Known: ")
    assert "cannot be read: No such file" in refused(desk, verb, "absent.yaml")


def test_a_bad_option_is_told(desk: Desk) -> None:
    assert "--loss: No loss named 'sofmax'" in refused(desk, "plan", "grid.yaml", "--loss", "sofmax")
    assert "--seeds" in refused(desk, "plan", "grid.yaml", "--seeds", "few")
    assert "seed" in refused(desk, "plan", "grid.yaml", "--seeds", "0")
    assert "--only narrows" in refused(desk, "plan", "grid.yaml", "--only")
    assert "--executor" in refused(desk, "launch", "grid.yaml", "--executor", "slurm")


def test_missing_data_is_told_before_anything_starts(desk: Desk) -> None:
    (desk.folder / "grid.yaml").write_text(GRID.replace("digits", "mnist"))
    # A proxy that is not there: the download fails at once, with or without a network.
    proxies = dict.fromkeys(("http_proxy", "https_proxy"), f"http://{NOWHERE}")
    err = refused(desk, "launch", "grid.yaml", "--executor", "inline", no_proxy="", **proxies)
    assert err.startswith("No data for 'mnist': expected train-images-idx3-ubyte(.gz)")
    assert "'digits', which needs none" in err


@pytest.mark.parametrize("verb", ["launch", "aggregate", "compare", "plan", "status"])
def test_a_workspace_below_a_file_is_told(desk: Desk, verb: str) -> None:
    if verb in ("plan", "status"):  # they only read, and there is nothing
        desk.run(verb, "grid.yaml", "--workspace", "grid.yaml/runs")
    else:
        assert "grid.yaml/runs" in refused(desk, verb, "grid.yaml", "--workspace", "grid.yaml/runs")


def test_a_tracking_server_that_does_not_answer_is_told(desk: Desk) -> None:
    err = refused(desk, "launch", "grid.yaml", "--executor", "inline", "--tracking", f"http://{NOWHERE}")
    assert f"The tracking store http://{NOWHERE} cannot be used (Connection refused): correct --tracking" in err


@pytest.mark.parametrize("verb", ["launch", "plan", "status"])
def test_a_registry_that_does_not_answer_is_told_without_its_password(desk: Desk, verb: str) -> None:
    err = refused(desk, verb, "grid.yaml", "--registry", f"postgresql://u:secret@{NOWHERE}/x")
    assert "does not answer" in err
    assert "secret" not in err


def test_not_even_debug_shows_the_password(desk: Desk) -> None:
    url = f"postgresql://u:secret@{NOWHERE}/x"
    run = desk.run("plan", "grid.yaml", "--debug", expect=1, ORCHESTRATOR_REGISTRY=url)
    assert "Traceback" in run.err
    assert "secret" not in run.err + run.out


def test_a_ray_that_does_not_answer_is_told(set_up: Callable[[str], Desk]) -> None:
    desk = set_up("no-ray")
    err = refused(desk, "launch", "grid.yaml", "--address", NOWHERE)
    assert err.startswith(f"No Ray answers at '{NOWHERE}'")


def test_nothing_to_compare_is_told(desk: Desk) -> None:
    assert "launch it first" in refused(desk, "compare", "grid.yaml")


def test_debug_shows_the_traceback(desk: Desk) -> None:
    (desk.folder / "grid.yaml").write_text("name: x\n")
    assert "Traceback" in desk.run("plan", "grid.yaml", "--debug", expect=1).err


@pytest.mark.parametrize("verb", ["aggregate", "status"])
@pytest.mark.parametrize("name", ["a[old]", "a[/b]", "a:smile:"])
def test_a_workspace_with_a_strange_name_is_named_as_it_is(desk: Desk, verb: str, name: str) -> None:
    assert name in desk.run(verb, "grid.yaml", "--workspace", name).out


def test_the_console_script_is_the_same(desk: Desk) -> None:
    script = Path(sys.executable).with_name("orchestrator")
    if not script.exists():
        pytest.skip("the package is not installed here")
    (desk.folder / "moods.py").write_text(FAILING)
    (desk.folder / "grid.yaml").write_text(GRID.replace("bce_unified", "moody") + "plugins: [moods]\n")
    command = [script, "plan", "grid.yaml", "--json"]
    done = subprocess.run(command, cwd=desk.folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == json.loads(desk.run("plan", "grid.yaml", "--json").out)
