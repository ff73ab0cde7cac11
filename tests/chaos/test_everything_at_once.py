"""Kills, pauses and outages at random in one grid, whose registry, files and runs are all on servers.

`make chaos` makes 50 faults in 60 cells, other runs 6 in 12. The same seed makes the same faults in the same order,
spread over the grid.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from faults import drips, drops, says

if TYPE_CHECKING:
    from faults import Answer, Door, MlflowServer
    from services import PostgreSQL

    Scene = Any

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(3000),
]

NUMBER, SEEDS = (50, 20) if "CHAOS_FULL" in os.environ else (6, 4)
"""How many faults there are, and how many seeds the grid has for each of its three losses."""

SEED = int(os.environ.get("CHAOS_SEED", "0"))

LONGEST = 8.0
"""Seconds of an outage, at most."""


@dataclass
class Trouble:
    """A launch that begins again whenever it is ended, and what can be done to it and to its servers."""

    scene: Scene
    database: PostgreSQL
    store: Door
    mlflow: MlflowServer
    tracking: Door
    draw: random.Random
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.process = self.scene.start()

    def make(self, name: str) -> None:
        """Make a fault, and mend it."""
        if self.is_over():
            self.process = self.scene.start()  # a launch with nothing left to do is disturbed, too
        FAULTS[name](self)

    def is_over(self) -> bool:
        """Whether the launch has ended by itself, which it may only when all is done."""
        if self.process.poll() is None:
            return False
        out, _ = self.process.communicate()
        assert self.process.returncode == 0, out
        return True

    def reaches(self, number: int) -> bool:
        """Whether at least this number of cells is finished."""
        return self.is_over() or (self.scene.count("finished") >= number and bool(self.scene.states()))

    def pause(self) -> None:
        time.sleep(self.draw.uniform(1, LONGEST))

    def end(self, sent: signal.Signals, expect: int) -> None:
        """End the launch, and begin it again."""
        self.process.send_signal(sent)
        out, _ = self.process.communicate(timeout=280)
        assert self.process.returncode in {expect, 0}, out
        self.process = self.scene.start()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        self.pause()
        self.process.send_signal(signal.SIGCONT)

    def shut(self, door: Door, answer: Answer) -> None:
        door.shut(answer)
        self.pause()
        door.open()

    def refuse(self) -> None:
        self.tracking.refuse()
        self.pause()
        self.tracking.open()

    def stall(self) -> None:
        for member in self.mlflow.family:
            member.suspend()
        self.pause()
        for member in self.mlflow.family:
            member.resume()

    def restart(self) -> None:
        self.database.stop()
        self.pause()
        self.database.start()

    def replace(self) -> None:
        with psycopg.connect(f"{self.database.url}/postgres", autocommit=True) as server:
            server.execute("DROP DATABASE registry WITH (FORCE)")
            server.execute("CREATE DATABASE registry")


FAULTS: dict[str, Callable[[Trouble], None]] = {
    "kill": lambda trouble: trouble.end(signal.SIGKILL, -signal.SIGKILL),
    "Ctrl-C": lambda trouble: trouble.end(signal.SIGINT, 130),
    "terminal closed": lambda trouble: trouble.end(signal.SIGHUP, 130),
    "pause": Trouble.stop,
    "database away": Trouble.restart,
    "database replaced": Trouble.replace,
    "store answers 503": lambda trouble: trouble.shut(trouble.store, says("503 Slow Down")),
    "store drops connections": lambda trouble: trouble.shut(trouble.store, drops),
    "store drips": lambda trouble: trouble.shut(trouble.store, drips),
    "store refuses": lambda trouble: trouble.shut(trouble.store, says("403 Forbidden")),
    "MLflow refuses": Trouble.refuse,
    "MLflow answers 429": lambda trouble: trouble.shut(trouble.tracking, says("429 Too Many", "Retry-After: 3600")),
    "MLflow stalls": Trouble.stall,
}


@pytest.fixture
def trouble(scene: Scene, database: PostgreSQL, bucket: Any, mlflow: MlflowServer, tracking: Door) -> Trouble:
    """A launch whose registry, files and runs are on servers."""
    scene.edit("seeds: 2", f"seeds: {SEEDS}")
    stores = {"workspace": bucket.place, "registry": f"{database.url}/registry"}
    stores["tracking"] = f"http://127.0.0.1:{tracking.port}"
    scene.options[:] = ["--executor", "inline", *(word for name in stores for word in (f"--{name}", stores[name]))]
    scene.set(records__files__storage__LIMIT=10.0)
    return Trouble(scene, database, bucket.door, mlflow, tracking, random.Random(SEED))


def test_a_grid_on_servers_bears_kills_pauses_and_outages(
    trouble: Trouble, bucket: Any, calm_with: Callable[..., Scene], as_if_nothing_had_happened: Callable[..., None]
) -> None:
    scene = trouble.scene
    cells = 3 * SEEDS
    for number in range(NUMBER):
        scene.until(partial(trouble.reaches, number * (cells - 1) // NUMBER))
        time.sleep(trouble.draw.uniform(0, 2))
        name = trouble.draw.choice([*FAULTS])
        print(f"{time.strftime('%X')} {scene.count('finished')} of {cells} cells are finished: {name}", flush=True)
        trouble.make(name)
    scene.until(trouble.is_over)
    scene.launch()  # which tells MLflow what it missed
    # A store that refuses while the state of a finished cell is removed leaves it for `gc`.
    cleaner = scene.start("gc", "--remove", *scene.options[2:6])
    assert cleaner.communicate(timeout=120)
    assert cleaner.returncode == 0
    bucket.copy(scene)
    servers = "on PostgreSQL, S3 and an MLflow server"
    as_if_nothing_had_happened(
        scene,
        f"{NUMBER} random kills, pauses and outages in {cells} cells {servers}",
        NUMBER,
        calm=calm_with(("seeds: 2", f"seeds: {SEEDS}")),
    )
