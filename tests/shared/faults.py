"""Ways to take things away from a launch: servers that stop, doors that shut, disks that fill up."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import services

Answer = Callable[[socket.socket], None]
"""What is done with a connection, once something was read from it."""


class Door:
    """A port that passes connections on to a server, or answers in its own way."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._answer: Answer | None = None
        self._open: set[socket.socket] = set()
        self.port = services.free_port()
        self._listen()

    def shut(self, answer: Answer) -> None:
        """Answer so from now on, and cut what is under way."""
        self._answer = answer
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """Nobody listens any more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # the thread that waits for a connection wakes up
        self._listener.close()
        self.shut(drops)

    def open(self) -> None:
        """Pass everything on again."""
        self._answer = None
        if self._listener.fileno() < 0:
            self._listen()

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if self._answer:
                connection.recv(65536)
                self._answer(connection)
                return
            with socket.create_connection(("127.0.0.1", self._server)) as inside:
                pair = {connection, inside}
                self._open |= pair
                back = threading.Thread(target=self._pipe, args=(inside, connection), daemon=True)
                back.start()
                self._pipe(connection, inside)
                back.join()
                self._open -= pair

    @staticmethod
    def _pipe(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                target.sendall(content)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def says(status: str, *headers: str) -> Answer:
    """An HTTP answer without content."""
    lines = [f"HTTP/1.1 {status}", "Content-Length: 0", "Connection: close", *headers, "", ""]
    return lambda connection: connection.sendall("\r\n".join(lines).encode())


def drips(connection: socket.socket) -> None:
    """An answer whose content comes two bytes a second."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    _drip(connection)


def drips_headers(connection: socket.socket) -> None:
    """An answer that does not get as far as its content."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nServer: ")
    _drip(connection)


def _drip(connection: socket.socket) -> None:
    for _ in range(2000):
        connection.sendall(b"x")
        time.sleep(0.5)


def drops(connection: socket.socket) -> None:
    """Hangs up."""


def in_turn(*answers: Answer) -> Answer:
    """Each answer once, and so on."""
    turns = itertools.cycle(answers)

    def answer(connection: socket.socket) -> None:
        next(turns)(connection)

    return answer


class MlflowServer:
    """MLflow's server, one for the tests of a folder: each test leaves it empty."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = services.free_port()
        store = f"sqlite:///{services.put_store(folder)}"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", store, "--artifacts-destination", str(folder / "a")]
        self.process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.2)
        self.end()
        pytest.fail("MLflow's server did not start")

    @property
    def uri(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def family(self) -> list[psutil.Process]:
        """All its processes."""
        return [self.process, *self.process.children(recursive=True)]

    def end(self) -> None:
        """Kill it."""
        for member in self.family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self.process.wait()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of some size, as `mount` writes it, at a folder that is not there yet."""
    folder.mkdir(parents=True)
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root can mount a small disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this platform lets nobody mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Write until nothing more fits; returns the file that takes the room."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(2**12))
    return ballast


def bucket_behind(door: Door, store: int, name: str) -> str:
    """Make a bucket in an S3 server, and return the URI by which it is reached through a door."""
    from pyarrow.fs import S3FileSystem

    plain: dict[str, Any] = {"scheme": "http", "region": "us-east-1"}
    S3FileSystem(endpoint_override=f"127.0.0.1:{store}", allow_bucket_creation=True, **plain).create_dir(name)
    return f"s3://{name}/runs?endpoint_override=127.0.0.1:{door.port}&scheme=http&region=us-east-1"
