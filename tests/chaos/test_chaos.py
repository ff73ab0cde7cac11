"""Whatever fails while a grid runs, the end is as if nothing had happened.

The launches, processes and faults are real.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from faults import fill, small_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from faults import Door, MlflowServer

    Check = Callable[..., None]
    Scene = Any

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.timeout(1200),
]
CELLS = 6

INLINE = ["--executor", "inline"]
"""Where what fails is not Ray's: the driver, a store, or the code of a loss."""

KILLS = 20 if "CHAOS_FULL" in os.environ else 5
"""Of a driver in one test; `make chaos` makes more."""


def end(process: subprocess.Popen[str], expect: int = 0) -> str:
    out, _ = process.communicate(timeout=280)
    assert process.returncode == expect, out
    assert "Traceback" not in out
    return out


def killed(process: subprocess.Popen[str]) -> None:
    """By SIGKILL, and nobody waits until what it started has noticed."""
    process.kill()
    process.communicate()


# Workers


def test_a_killed_worker(scene: Scene, as_if_nothing_had_happened: Check) -> None:
    process = scene.start()
    scene.until(lambda: scene.epochs() >= 2, process)
    scene.workers(process)[0].kill()
    out = end(process)
    assert "is tried again: The worker process died" in out
    assert ("lost", "process") in scene.rows("SELECT outcome, fault FROM attempts")
    as_if_nothing_had_happened(scene, "worker killed")


def test_a_frozen_worker_and_a_hanging_loss(scene: Scene, as_if_nothing_had_happened: Check, tmp_path: Path) -> None:
    scene.edit("seeds: 2", "seeds: 2\ntime_limit: 60")
    scene.options += ["--max-concurrent", "2"]  # the loss that hangs is the third
    mood = tmp_path / "mood"
    mood.write_text("hang")
    scene.environment["MOOD"] = str(mood)
    process = scene.start()
    scene.until(lambda: scene.epochs() >= 2, process)
    scene.workers(process)[0].send_signal(signal.SIGSTOP)
    out = end(process)
    stories = [story for (story,) in scene.rows("SELECT traceback FROM attempts WHERE fault = 'hang'")]
    assert out.count("is tried again: Its process was ended: longer than its limit of 60 s") == len(stories)
    assert any("in per_sample" in story for story in stories), "the stack of what hung is kept"
    assert any('File "' not in story for story in stories), "what was frozen shows no stack"
    as_if_nothing_had_happened(scene, "worker frozen (SIGSTOP), another hangs in user code", 2)


def test_user_code_that_raises(scene: Scene, as_if_nothing_had_happened: Check, tmp_path: Path) -> None:
    mood = tmp_path / "mood"
    mood.write_text("raise")
    scene.environment["MOOD"] = str(mood)
    scene.options += INLINE
    process = scene.start()
    out, _ = process.communicate(timeout=280)
    assert process.returncode == 1, out
    assert sorted(scene.states()) == ["failed"] + ["finished"] * (CELLS - 1)
    assert len(scene.rows("SELECT * FROM attempts WHERE outcome = 'failed'")) == 1, "it is not tried again"
    ((story,),) = scene.rows("SELECT traceback FROM attempts WHERE outcome = 'failed'")
    assert "the moody loss is in a mood" in story
    scene.options.append("--retry-failed")
    scene.launch()
    as_if_nothing_had_happened(scene, "user code raises")


def test_a_cell_that_exhausts_memory(scene: Scene, as_if_nothing_had_happened: Check, tmp_path: Path) -> None:
    memory = psutil.virtual_memory()
    # Ray ends the process that eats when the machine has less than this left.
    threshold = (memory.total - memory.available) / memory.total + 0.15
    if threshold > 0.9:
        pytest.skip("too little memory is free here to fill some of it")
    mood = tmp_path / "mood"
    mood.write_text("devour")
    scene.environment |= {
        "MOOD": str(mood),
        "RAY_memory_usage_threshold": f"{threshold:.3f}",
        "RAY_memory_monitor_refresh_ms": "100",
    }
    out = end(scene.start())
    assert ("lost", "memory") in scene.rows("SELECT outcome, fault FROM attempts"), out
    as_if_nothing_had_happened(scene, "memory exhausted in a cell")


# The driver


@pytest.mark.timeout(1200)
def test_a_driver_that_is_killed_again_and_again(scene: Scene, as_if_nothing_had_happened: Check) -> None:
    draw = random.Random(0)
    kills = 0
    done: set[str] = set()
    while kills < KILLS:
        process = scene.start()
        try:
            process.communicate(timeout=draw.uniform(0.5, 20))  # before, while and after cells run
        except subprocess.TimeoutExpired:
            killed(process)
            kills += 1
            assert done <= scene.files.keys()
            done = {*scene.files}
        else:  # it was faster: kill it in another life
            if kills < KILLS and set(scene.states()) == {"finished"}:
                break
    for _ in range(KILLS - kills):  # when all is done, too
        process = scene.start()
        time.sleep(draw.uniform(0.2, 1.5))
        killed(process)
        kills += 1
    scene.launch()
    as_if_nothing_had_happened(scene, "driver killed at random moments", kills)


