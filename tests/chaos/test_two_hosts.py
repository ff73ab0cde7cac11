"""Two hosts with addresses of their own, and the network between them is cut.

The hosts are namespaces of this machine, joined by a cable; they share its disk, as the machines of a
cluster share the workspace. Ray, the launch and the cut are real.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Check = Callable[..., None]
    Scene = Any

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

HEAD = "10.77.0.1:6379"

IMPATIENT = {
    "health_check_initial_delay_ms": "0",
    "health_check_period_ms": "1000",
    "health_check_timeout_ms": "2000",
    "health_check_failure_threshold": "3",
    "raylet_liveness_self_check_interval_ms": "1000",
}
"""A node that does not answer for some ten seconds counts as dead, and soon hears of it."""

OWN = ["--pid", "--net", "--mount", "--uts"]
USER = ["--user"] if os.geteuid() else []
ALONE = ["unshare", "--fork", "--kill-child", "--mount-proc", *OWN]
ROOM = [*ALONE, *(["--map-root-user"] if USER else [])]

FURNISH = r"""
set -eu
hosts=
for host in 1 2; do
  "$@" sh -c "
    hostname host$host; ip link set lo up; mount -t tmpfs none /tmp/ray; touch up$host; exec sleep 1200" &
  until [ -e up$host ]; do sleep 0.1; done
  hosts="$hosts $(cat /proc/$!/task/$!/children)"
done
set -- $hosts
ip link add cable1 netns "$1" type veth peer name cable2 netns "$2"
for host in 1 2; do
  nsenter -t "$1" -n sh -c "ip addr add 10.77.0.$host/24 dev cable$host; ip link set cable$host up"
  shift
done
touch joined
wait
"""

DOOR = """\
#!/bin/sh
exec nsenter --target {pid} {own} --preserve-credentials sh -c 'cd "$0" && exec "$@"' "$PWD" {program} "$@"
"""


@dataclass
class Host:
    """One of the two: the process that keeps it, and a folder for what is said there."""

    pid: int
    folder: Path
    rays: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def door(self, program: str) -> str:
        """A program that runs `program` with its arguments on this host, in the current folder."""
        path = self.folder / f"{self.pid}-{Path(program).name}"
        path.write_text(DOOR.format(pid=self.pid, own=" ".join([*USER, *OWN]), program=program))
        path.chmod(0o755)
        return str(path)

    def ip(self, *words: str) -> None:
        subprocess.run([self.door("ip"), *words], check=True)

    def ray(self, *options: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Ray with one core, which runs until it falls, and the file of what it says."""
        ray = self.door(str(Path(sys.executable).with_name("ray")))
        words = ["--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats", "--block"]
        said = Path(f"{ray}-{len(self.rays)}.log")
        with said.open("wb") as file:
            self.rays.append(subprocess.Popen([ray, "start", *options, *words], stdout=file, stderr=file))
        return self.rays[-1], said


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts, 10.77.0.1 and 10.77.0.2, with processes, names and /tmp/ray of their own, and a cable between."""
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        pytest.skip("no unshare, nsenter or ip here, to make two hosts of one")
    Path("/tmp/ray").mkdir(exist_ok=True)  # noqa: S108 - Ray's own place, which each host covers
    trial = "mount -t tmpfs none /tmp/ray && ip link add cable1 type veth peer name cable2"
    tried = subprocess.run([*ROOM, *ALONE, "sh", "-c", trial], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this platform lets nobody make two hosts of one ({tried.stderr.strip()})")
    folder = tmp_path / "hosts"
    folder.mkdir()
    room = psutil.Popen([*ROOM, "sh", "-c", FURNISH, "room", *ALONE], cwd=folder)
    found: list[Host] = []
    try:
        while not (folder / "joined").exists():
            with pytest.raises(psutil.TimeoutExpired):  # it stays
                room.wait(0.1)
        (inside,) = room.children()
        keepers = sorted(inside.children(), key=lambda keeper: keeper.pid)
        found += [Host(keeper.children()[0].pid, folder) for keeper in keepers]
        yield found[0], found[1]
    finally:
        room.kill()  # and with it all that runs on the hosts
        room.wait()
        for ray in (ray for host in found for ray in host.rays):
            ray.wait()


@pytest.fixture
def settings(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What all programs on both hosts are told."""
    for name, value in IMPATIENT.items():
        monkeypatch.setenv(f"RAY_{name}", value)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(scene.folder), str(Path.cwd())]))


