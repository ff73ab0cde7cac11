"""A webhook that lies, drips or sends elsewhere costs a launch a few seconds, and a sentence without the address."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import RequestError
from orchestrator.launching import webhook
from orchestrator.launching.webhook import Webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def hook(*answers: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[bytes]]]:
    """A server of this machine that answers each request in its own way; its address, and what it was asked."""
    asked: list[bytes] = []

    def serve() -> None:
        for answer in answers:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    asked.append(connection.recv(65536))
                    answer(connection)
                except OSError:
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/services/s3cret?key=s3cret", asked
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def says(answer: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(answer)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def test_a_webhook_that_answers_has_nothing_to_complain_of() -> None:
    with hook(says(OK)) as (url, asked):
        assert Webhook(url).tell("done", total=4) is None
    assert b"POST /services/s3cret" in asked[0]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"garbage\r\n\r\n", "BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\nlong: " + b"x" * 70_000 + b"\r\n\r\n", "LineTooLong"),
        (b"HTTP/1.1 403 Forbidden /services/s3cret\r\n\r\n", "HTTP 403"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/s3cret\r\n\r\n", "HTTP 302"),
        (b"HTTP/1.1 307 Found\r\nLocation: /s3cret\r\n\r\n", "HTTP 307"),
    ],
)
def test_what_a_webhook_answers_ends_nothing_and_is_said_without_its_address(answer: bytes, reason: str) -> None:
    with hook(says(answer)) as (url, asked):
        said = Webhook(url).tell("done")
    assert said == f"The webhook of --notify was not reached ({reason})."
    assert len(asked) == 1, "no redirect is followed"


def test_a_webhook_that_drips_holds_a_launch_no_longer_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "PATIENCE", 0.3)
    is_over = threading.Event()

    def drips(connection: socket.socket) -> None:
        while not is_over.wait(0.05):
            connection.sendall(b"H")

    with hook(drips) as (url, _):
        assert Webhook(url).tell("done") == "The webhook of --notify was not reached (no answer within 0.3 s)."
        is_over.set()


def test_what_is_wrong_with_a_webhook_is_said_once() -> None:
    with hook(says(b"garbage\r\n\r\n"), says(b"garbage\r\n\r\n")) as (url, asked):
        one = Webhook(url)
        assert one.tell("first")
        assert one.tell("second") is None
    assert len(asked) == 2


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "http://", "me@here", "http://host:port/s3cret", "http://[::1/s3cret", "http://host/a b"]
)
def test_an_address_that_is_none_is_refused_before_anything_runs(url: str) -> None:
    with pytest.raises(RequestError, match=r"^--notify needs an address") as refused:
        Webhook(url)
    assert "s3cret" not in str(refused.value)