def test_ctrl_c_and_a_closed_terminal_save_states_and_a_damaged_one_is_set_aside(
    scene: Scene, as_if_nothing_had_happened: Check
) -> None:
    scene.slow(0.4)  # no cell ends before it hears
    process = scene.start()
    scene.until(lambda: scene.epochs() >= 2, process)
    process.send_signal(signal.SIGINT)
    assert "Interrupted" in end(process, expect=130)
    assert "running" not in scene.states()
    states = sorted((scene.workspace / "checkpoints").glob("*/state"))
    assert states
    damaged = bytearray(states[0].read_bytes())
    damaged[len(damaged) // 2] ^= 1
    states[0].write_bytes(damaged)
    process = scene.start()
    scene.until(lambda: scene.epochs() >= 2, process)
    process.send_signal(signal.SIGHUP)
    assert "Interrupted" in end(process, expect=130)
    assert scene.rows("SELECT * FROM leases") == []
    scene.hurry()
    scene.options += INLINE
    scene.launch()
    as_if_nothing_had_happened(scene, "Ctrl-C, one checkpoint damaged, then the terminal closed", 3)


def test_two_launches_that_share_the_work_one_of_which_is_killed(
    scene: Scene, as_if_nothing_had_happened: Check
) -> None:
    scene.slow(0.4)  # until the second launch is there
    scene.options += INLINE
    first = scene.start()
    scene.until(lambda: scene.epochs() >= 1, first)
    refused = scene.start()
    assert "--join" in end(refused, expect=2)
    scene.hurry()
    second = scene.start("launch", "chaos.yaml", "--join", *INLINE)
    scene.until(lambda: len(scene.rows("SELECT * FROM leases")) == 2, second)
    killed(first)
    end(second)
    as_if_nothing_had_happened(scene, "one of two joined drivers killed")


# Nodes


@contextmanager
def a_cluster(**system: Any) -> Iterator[Any]:
    """Three raylets: a head that trains nothing, and two that have a core each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": system, "include_dashboard": False}
    )
    cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def joining(scene: Scene, cluster: Any) -> Scene:
    scene.options += ["--address", cluster.address]
    return scene


@pytest.mark.filterwarnings("ignore")
def test_a_killed_node(scene: Scene, as_if_nothing_had_happened: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(scene.folder), str(Path.cwd())]))
    with a_cluster() as cluster:
        process = joining(scene, cluster).start()
        scene.until(lambda: scene.epochs() >= 2, process)
        cluster.remove_node(min(cluster.worker_nodes, key=str), allow_graceful=False)
        end(process)
    assert ("lost", "node") in scene.rows("SELECT outcome, fault FROM attempts")
    as_if_nothing_had_happened(scene, "node killed")


@pytest.mark.filterwarnings("ignore")
def test_a_node_that_is_cut_off_and_heals(
    scene: Scene, as_if_nothing_had_happened: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(scene.folder), str(Path.cwd())]))
    impatient = {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 500,
        "health_check_timeout_ms": 500,
        "health_check_failure_threshold": 3,
    }
    with a_cluster(**impatient) as cluster:
        process = joining(scene, cluster).start()
        scene.until(lambda: scene.epochs() >= 2, process)
        node = min(cluster.worker_nodes, key=str)
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        family = [raylet, *raylet.children(recursive=True)]
        for member in family:
            member.suspend()
        time.sleep(6)
        for member in family:
            with_grace(member.resume)
        end(process)
    as_if_nothing_had_happened(scene, "node cut off, then healed")


def with_grace(call: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        call()


# Storage


def test_a_full_disk(scene: Scene, as_if_nothing_had_happened: Check) -> None:
    with small_disk(scene.workspace / "checkpoints", "64m") as disk:
        process = scene.start()
        scene.until(lambda: scene.epochs() >= 1, process)
        ballast = fill(disk)
        scene.until(lambda: bool(scene.rows("SELECT 1 FROM attempts WHERE fault = 'storage'")), process)
        ballast.unlink()
        end(process)
        as_if_nothing_had_happened(scene, "disk full")


def test_a_locked_registry(scene: Scene, as_if_nothing_had_happened: Check) -> None:
    scene.options += INLINE
    process = scene.start()
    scene.until(lambda: scene.epochs() >= 1, process)
    with closing(sqlite3.connect(scene.workspace / "registry.db", timeout=60, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        time.sleep(15)
        database.execute("ROLLBACK")
    end(process)
    as_if_nothing_had_happened(scene, "registry locked for 15 s")


def test_a_file_that_is_half_there(scene: Scene, as_if_nothing_had_happened: Check) -> None:
    scene.options += INLINE
    process = scene.start()
    scene.until(lambda: scene.count("finished") >= 1, process)
    killed(process)
    path = min(scene.files.values())
    path.write_bytes(path.read_bytes()[:1000])
    out, _ = scene.start().communicate(timeout=280)
    assert "set aside" in out
    # Its first attempt had finished, and so does another: what counts is that no other cell does so twice.
    with closing(sqlite3.connect(scene.workspace / "registry.db")) as database, database:
        database.execute("DELETE FROM attempts WHERE cell = ? AND outcome = 'finished'", (path.stem,))
    scene.launch()
    as_if_nothing_had_happened(scene, "finished file truncated")


# The tracking server


@pytest.mark.parametrize("way", ["refuses", "stalls"])
def test_a_tracking_server(
    scene: Scene, mlflow: MlflowServer, tracking: Door, as_if_nothing_had_happened: Check, way: str
) -> None:
    process = scene.start()
    scene.until(lambda: scene.epochs() >= 1, process)
    if way == "refuses":
        tracking.refuse()
    else:
        for member in mlflow.family:
            member.suspend()
    end(process)
    if way == "refuses":
        tracking.open()
    else:
        for member in mlflow.family:
            member.resume()
    scene.launch()
    as_if_nothing_had_happened(scene, f"tracking server {way}")
