"""Services go away while a grid runs, and come back: the end is as if nothing had happened.

Databases, object store, MLflow server and webhook are real servers of this machine; what is between them and the
launch is a door that shuts in several ways. Where a test has to outwait the program's patience, that is set shorter.
"""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from faults import Door, drips, drips_headers, drops, fill, in_turn, says, small_disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services import PostgreSQL

    Check = Callable[..., None]
    Scene = Any

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.timeout(900),
]

INLINE = ["--executor", "inline"]

LEASES = {"records__sql__leases__EXPIRY": 15.0, "records__sql__leases__RENEWAL": 2.0}
"""A launch that does not renew its lease for 15 s is dead."""


def end(process: subprocess.Popen[str], expect: int = 0) -> str:
    out, _ = process.communicate(timeout=600)
    assert process.returncode == expect, out
    assert "Traceback" not in out
    assert "Unexpected" not in out
    return out


def finished(scene: Scene, number: int, process: subprocess.Popen[str]) -> None:
    """Wait until this number of cells is finished."""
    scene.until(lambda: scene.count("finished") >= number, process)


# The registry


def test_a_database_that_is_restarted_replaced_and_away_for_longer_than_a_lease(
    scene: Scene, database: PostgreSQL, as_if_nothing_had_happened: Check
) -> None:
    scene.options += INLINE
    scene.set(**LEASES)
    process = scene.start()
    finished(scene, 1, process)
    database.stop()
    time.sleep(2)
    database.start()
    finished(scene, 2, process)
    with psycopg.connect(f"{database.url}/postgres", autocommit=True) as server:
        server.execute("DROP DATABASE registry WITH (FORCE)")
        server.execute("CREATE DATABASE registry")
    finished(scene, 3, process)
    database.stop()
    time.sleep(20)
    database.start()
    out = end(process)
    assert 1 <= out.count("others wait until it answers") <= 3
    assert out.count("The registry answers again.") == out.count("others wait until it answers")
    as_if_nothing_had_happened(scene, "database restarted, replaced by an empty one, away for longer than a lease", 3)


@pytest.mark.parametrize("stays", [False, True], ids=["for a while", "for good"])
def test_a_registry_that_is_deleted_and_whose_disk_is_full(
    scene: Scene, as_if_nothing_had_happened: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stays: bool
) -> None:
    with small_disk(tmp_path / "small", "4m") as disk:
        path = disk / "registry.db"

        def rows(query: str) -> list[tuple[Any, ...]]:
            try:
                with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=30)) as registry:
                    return registry.execute(query).fetchall()
            except sqlite3.Error:
                return []

        monkeypatch.setattr(scene, "rows", rows)
        scene.options += [*INLINE, "--registry", f"sqlite:///{path}"]
        scene.set(launching__outages__PATIENCE=5.0 if stays else 600.0)
        process = scene.start()
        finished(scene, 1, process)
        for file in sorted(disk.glob("registry.db*"), reverse=True):  # its journal first, as it must not survive it
            file.unlink()
        finished(scene, 2, process)
        ballast = fill(disk)
        if stays:
            out = end(process, expect=1)
            assert "stayed away, so the launch stopped" in out
            ballast.unlink()
            scene.launch()
        else:
            time.sleep(15)
            ballast.unlink()
            end(process)
        as_if_nothing_had_happened(
            scene, f"registry deleted, then its disk full for {'good' if stays else '15 s'}", injected=2
        )


# The object store


WAYS = {
    "answers 503": says("503 Slow Down"),
    "drops connections": drops,
    "drips": drips,
    "refuses (403)": says("403 Forbidden"),
}


def test_an_object_store(scene: Scene, bucket: Any, as_if_nothing_had_happened: Check) -> None:
    scene.options += INLINE
    scene.set(records__files__storage__LIMIT=10.0)
    process = scene.start()
    for number, answer in enumerate(WAYS.values(), 1):
        finished(scene, number, process)
        bucket.door.shut(answer)
        time.sleep(12)
        bucket.door.open()
    end(process)  # although what drips goes on for longer than a test may take
    bucket.copy(scene)
    as_if_nothing_had_happened(scene, f"object store {', '.join(WAYS)}: 12 s each", len(WAYS))


# Leases


def test_a_driver_that_is_stopped_past_its_lease(scene: Scene, as_if_nothing_had_happened: Check) -> None:
    scene.slow(0.4)  # its cell lasts until it is stopped
    scene.options += INLINE
    scene.set(**LEASES)
    first = scene.start()
    scene.until(lambda: scene.epochs() >= 2, first)
    first.send_signal(signal.SIGSTOP)
    scene.hurry()
    out = scene.launch()
    assert "Whether that launch lives is known" in out
    first.send_signal(signal.SIGCONT)
    end(first)
    as_if_nothing_had_happened(scene, "driver stopped past its lease")


def test_clocks_that_are_70_s_apart(scene: Scene, as_if_nothing_had_happened: Check) -> None:
    scene.slow(0.4)  # until the others are there
    scene.options += INLINE
    scene.set(records__sql__leases__RENEWAL=2.0)
    first = scene.start()
    scene.until(lambda: scene.epochs() >= 1, first)
    scene.environment["CLOCK"] = "70"
    refused = scene.start()
    scene.environment["CLOCK"] = "-70"
    joined = scene.start("launch", "chaos.yaml", "--join", *INLINE)
    assert "is under way" in end(refused, expect=2)
    scene.until(lambda: len(scene.rows("SELECT * FROM leases")) == 2, joined)
    scene.hurry()
    end(joined)
    end(first)
    as_if_nothing_had_happened(scene, "clocks 70 s apart", injected=2)


# What is optional


def lies(connection: Any) -> None:
    connection.sendall(b"no HTTP at all\r\n\r\n")


def test_a_webhook_that_drips_redirects_and_lies(
    scene: Scene, as_if_nothing_had_happened: Check, tmp_path: Path
) -> None:
    mood = tmp_path / "mood"
    mood.write_text("raise")
    scene.environment["MOOD"] = str(mood)
    door = Door(0)
    door.shut(in_turn(drips_headers, says("302 Found", "Location: http://127.0.0.1:9/s3cret"), lies))
    scene.options += [*INLINE, "--notify", f"http://127.0.0.1:{door.port}/s3cret"]
    first = end(scene.start(), expect=1)  # sends two messages, at the failure and at the end
    scene.options.append("--retry-failed")
    second = scene.launch()
    for out in (first, second):
        assert out.count("The webhook of --notify was not reached") == 1
        assert "s3cret" not in out
    door.refuse()
    as_if_nothing_had_happened(scene, "webhook drips, redirects, lies", injected=3)


def test_a_tracking_server_that_wants_to_be_left_alone_for_an_hour(
    scene: Scene, tracking: Door, as_if_nothing_had_happened: Check
) -> None:
    scene.options += INLINE
    tracking.shut(says("429 Too Many Requests", "Retry-After: 3600"))
    out = end(scene.start())
    assert "MLflow is not up to date" in out
    assert "MLflow lacks 6 attempts; the next launch tells it." in out
    tracking.open()
    scene.launch()
    as_if_nothing_had_happened(scene, "tracking server answers 429 for the whole launch")
