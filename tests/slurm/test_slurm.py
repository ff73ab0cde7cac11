"""docs/clusters/slurm.sh on a real Slurm: `make slurm`."""

from __future__ import annotations

import stat
import subprocess
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    Slurm = Any
    Job = Any

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1200)]


def done(slurm: Slurm) -> int:
    return len(list((slurm.workspace / "evaluations").rglob("*.parquet")))


def has_saved_all(slurm: Slurm) -> bool:
    """Whether each cell that was interrupted in its training has a state, and there was one."""
    query = "SELECT DISTINCT cell FROM attempts WHERE outcome = 'interrupted' AND progress > 0"
    saved = [path.parent.name for path in (slurm.workspace / "checkpoints").glob("*/state*")]
    begun = [cell for (cell,) in slurm.rows(query)]
    return bool(begun) and set(begun) <= set(saved) and not {"running", "lost"} & outcomes(slurm)


def outcomes(slurm: Slurm) -> set[str]:
    return {outcome for (outcome,) in slurm.rows("SELECT DISTINCT outcome FROM attempts")}


def at_work(slurm: Slurm, *options: str) -> Job:
    """A job, as soon as each node has an epoch of a cell behind it."""
    job = slurm.submit(*options)
    slurm.until(slurm.both_at_work, lambda: job.text)
    return job


def goes_on(slurm: Slurm, job: Job) -> None:
    """Check that a job that was stopped has saved its cells, waits to begin again, and then finishes them."""
    job.until("PENDING")
    assert "Stopping: running cells save their state." in job.text
    assert has_saved_all(slurm)
    slurm.hurry()
    job.again()
    job.until("COMPLETED")
    assert done(slurm) == 4
    assert job.text.count("Launching") >= 2, "what the first try said is kept"
    assert job.shown("ExitCode") == "0:0"


def test_two_nodes_train_whatever_their_hosts_file_memory_environment_and_temporary_folders(slurm: Slurm) -> None:
    job = at_work(slurm, "--export=HOME,PYTHONPATH,TMPDIR,OMP_NUM_THREADS,RAY_USAGE_STATS_ENABLED")
    slurm.hurry()
    job.until("COMPLETED")
    ended = time.monotonic()
    assert job.shown("ExitCode") == "0:0"
    assert done(slurm) == 4
    assert {node for (node,) in slurm.rows("SELECT node FROM attempts")} == {"host1", "host2"}
    token = slurm.folder / "home/.ray/auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    slurm.until(lambda: slurm.call("sinfo", "--noheader", "--format=%T %D") == "idle 2")
    assert time.monotonic() - ended < 30, "the other node is free at once"
    assert len(job.text) < 20_000, "no state of Ray is printed"
    assert slurm.rays() == []


def test_a_cluster_without_gpus_refuses_the_line_on_gpus(slurm: Slurm) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        slurm.submit("--gpus-per-node=4")
    assert "gres" in refused.value.stderr


@pytest.mark.parametrize("how", [("--batch", "--signal=TERM"), ("--signal=INT",)], ids=["script", "steps"])
def test_a_signal_saves_what_runs_and_queues_the_job_again(slurm: Slurm, how: tuple[str, ...]) -> None:
    job = at_work(slurm)
    slurm.call("scancel", *how, job.number)
    goes_on(slurm, job)


def test_a_job_whose_time_is_up_goes_on_in_another_one(slurm: Slurm) -> None:
    job = at_work(slurm, "--time=4", "--signal=B:TERM@120")
    goes_on(slurm, job)


def test_a_job_that_is_preempted_goes_on_behind_the_other(slurm: Slurm) -> None:
    job = at_work(slurm)
    slurm.call("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    goes_on(slurm, job)


def test_scancel_ends_a_job_for_good_and_its_cells_save_their_state(slurm: Slurm) -> None:
    job = at_work(slurm)
    slurm.call("scancel", job.number)
    job.until("CANCELLED")
    assert has_saved_all(slurm)
    time.sleep(5)
    assert job.state == "CANCELLED"


def test_a_node_that_falls_does_not_end_the_job(slurm: Slurm) -> None:
    job = at_work(slurm)
    psutil.Process(slurm.keeper(2)).kill()
    slurm.until(lambda: "lost" in outcomes(slurm), lambda: job.text)
    slurm.hurry()
    job.until("COMPLETED")
    assert done(slurm) == 4
    assert job.shown("ExitCode") == "0:0"


def test_an_element_of_an_array_behind_a_killed_launch_waits_for_its_lease_and_goes_on(slurm: Slurm) -> None:
    job = at_work(slurm, "--array=1-2%1")
    slurm.hurry()
    slurm.call("sh", "-c", "kill -KILL $(pgrep -f '[o]rchestrator launch')", host=1)
    first, second = (type(job)(slurm, f"{job.number}_{element}", job.said) for element in (1, 2))
    first.until("FAILED")
    assert first.shown("ExitCode") == "137:0"
    second.until("COMPLETED")
    assert done(slurm) == 4


def test_a_wrong_request_is_the_jobs_exit_code(slurm: Slurm) -> None:
    (slurm.folder / "wrong.yaml").write_text("name: wrong\nlosses: [sofmax]\n")
    wrong = slurm.submit("--nodes=1", file="wrong.yaml")
    wrong.until("FAILED")
    assert wrong.shown("ExitCode") == "2:0"
    assert "sofmax" in wrong.text


def test_where_ray_cannot_start_the_job_fails_and_says_why(slurm: Slurm) -> None:
    taken = "import socket; s = socket.create_server(('0.0.0.0', 6379)); open('taken', 'w'); input()"
    entered = ["nsenter", "--target", str(slurm.keeper(1)), "--all", f"--wd={slurm.folder}", "python3", "-c", taken]
    with subprocess.Popen(entered, stdin=subprocess.PIPE, env=slurm.environment) as holder:
        slurm.until((slurm.folder / "taken").exists)
        job = slurm.submit("--nodes=1")
        job.until("FAILED")
        holder.kill()
    assert "6379" in job.text
    assert done(slurm) == 0
