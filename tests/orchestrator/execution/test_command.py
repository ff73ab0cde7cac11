"""Commands that train: what they are told, what becomes of their faults, and that nothing of them is left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from orchestrator.execution import command, command_environment, guard
from orchestrator.execution.worker import Worker
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import plan
from orchestrator.experiment.reading import beside
from orchestrator.experiment.resources import Resources
from orchestrator.judging.cell_scores import read
from orchestrator.outcome import Advanced, Ending, Event, Failed, Finished, Lost, Stopped
from orchestrator.records.files.checkpoints import Checkpoints
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.garbage import DAY, garbage
from orchestrator.records.files.publication import export
from orchestrator.records.files.storage import Storage
from orchestrator.records.recorder import Recorder
from orchestrator.records.tracking.runs import Untracked
from orchestrator.reproduction.code_changes import codes_by_plugin
from orchestrator.workspace import Workspace

WRITES = """
def write(out, rows=4, header="sample,label,split,score_0,score_1"):
    with open(out, "w") as file:
        print(header, file=file)
        for row in range(rows):
            print(f"{row},{row % 2},test,{row},{1.5}", file=file)
            print(f"v{row},{row % 2},validation,{row},{1.5}", file=file)
"""


class Bench:
    """A worker, and cells of one script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.evaluations = Evaluations(folder / "runs" / "evaluations")
        self.checkpoints = Checkpoints(folder / "runs" / "checkpoints", "launch")
        self.events: list[Event] = []

    def asked(self, script: str, **trainer: Any) -> Experiment:
        """An experiment of a script, whose first lines can `write(out)`."""
        (self.folder / "train.py").write_text(f"import sys, os, time, json\n{WRITES}\n{dedent(script)}")
        words = ["python", "train.py", "{out}", "{cell}", "{progress}", "{checkpoint}", "{model}", "{loss}"]
        fields = {
            "name": "commands",
            "trainer": {"command": words, **trainer},
            "losses": [{"name": "svm", "C": 0.5}],
            "backbones": ["linear"],
            "datasets": ["drawn"],
            "seeds": [3],
            "baseline": "svm",
        }
        return beside(Experiment.model_validate(fields), self.folder)

    def worker(self, asked: Experiment) -> Worker:
        recorder = Recorder(self.evaluations, Untracked(), {"git_commit": "abc"})
        planned = codes_by_plugin(asked)
        return Worker(recorder, self.folder / "data", self.checkpoints, planned=planned, read_scores=read)

    def run(self, script: str, **trainer: Any) -> Ending:
        """How a cell of the script ends."""
        asked = self.asked(script, **trainer)
        (self.cell,) = plan(asked).cells
        return self.worker(asked).run(self.cell, self.events.append)

    def printed(self) -> str:
        """What it printed, as the workspace has it."""
        return (self.folder / "runs" / "logs" / f"{self.cell.id}.txt").read_text()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def failed(ending: Ending) -> str:
    assert isinstance(ending, Failed), ending
    return ending.error


def test_a_cell_of_a_command_is_recorded_as_any_other(bench: Bench) -> None:
    ending = bench.run("print('hello'); write(sys.argv[1]); open(sys.argv[5], 'wb').write(b'model')")
    assert isinstance(ending, Finished), ending
    account = bench.evaluations.account(bench.cell)
    rows = bench.evaluations.evaluation(bench.cell)
    # Scores (row, 1.5) with labels 0, 1, 0, 1: right are rows 1 and 2.
    assert rows.positive.tolist() == [0, 1.5, 2, 1.5]
    assert rows.rival.tolist() == [1.5, 1, 1.5, 3]
    assert account.metrics["sample_wise_accuracy"] == 0.5
    # No threshold suits both: one is between 1 and 1.5, the other between 1.5 and 2.
    assert account.metrics["accuracy_at_validation_threshold"] == account.metrics["uniform_accuracy"] == 0.25
    validation = bench.evaluations.validation(bench.cell)
    assert validation is not None
    assert validation.positive.tolist() == [0, 1.5, 2, 1.5]
    assert bench.printed() == "hello\n"
    kept = account.provenance["model"]
    assert (bench.folder / "runs" / kept["file"]).read_bytes() == b"model"
    assert account.provenance["data_digest"] is None
    assert not (bench.folder / "runs" / "checkpoints" / bench.cell.id).exists()