def head(scene: Scene, host: Host) -> None:
    _, said = host.ray("--head", "--port=6379", "--node-ip-address=10.77.0.1", "--include-dashboard=false")
    scene.until(lambda: "Ray runtime started" in said.read_text())


def joined(scene: Scene, host: Host) -> subprocess.Popen[bytes]:
    ray, said = host.ray(f"--address={HEAD}", "--node-ip-address=10.77.0.2")
    scene.until(lambda: "Ray runtime started" in said.read_text())
    return ray


def launched(scene: Scene, host: Host) -> subprocess.Popen[str]:
    scene.options += ["--address", HEAD]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", host.door(sys.executable))
        return scene.start()


def end(process: subprocess.Popen[str]) -> None:
    out, _ = process.communicate(timeout=280)
    assert process.returncode == 0, out
    assert "Traceback" not in out


def at_work(scene: Scene) -> dict[str, str]:
    """The cells that have an epoch behind them, by host."""
    return dict(scene.rows("SELECT node, cell FROM attempts WHERE outcome = 'running' AND progress > 0"))


def lost(scene: Scene) -> list[tuple[str, str]]:
    return scene.rows("SELECT node, fault FROM attempts WHERE outcome = 'lost'")


@pytest.mark.usefixtures("settings")
def test_the_network_between_two_hosts_is_cut_and_heals(
    scene: Scene, hosts: tuple[Host, Host], as_if_nothing_had_happened: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.slow(1.5)  # work is left when the second host is back
    monkeypatch.setenv("PACE", scene.environment["PACE"])
    first, second = hosts
    head(scene, first)
    ray = joined(scene, second)
    process = launched(scene, first)
    scene.until(lambda: at_work(scene).keys() == {"host1", "host2"}, process)
    second.ip("link", "set", "cable2", "down")
    scene.until(lambda: bool(lost(scene)), process)
    assert ray.poll() is None, "it works on, unheard"
    second.ip("link", "set", "cable2", "up")
    ray.wait(120)  # Ray ends there, because it hears that it counts as dead
    joined(scene, second)
    scene.until(lambda: at_work(scene).keys() == {"host1", "host2"}, process)
    scene.hurry()
    end(process)
    assert lost(scene) == [("host2", "node")]
    as_if_nothing_had_happened(scene, "network between two hosts cut, then healed")


@pytest.mark.usefixtures("settings")
def test_a_host_that_is_cut_off_finishes_its_cell_unheard(
    scene: Scene, hosts: tuple[Host, Host], as_if_nothing_had_happened: Check, edited: Callable[..., Scene]
) -> None:
    # A worker waits to be heard after each epoch, so the time is in the evaluation.
    calm = edited(("epochs: 5", "epochs: 1"), ("seeds: 2", "seeds: 1"), ("as: digits}", "as: digits, shift: {}}"))
    first, second = hosts
    head(scene, first)
    joined(scene, second)
    process = launched(scene, first)
    scene.until(lambda: "host2" in at_work(scene), process)
    second.ip("link", "set", "cable2", "down")
    cell = at_work(scene)["host2"]
    scene.until(lambda: cell in scene.files, process)
    assert not scene.rows(f"SELECT * FROM attempts WHERE cell = '{cell}' AND outcome = 'finished'")
    scene.until(lambda: bool(lost(scene)), process)
    second.ip("link", "set", "cable2", "up")
    end(process)
    assert lost(scene) == [("host2", "node")]
    as_if_nothing_had_happened(scene, "network cut before the driver hears that a cell has finished", calm=calm)
