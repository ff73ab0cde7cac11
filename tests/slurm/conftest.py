"""A real Slurm of two nodes, which are namespaces of this machine, with all the oddities that nodes have.

Their own names mean 127.0.1.1, as Debian writes it, jobs have little memory unless they ask for more, no node has GPUs
that Slurm knows, and Ray's default folder is someone else's.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs/clusters/slurm.sh"
OWN = "/tmp/orchestrator-0"  # noqa: S108 - where the script of root keeps what belongs on a node's own disk

LONG = "temporary-files-of-a-job/" * 4
"""A folder with a path too long for sockets."""

CONFIGURATION = """\
ClusterName=tests
SlurmctldHost=control(10.77.0.254)
SlurmUser=root
AuthInfo=socket={folder}/munge/socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmdTimeout=10
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill
JobAcctGatherFrequency=task=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=host1 NodeAddr=10.77.0.1 CPUs={cores} RealMemory={memory}
NodeName=host2 NodeAddr=10.77.0.2 CPUs={cores} RealMemory={memory}
PartitionName=patient Nodes=ALL Default=YES PriorityTier=1 GraceTime=120
PartitionName=urgent Nodes=ALL PriorityTier=2
"""

OVER = {"CANCELLED", "COMPLETED", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"}
"""States from which a job does not come back by itself."""

ALONE = ["unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--net", "--mount", "--uts"]

FURNISH = r"""
set -eu
folder=$1 own=$2
cd "$folder"
mkdir -m 700 munge state host1 host2
hostname control
ip link set lo up
ip link add switch type bridge
ip addr add 10.77.0.254/24 dev switch
ip link set switch up
head -c 1024 /dev/urandom > munge/key
chmod 600 munge/key
munged --force --key-file=munge/key --socket="$folder/munge/socket" --pid-file="$folder/munge/pid" \
  --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
printf '127.0.0.1 localhost\n10.77.0.254 control\n10.77.0.1 host1\n10.77.0.2 host2\n' > hosts
mount --bind hosts /etc/hosts
slurmctld
for host in 1 2; do
  { echo 127.0.0.1 localhost; echo 127.0.1.1 host$host; echo 10.77.0.254 control; } > hosts$host
  echo 10.77.0.$((3 - host)) host$((3 - host)) >> hosts$host
  unshare --fork --kill-child --pid --mount-proc --net --mount --uts sh -euc "
    hostname host$host
    ip link set lo up
    mount --bind hosts$host /etc/hosts
    mount -t tmpfs none $own
    mount -t tmpfs none /tmp/ray
    echo 10.9.9.9:6379 > /tmp/ray/ray_current_cluster
    mount -o remount,ro /tmp/ray
    touch up$host
    until ip link show cable$host; do sleep 0.1; done > /dev/null 2>&1
    ip addr add 10.77.0.$host/24 dev cable$host
    ip link set cable$host up
    exec env --default-signal=INT,QUIT slurmd -D -N host$host" > host$host.out 2>&1 &
  until [ -e up$host ]; do sleep 0.1; done
  tr -d ' ' < /proc/$!/task/$!/children > pid$host
  ip link add plug$host type veth peer name cable$host netns "$(cat pid$host)"
  ip link set plug$host master switch up
