"""Bytes below a folder or in an object store: the same of either, whole or not at all."""

from __future__ import annotations

import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

import faults
from orchestrator.errors import WorkspaceError
from orchestrator.records.files import storage as files_storage
from orchestrator.records.files.storage import Storage, Stored, in_parallel
from orchestrator.workspace import Remote
from orchestrator.workspace.store_errors import StoreRefusedError, StoreSlowError, StoreUnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchestrator.workspace import Location

NAME = "loss=a%3Ab/an odd näme+&?#=1.parquet"
"""Whatever a plug-in is called, its file has its own name."""


@pytest.fixture
def storage(place: Location) -> Storage:
    return Storage(place)


def names(storage: Storage) -> list[str]:
    return [file.name for file in storage.list()]


def test_what_is_written_is_read_back(storage: Storage) -> None:
    assert storage.read(NAME) is None
    for content in (b"first", b"second", b""):
        storage.write(NAME, content)
        assert storage.read(NAME) == content
    assert names(storage) == [NAME]


def test_a_location_leads_to_the_same_file(storage: Storage) -> None:
    storage.write(NAME, b"content")
    path = storage.root / NAME
    assert path.name == NAME.rpartition("/")[2]
    assert Storage(path.parent).read(path.name) == b"content"
    assert names(Storage(path.parent)) == [path.name]


def test_the_end_of_a_file_is_read_alone(storage: Storage) -> None:
    storage.write("file", b"0123456789")
    assert storage.tail("file", 3) == b"789"
    assert storage.tail("file", 30) == b"0123456789"
    assert storage.tail("none", 3) is None


def test_large_files_are_written_whole(storage: Storage) -> None:
    content = os.urandom(25_000_000)
    storage.write("large", content)
    assert storage.read("large") == content


def test_files_are_listed_with_their_sizes(storage: Storage) -> None:
    assert list(storage.list()) == list(storage.list("below")) == []
    for name in ("below/b", "below/a", "beside"):
        storage.write(name, b"123")
    assert [(file.name, file.size) for file in storage.list("below")] == [("below/a", 3), ("below/b", 3)]
    assert sorted(names(storage)) == ["below/a", "below/b", "beside"]
    assert all(file.modified > 1.7e9 for file in storage.list())


def test_a_file_is_moved_in_the_place_of_another(storage: Storage) -> None:
    storage.write("below/one", b"1")
    storage.write("below/two", b"2")
    storage.move("below/one", "below/two")
    assert (storage.read("below/one"), storage.read("below/two")) == (None, b"1")


def test_to_delete_twice_is_to_delete(storage: Storage) -> None:
    storage.write("below/file", b"1")
    storage.write("other", b"1")
    for _ in range(2):
        storage.delete("below/file")
    assert names(storage) == ["other"]


def test_no_empty_folder_stays(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    storage.write("a/b/file", b"1")
    storage.delete("a/b/file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [Storage.write, Storage.create])
def test_a_folder_that_somebody_removes_meanwhile_is_made_again(
    write: Callable[[Storage, str, bytes], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removals = iter([True, True])

    def removed(_: int) -> None:
        if next(removals, False):
            shutil.rmtree(tmp_path / "cell")

    monkeypatch.setattr(os, "fsync", removed)
    storage = Storage(tmp_path)
    write(storage, "cell/state", b"1")
    assert (storage.read("cell/state"), names(storage)) == (b"1", ["cell/state"])


def test_a_folder_that_somebody_removes_again_and_again_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: shutil.rmtree(tmp_path / "cell"))
    with pytest.raises(FileNotFoundError, match="state"):
        Storage(tmp_path).write("cell/state", b"1")


def test_it_crosses_to_another_process(storage: Storage) -> None:
    storage.write("file", b"1")
    assert pickle.loads(pickle.dumps(storage)).read("file") == b"1"  # noqa: S301 - our own


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path, s3_place: Remote) -> None:
    (tmp_path / "file").touch()
    other = Remote(s3_place.uri.replace("s3://", "s3://no-"))
    for storage in (Storage(tmp_path / "file" / "runs"), Storage(other)):
        with pytest.raises(WorkspaceError, match=r"cannot be written \(.*Choose another with --workspace"):
            storage.probe()
    for storage in (Storage(tmp_path / "runs"), Storage(s3_place)):
        storage.probe()
        assert names(storage) == []


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda storage: storage.read("file"), marks=pytest.mark.slow, id="read"),
        pytest.param(lambda storage: list(storage.list()), id="list"),
    ],
)
def test_a_store_that_does_not_answer_is_not_an_empty_one(s3_place: Remote, ask: Callable[[Storage], object]) -> None:
    nobody = Storage(Remote("s3://bucket/runs?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1"))
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        ask(nobody)