def test_what_it_printed_and_the_model_it_left_are_exported_and_stay_as_long_as_the_cell(bench: Bench) -> None:
    bench.run("print('hello'); write(sys.argv[1]); open(sys.argv[5], 'wb').write(b'model')")
    runs, out = Workspace.at(str(bench.folder / "runs")), bench.folder / "out"
    export(plan(bench.asked("")), runs, out)
    model = bench.evaluations.account(bench.cell).provenance["model"]["file"]
    assert (out / "logs" / f"{bench.cell.id}.txt").read_text() == "hello\n"
    assert (out / model).read_bytes() == b"model"
    assert "| `logs/ID.txt` |" in (out / "README.md").read_text()
    assert model in (out / "SHA256SUMS").read_text()
    files = list(Storage(runs.root).list())
    later = time.time() + 2 * DAY
    assert garbage(files, {"commands": {bench.cell.id}}, later) == []
    gone = [item.name for item in garbage(files, {}, later, cells={bench.cell.id})]
    assert {f"logs/{bench.cell.id}.txt", model} <= set(gone)


def test_a_command_is_told_its_cell_and_sees_no_other_variables(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET_TOKEN", "a-secret-value")
    monkeypatch.setenv("WANTED", "yes")
    script = """
    cell = json.load(open(sys.argv[2]))
    told = {"cell": cell, "loss": sys.argv[6], "environment": dict(os.environ), "folder": os.getcwd()}
    json.dump(told, open("told.json", "w"))
    write(sys.argv[1])
    """
    assert isinstance(bench.run(script, environment=["WANTED"]), Finished)
    told = json.loads((bench.folder / "told.json").read_text())
    assert told["loss"] == told["cell"]["loss"] == "svm"
    assert told["cell"]["parameters"]["loss"] == {"C": 0.5}
    assert (told["cell"]["seed"], told["cell"]["dataset"], told["cell"]["scored_on"]) == (3, "drawn", "test")
    assert told["folder"] == str(bench.folder)
    seen = told["environment"]
    assert "MY_SECRET_TOKEN" not in seen
    assert (seen["WANTED"], seen["OMP_NUM_THREADS"], seen["CUDA_VISIBLE_DEVICES"]) == ("yes", "1", "")


@pytest.mark.parametrize(
    ("gpus", "seen", "shown"),
    [
        (0, {"CUDA_VISIBLE_DEVICES": "2,3"}, {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}),
        (1, {"CUDA_VISIBLE_DEVICES": "2"}, {"CUDA_VISIBLE_DEVICES": "2"}),  # as Ray says to its worker
        (0.5, {"CUDA_VISIBLE_DEVICES": "GPU-8e2f"}, {"CUDA_VISIBLE_DEVICES": "GPU-8e2f"}),
        (2, {"CUDA_VISIBLE_DEVICES": "5,2,7"}, {"CUDA_VISIBLE_DEVICES": "5,2"}),
        (2, {}, {"CUDA_VISIBLE_DEVICES": "0,1"}),
        (1, {"ROCR_VISIBLE_DEVICES": "3,4"}, {"ROCR_VISIBLE_DEVICES": "3"}),
    ],
)
def test_a_command_sees_its_own_gpus_and_no_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, gpus: float, seen: dict[str, str], shown: dict[str, str]
) -> None:
    for name in command_environment.DEVICES:
        monkeypatch.delenv(name, raising=False)
    for name, value in seen.items():
        monkeypatch.setenv(name, value)
    asked = bench.asked("")
    (cell,) = plan(asked.model_copy(update={"resources": Resources(gpus=gpus)})).cells
    assert asked.trainer
    told = command_environment.environment(cell, asked.trainer, bench.folder)
    assert {name: told[name] for name in shown} == shown
    if gpus:
        assert set(command_environment.DEVICES) & set(told) == set(shown)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("", "No scores were written to {out}"),
        ("write(sys.argv[1], header='sample,label,score_0,score_1')", "scores.csv"),
        ("open(sys.argv[1], 'w').write('sample,label,score_0,score_1\\n0,0,1,2\\n1,0,1')", "scores.csv"),
        (
            "open(sys.argv[1], 'w').write('sample,label,score_0,score_1\\n0,0,1,2\\n1,1,x,2\\n')",
            "row 2, column 'score_0': 'x' is not a number",
        ),
        (
            "open(sys.argv[1], 'w').write('sample,label,score_0,score_1\\n0,0,1,2\\n1,1,inf,2\\n')",
            "row 2, column 'score_0': inf is not a finite number",
        ),
        (
            "open(sys.argv[1], 'w').write('seed,sample,label,score_0,score_1\\n4,0,0,1,2\\n')",
            "row 1, column 'seed': '4', but this cell's seed is '3'",
        ),
        (
            "open(sys.argv[1], 'w').write('sample,label,prediction\\n0,0,1\\n')",
            "a launch needs the scores of all classes",
        ),
        ("sys.exit('no such file: data.csv')", "exit code 1; it said last: no such file: data.csv"),
        ("print('out of ideas'); sys.exit(3)", "exit code 3; it said last: out of ideas"),
    ],
)
def test_what_a_command_does_wrong_is_its_own_fault_and_told(bench: Bench, script: str, said: str) -> None:
    ending = bench.run(script)
    assert said in failed(ending)


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("os.kill(os.getpid(), 9)", "process"),
        ("sys.exit(75)", "process"),
        ("sys.exit('CUDA out of memory')", "memory"),
    ],
)
def test_what_another_attempt_may_mend_is_a_fault_of_the_machinery(bench: Bench, script: str, fault: str) -> None:
    ending = bench.run(script)
    assert isinstance(ending, Lost)
    assert ending.fault == fault