done
touch furnished
wait
"""

EXPERIMENT = """\
name: grid
plugins: [slow]
losses: [softmax, {name: slow, as: slow}]
backbones: [resnet8]
datasets: [digits]
seeds: 2
recipe: {epochs: 30}
baseline: softmax
"""

SLOW = '''
"""A loss that takes its time as long as a file is there."""

import time
from pathlib import Path

from trainers.losses.softmax import Softmax


class Slow(Softmax):
    """Softmax, slowly."""

    name = "slow"

    def per_sample(self, logits, labels):
        if Path(__file__).with_name("haste").exists():
            return super().per_sample(logits, labels)
        time.sleep(0.6)
        return super().per_sample(logits, labels)
'''


@dataclass
class Job:
    """A job that has been submitted."""

    slurm: Slurm
    number: str
    said: Path
    """The file of what it says."""

    @property
    def text(self) -> str:
        return self.said.read_text(encoding="utf-8") if self.said.exists() else ""

    def shown(self, name: str) -> str:
        """A field of what `scontrol show job` prints."""
        fields = dict(
            word.partition("=")[::2] for word in self.slurm.call("scontrol", "show", "job", self.number).split()
        )
        return fields[name]

    @property
    def state(self) -> str:
        return self.shown("JobState")

    def until(self, *states: str) -> None:
        self.slurm.until(lambda: self.state in {*states, *OVER}, lambda: f"{self.state}: {self.text}")
        assert self.state in states, self.text

    def again(self) -> None:
        """Begin a job that was queued again; by itself, Slurm waits for two minutes."""
        self.until("PENDING")
        time.sleep(5)  # what begins in the second of the end counts as the first try
        self.slurm.call("scontrol", "update", f"JobId={self.number}", "StartTime=now")
        self.until("RUNNING")


@dataclass
class Slurm:
    """A controller and two nodes, for as long as its room lasts."""

    folder: Path
    inside: int
    """The process that keeps the room."""

    environment: dict[str, str]
    jobs: list[Job] = field(default_factory=list)

    @property
    def workspace(self) -> Path:
        return self.folder / "runs"

    def call(self, *words: str, host: int | None = None) -> str:
        """What a program prints in the room, or on a node."""
        keeper = self.inside if host is None else self.keeper(host)
        entered = ["nsenter", "--target", str(keeper), "--all", f"--wd={ROOT}", *words]
        return subprocess.run(entered, env=self.environment, check=True, capture_output=True, text=True).stdout.strip()

    def keeper(self, host: int) -> int:
        """The process, as this machine numbers it, with which a node lives: Slurm's daemon."""
        pattern = f"-N host{host}"
        (found,) = (each for each in psutil.process_iter() if _is(each, "slurmd", pattern) and self._has(each))
        return found.pid

    def _has(self, process: psutil.Process) -> bool:
        return self.inside in [parent.pid for parent in process.parents()]

    def submit(self, *options: str, file: str = "grid.yaml") -> Job:
        """Submit the script of the page with options of sbatch and an experiment's file."""
        words = [str(self.folder / file), "--workspace", str(self.workspace), "--data-dir", str(self.folder / "data")]
        said = self.folder / f"said-{len(self.jobs)}"
        chosen = [f"--output={said}", "--cpus-per-task=1", "--gpus-per-node=0", *options]
        number = self.call("sbatch", "--parsable", *chosen, str(SCRIPT), *words)
        self.jobs.append(Job(self, number, said))
        return self.jobs[-1]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(self.workspace / "registry.db")) as database:
            return database.execute(query).fetchall()
        return []

    def both_at_work(self) -> bool:
        """Whether each node has an epoch of a slow cell behind it."""
        query = "SELECT count(DISTINCT node) FROM attempts WHERE outcome = 'running' AND progress > 0"
        return self.rows(query) == [(2,)]

    def rays(self) -> list[str]:
        """Ray's daemons on the nodes, by name."""
        inside = psutil.Process(self.inside).children(recursive=True)
        alive = [each.name() for each in inside if each.status() != psutil.STATUS_ZOMBIE]
        return [name for name in alive if name in {"raylet", "gcs_server"}]

    def hurry(self) -> None:
        """From now on, slow cells are quick."""
        (self.folder / "haste").touch()

    def until(self, condition: Callable[[], bool], what: Callable[[], str] = str) -> None:
        deadline = time.monotonic() + 400
        while not condition():
            assert time.monotonic() < deadline, what()
            time.sleep(0.5)


def _is(process: psutil.Process, name: str, pattern: str) -> bool:
    with suppress(psutil.Error):
        return process.name() == name and pattern in " ".join(process.cmdline())
    return False


def _environment(folder: Path) -> dict[str, str]:
    """A user's, with a home of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "ORCHESTRATOR_"))}
    own = {"HOME": str(folder / "home"), "SLURM_CONF": str(folder / "slurm.conf"), "PYTHONPATH": str(folder)}
    return kept | own | {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / LONG)}


@pytest.fixture(scope="session")
def makes_nodes() -> None:
    """Skip where this machine cannot have a Slurm of two nodes."""
    if os.geteuid():
        pytest.skip("Slurm's daemons run as root")
    parts.need("Slurm")
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        pytest.skip("no unshare, nsenter or ip here, to make two nodes of one")
    for place in (OWN, "/tmp/ray"):  # noqa: S108 - each node covers them
        Path(place).mkdir(exist_ok=True)
    tried = subprocess.run([*ALONE, "ip", "link", "add", "switch", "type", "bridge"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no namespaces here: {tried.stderr.decode().strip()}")


@pytest.fixture
def slurm(makes_nodes: None, tmp_path: Path) -> Iterator[Slurm]:
    """A Slurm of two nodes."""
    folder = tmp_path / "slurm"
    (folder / "home").mkdir(parents=True)
    (folder / LONG).mkdir(parents=True)
    memory = int(psutil.virtual_memory().total / 2**20 * 0.9)
    cores = os.cpu_count() or 1
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, cores=cores, memory=memory))
    (folder / "grid.yaml").write_text(EXPERIMENT)
    (folder / "slow.py").write_text(SLOW)
    environment = _environment(folder)
    with (folder / "room.out").open("wb") as said:
        room = psutil.Popen(
            [*ALONE, "sh", "-c", FURNISH, "room", folder, OWN], env=environment, stdout=said, stderr=said
        )
    try:
        while not (folder / "furnished").exists():
            with pytest.raises(psutil.TimeoutExpired):  # it stays
                room.wait(0.1)
        (inside,) = room.children()
        slurm = Slurm(folder, inside.pid, environment)
        slurm.until(lambda: slurm.call("sinfo", "--noheader", "--format=%T %D") == "idle 2")
        yield slurm
    finally:
        room.kill()  # and with it all that runs in it
        room.wait()