def test_a_uri_that_pyarrow_refuses_is_named(s3_place: Remote) -> None:
    with pytest.raises(WorkspaceError, match="surplus"):
        Storage(Remote(f"{s3_place.uri}&surplus=1")).read("file")


def test_what_fits_into_a_request_is_one_request(s3_place: Remote) -> None:
    """Without `allow_delayed_open` a writer that is killed would leave parts that nobody lists."""
    program = f"""
import os
from orchestrator.records.files import storage
from orchestrator.workspace import Remote
files, path = storage.Storage(Remote({s3_place.uri!r})).filesystem
stream = files.open_output_stream(path + "/half")
stream.write(b"half")
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert names(Storage(s3_place)) == []


def test_all_places_in_a_bucket_share_a_client_because_no_other_is_made_during_a_request(s3_place: Remote) -> None:
    one, path = Storage(s3_place / "one").filesystem
    other, spaced = Storage(s3_place / "an other").filesystem
    assert one is other
    assert path.removesuffix("one") == spaced.removesuffix("an other")


def test_a_writer_killed_midway_leaves_only_what_is_known_as_half_written(tmp_path: Path) -> None:
    program = f"""
import os
from pathlib import Path
from orchestrator.records.files.storage import Storage
os.fsync = lambda file: os.kill(os.getpid(), 9)
Storage(Path({str(tmp_path)!r})).write("below/file", b"content")
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    (left,) = Storage(tmp_path).list()
    assert left.is_half_written
    assert left.name.startswith("below/.file.")


@pytest.mark.parametrize("name", ["file.parquet", ".hidden", "a/.gitignore", ".config.yaml", "a.4711", "x/.mlflow.db"])
def test_other_files_are_not_half_written(name: str) -> None:
    assert not Stored(name, 0, 0).is_half_written


def test_work_in_parallel_keeps_the_order() -> None:
    assert list(in_parallel(lambda number: number * number, range(1000), 2)) == [n * n for n in range(1000)]


# An object store that fails


@contextmanager
def sick(answer: Callable[[socket.socket], None]) -> Iterator[Storage]:
    """An S3 server that answers every request in one way."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(5)
                connection.recv(65536)
                answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "user")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        yield Storage(Remote.at(f"s3://bucket/runs?endpoint_override={address}&scheme=http&region=us-east-1"))
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def says(status: str) -> Callable[[socket.socket], None]:
    head = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    return lambda connection: connection.sendall(head.encode())


def drips(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(8):
        connection.sendall(b"x")
        time.sleep(0.2)


WAYS = [
    (says("403 Forbidden"), StoreRefusedError, "refuses"),
    (says("503 Slow Down"), StoreUnreachableError, "does not answer"),
    pytest.param(lambda _: None, StoreUnreachableError, "does not answer", marks=pytest.mark.slow),
]
"""Of what does not answer, pyarrow asks again for seconds."""


@pytest.mark.parametrize(("answer", "kind", "said"), WAYS, ids=["403", "503", "dropped"])
def test_what_an_object_store_refuses_is_told_from_what_it_does_not_answer(
    answer: Callable[[socket.socket], None], kind: type[Exception], said: str
) -> None:
    with sick(answer) as storage, pytest.raises(kind, match=said) as raised:
        storage.write("file", b"content")
    assert "s3cret" not in str(raised.value)


def test_an_object_store_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_storage, "LIMIT", 0.5)
    with sick(drips) as storage:
        for request in (lambda: list(storage.list()), lambda: storage.write("file", b"content")):
            with pytest.raises(StoreSlowError, match="is too slow"):
                request()


def test_a_verb_ends_although_a_request_that_it_gave_up_goes_on(tmp_path: Path) -> None:
    door = faults.Door(0)
    door.shut(faults.drips)  # for longer than a test may take
    place = f"s3://bucket/runs?endpoint_override=127.0.0.1:{door.port}&scheme=http&region=us-east-1"
    asked = "name: asked\nlosses: [softmax]\nbackbones: [resnet8]\ndatasets: [digits]\nbaseline: softmax\n"
    (tmp_path / "asked.yaml").write_text(asked)
    words = ["orchestrator", "aggregate", "asked.yaml", "--workspace", place]
    code = f"""
import atexit, sys
from orchestrator.cli import main
from orchestrator.records.files import storage
storage.LIMIT = 1.0
atexit.register(print, "exit functions run")
sys.argv = {words!r}
main()
"""
    secret = {"AWS_ACCESS_KEY_ID": "user", "AWS_SECRET_ACCESS_KEY": "s3cret"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=os.environ | secret, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    door.refuse()
    assert "is too slow" in done.stderr
    assert (done.returncode, done.stdout) == (2, "exit functions run\n")


def test_a_file_that_is_not_there_is_absent_and_no_fault() -> None:
    with sick(says("404 Not Found")) as storage:
        assert storage.read("file") is None
        storage.delete("file")