def test_a_command_that_fills_the_disk_is_ended(bench: Bench) -> None:
    script = """
    for number in range(10_000):
        with open(os.path.join(os.environ["TMPDIR"], str(number)), "wb") as file:
            file.write(os.urandom(2**20))
            time.sleep(0.01)
    """
    assert "it wrote more than 0.01 GiB and was ended" in failed(bench.run(script, disk=0.01))


def test_a_single_file_that_grows_too_large_fails_at_once(bench: Bench) -> None:
    script = """
    with open("large", "wb", buffering=0) as file:
        while True:
            file.write(bytes(2**20))
    """
    assert "File too large" in failed(bench.run(script, disk=0.01))


def test_of_gigabytes_of_output_beginning_and_end_are_kept(bench: Bench) -> None:
    script = """
    print("first")
    line = "x" * 2**20
    for _ in range(1024):
        print(line)
    print("last")
    write(sys.argv[1])
    """
    assert isinstance(bench.run(script), Finished)
    kept = bench.printed()
    assert kept.startswith("first\n")
    assert kept.endswith("last\n")
    assert "bytes are left out" in kept
    assert len(kept) < 2**20


def running(pattern: str) -> list[int]:
    """The processes whose command has this text."""
    found = list[int]()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if pattern in (place / "cmdline").read_text() and (place / "stat").read_text().split(") ")[1][0] != "Z":
                found.append(int(place.name))
        except OSError:
            continue
    return found


def gone(pattern: str) -> bool:
    """Whether such processes end; waits for them."""
    deadline = time.monotonic() + 60
    while running(pattern) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not running(pattern)


