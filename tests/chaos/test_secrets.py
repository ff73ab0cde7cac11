"""Credentials that launches are given are found nowhere afterwards, and nothing of a launch is left on the machine.

Only `make chaos` does this, in 20 launches: in peace, with a cell that fails with a text full of secrets, with a
terminal that is closed, and on Ray.
"""

from __future__ import annotations

import os
import secrets
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest

from faults import Door

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from faults import MlflowServer
    from services import PostgreSQL

    Scene = Any

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(1500),
    pytest.mark.skipif("CHAOS_FULL" not in os.environ, reason="takes long: make chaos runs it"),
]

LAUNCHES = 20

WAYS = {"peace": {0}, "fails": {1}, "terminal closed": {0, 130}, "ray": {0}}
"""How a launch goes, and the exit codes it may have."""

VARIABLES = ("HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "WANDB_API_KEY")

TEXT = (
    "raise: https://user:$HF_TOKEN@example.org refused 'Authorization: Bearer $OPENAI_API_KEY', "
    "?api_key=$WANDB_API_KEY&X-Amz-Security-Token=$AWS_SESSION_TOKEN, signed with $AWS_SECRET_ACCESS_KEY"
)

PLACES = Path("/tmp")  # noqa: S108 - where a launch goes that finds its own place too long for Ray's sockets

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - where Ray has its objects


@pytest.fixture
def planted(scene: Scene, database: PostgreSQL, mlflow: MlflowServer, tracking: Door) -> dict[str, str]:
    """The secrets that the launches of the scene are given, by where."""
    found = {name: f"pl4nted{secrets.token_hex(12)}" for name in (*VARIABLES, "database", "tracking", "hook")}
    with psycopg.connect(f"{database.url}/postgres", autocommit=True) as server:
        server.execute("DROP ROLE IF EXISTS launcher")
        server.execute(f"CREATE ROLE launcher SUPERUSER LOGIN PASSWORD '{found['database']}'".encode())
    scene.options.clear()
    scene.environment |= {name: found[name] for name in VARIABLES} | {
        "ORCHESTRATOR_REGISTRY": f"postgresql://launcher:{found['database']}@127.0.0.1:{database.port}/registry",
        "MLFLOW_TRACKING_URI": f"http://user:{found['tracking']}@127.0.0.1:{tracking.port}",
    }
    return found


def test_planted_secrets_are_found_nowhere_and_nothing_is_left(
    scene: Scene, planted: dict[str, str], database: PostgreSQL, mlflow: MlflowServer, tmp_path: Path
) -> None:
    heard: list[bytes] = []
    hook = Door(0)
    hook.shut(lambda connection: heard.append(connection.recv(65536)))  # and hangs up
    temporary = tmp_path / "t"
    temporary.mkdir()
    mood = tmp_path / "mood"
    scene.environment |= {"MOOD": str(mood), "TMPDIR": str(temporary)}
    scene.edit("[softmax, bce_unified, {name: moody, as: moody}]", "[softmax, {name: moody, as: moody}]")
    scene.edit("seeds: 2", "seeds: [0]")
    in_memory = set(IN_MEMORY.iterdir())
    said: list[str] = []
    for number in range(LAUNCHES):
        way = list(WAYS)[number % len(WAYS)]
        scene.edit(f"seeds: [{number - 1}]", f"seeds: [{number}]")
        if way == "fails":
            mood.write_text(TEXT)
        where = [] if way == "ray" else ["--executor", "inline"]
        hooked = ["--notify", f"http://127.0.0.1:{hook.port}/{planted['hook']}"]
        process = scene.start("launch", "chaos.yaml", *where, *hooked)
        if way == "terminal closed":
            scene.until(lambda: scene.epochs() >= 1, process)
            process.send_signal(signal.SIGHUP)
        if way == "ray":
            scene.until(lambda: scene.epochs() >= 1, process)
            assert found(planted, contents([temporary, *PLACES.glob("orc-*"), *PLACES.glob("ray")])) == [], (
                "while it runs"
            )
        out, _ = process.communicate(timeout=280)
        assert process.returncode in WAYS[way], out
        said.append(out)
    for verb in (["status"], ["report", "chaos.yaml"], ["export", "chaos.yaml", "published"]):
        out, _ = scene.start(*verb).communicate(timeout=280)
        said.append(out)
    hook.refuse()
    assert "moody loss is in a mood" in "".join(said), "the text that has secrets is shown without them"
    assert heard
    texts = [*((f"output {number}", out.encode()) for number, out in enumerate(said))]
    texts += [*(("webhook", message.partition(b"\r\n\r\n")[2]) for message in heard)]
    assert found(planted, texts) == []
    assert found(planted, rows(database)) == []
    assert found(planted, contents([scene.folder, mlflow.folder, temporary])) == []
    # torch has an empty folder for what it compiles, one per user, wherever it is used.
    assert [path.name for path in temporary.iterdir() if not path.name.startswith("torchinductor_")] == []
    assert set(IN_MEMORY.iterdir()) <= in_memory
    assert [*left(temporary)] == []


def found(planted: dict[str, str], texts: Iterable[tuple[str, bytes]]) -> list[tuple[str, str]]:
    """Which secrets are where."""
    return [(name, where) for where, text in texts for name, secret in planted.items() if secret.encode() in text]


def contents(folders: list[Path]) -> Iterator[tuple[str, bytes]]:
    """All files of the folders that this test or its launches may have made."""
    for folder in folders:
        for path in folder.rglob("*"):
            with suppress(OSError):  # it is just being removed
                if path.is_file() and not path.is_symlink():
                    yield str(path), path.read_bytes()


def rows(database: PostgreSQL) -> Iterator[tuple[str, bytes]]:
    """All rows of the registry."""
    with psycopg.connect(f"{database.url}/registry") as registry:
        tables = registry.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            for row in registry.execute(f'SELECT t::text FROM "{table}" t'.encode()):
                yield table, str(row).encode()


def left(temporary: Path) -> Iterator[str]:
    """Processes that a launch has started, by the folder that it was given for temporary files."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(temporary):
                yield " ".join(process.cmdline())
        except psutil.Error:
            continue