FORKS = """
import subprocess
mark = os.path.basename(os.getcwd()) + "-child"
code = "import time; time.sleep(600)"
subprocess.Popen([sys.executable, "-c", code, mark])
subprocess.Popen([sys.executable, "-c", code, mark], start_new_session=True)
if not os.fork():  # a daemon, as servers become one
    os.setsid()
    if os.fork():
        os._exit(0)
    os.execv(sys.executable, [sys.executable, "-c", code, mark])
open("forked", "w").close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt its orphans")
def test_nothing_that_a_command_has_forked_outlives_it(bench: Bench) -> None:
    assert isinstance(bench.run(f"{FORKS}\nwrite(sys.argv[1])"), Finished)
    assert running(f"{bench.folder.name}-child") == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt its orphans")
def test_a_command_ends_with_its_worker_however_that_dies(bench: Bench) -> None:
    (bench.folder / "hangs.py").write_text(f"import sys, os, time\n{FORKS}\ntime.sleep(600)")
    spec: guard.Spec = {
        "command": [sys.executable, "hangs.py"],
        "folder": str(bench.folder),
        "environment": dict(os.environ),
        "output": str(bench.folder / "output.txt"),
        "written": [],
        "most": 2**30,
        "grace": 1.0,
    }
    worker = """
    import subprocess, sys, time
    guard = subprocess.Popen([sys.executable, "-I", "-S", sys.argv[1]], stdin=subprocess.PIPE, start_new_session=True)
    guard.stdin.write(sys.argv[2].encode() + b"\\n")
    guard.stdin.flush()
    time.sleep(600)
    """
    process = subprocess.Popen([sys.executable, "-c", dedent(worker), guard.__file__, json.dumps(spec)])
    while not (bench.folder / "forked").exists():
        time.sleep(0.05)
    assert running(f"{bench.folder.name}-child")
    process.send_signal(signal.SIGKILL)  # as the watchdog does at the time limit
    process.wait()
    assert gone(f"{bench.folder.name}-child")


def test_a_stop_lets_a_command_save_what_the_next_attempt_finds(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.execution.worker.ASK", 0.0)
    script = """
    import signal
    state = os.path.join(sys.argv[4], "epoch")
    done = int(open(state).read()) if os.path.exists(state) else 0

    def save(*_):
        open(state, "w").write(str(epoch))
        sys.exit(0)

    signal.signal(signal.SIGTERM, save)
    for epoch in range(done + 1, 4):
        with open(sys.argv[3], "a") as file:
            print(json.dumps({"epoch": epoch, "train_loss": 1 / epoch, "note": "text is left out"}), file=file)
        while epoch == 2 and not done:
            time.sleep(0.05)
    write(sys.argv[1])
    """
    asked = bench.asked(script)
    (cell,) = plan(asked).cells

    def hear(event: Event) -> None:
        bench.events.append(event)
        if isinstance(event, Advanced) and event.epoch == 2:
            bench.checkpoints.ask_to_stop()

    assert isinstance(bench.worker(asked).run(cell, hear), Stopped)
    bench.checkpoints.forget_stop()
    assert isinstance(bench.worker(asked).run(cell, hear), Finished)
    assert [event.epoch for event in bench.events if isinstance(event, Advanced)] == [1, 2, 3]
    history = bench.evaluations.account(cell).history
    assert history == [{"train_loss": 1.0}, {"train_loss": 0.5}, {"train_loss": 1 / 3}]


def test_a_command_that_does_not_heed_the_stop_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.execution.worker.ASK", 0.0)
    monkeypatch.setattr(command.Surroundings, "grace", 0.2)
    monkeypatch.setattr(command.Surroundings.__init__, "__defaults__", (None, None, 0.2))
    script = """
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(json.dumps({"epoch": 1}), file=open(sys.argv[3], "a"), flush=True)
    time.sleep(600)
    """
    asked = bench.asked(script)
    (cell,) = plan(asked).cells

    def hear(event: Event) -> None:
        if isinstance(event, Advanced):
            bench.checkpoints.ask_to_stop()

    assert isinstance(bench.worker(asked).run(cell, hear), Stopped)


def test_a_script_that_is_edited_while_it_runs_has_no_result(bench: Bench) -> None:
    ending = bench.run("open('train.py', 'a').write('\\nx = 1\\n'); write(sys.argv[1])")
    assert "train.py changed while it ran" in failed(ending)


def test_a_trial_is_scored_on_validation_rows_alone(bench: Bench) -> None:
    asked = bench.asked("write(sys.argv[1])")
    (cell,) = plan(asked).cells
    trial = replace(cell, recipe=cell.recipe.model_copy(update={"scored_on": "validation"}), trial=0)
    assert isinstance(bench.worker(asked).run(trial, bench.events.append), Finished)
    assert bench.evaluations.account(trial).samples == 4
    assert bench.evaluations.validation(trial) is None


def test_scores_that_are_refused_stay_for_whoever_mends_the_script(bench: Bench) -> None:
    bench.run("open(sys.argv[1], 'w').write('sample,label,prediction\\n0,0,1\\n')")
    (kept,) = (bench.folder / "runs" / "checkpoints" / bench.cell.id).rglob("refused-scores*")
    assert kept.read_text().startswith("sample,label")
