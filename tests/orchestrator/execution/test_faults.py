"""Errors of storages are told apart: only what may pass is tried again."""

from __future__ import annotations

import errno
from urllib.error import HTTPError

import pytest
import requests
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ReadTimeoutError

from orchestrator.errors import WorkspaceError
from orchestrator.execution.faults import fault_of, reason_in
from orchestrator.workspace.store_errors import (
    StoreRefusedError,
    StoreSlowError,
    StoreUnreachableError,
    meaning,
    store_error,
)


def of_botocore(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")  # pyright: ignore[reportArgumentType]


def of_pyarrow(told: str) -> OSError:
    return OSError(f"When reading information for key 'x' in bucket 'b': {told}")


class ServerDisconnectedError(Exception):
    """As aiohttp has it, which gcsfs uses."""


class HttpError(Exception):
    """As gcsfs has it."""

    def __init__(self, code: int) -> None:
        super().__init__("It said no.")
        self.code = code


class FSTimeoutError(TimeoutError):
    """As fsspec has it."""


MEANINGS = [
    (FileNotFoundError(errno.ENOENT, "No such file"), "absent"),
    (of_botocore("NoSuchKey", 404), "absent"),
    (of_pyarrow("AWS Error NO_SUCH_BUCKET during PutObject operation"), "absent"),
    (of_pyarrow("google::cloud::Status(NOT_FOUND: gone)"), "absent"),
    (PermissionError(errno.EACCES, "Permission denied"), "refused"),
    (of_botocore("AccessDenied", 403), "refused"),
    (of_pyarrow("AWS Error ACCESS_DENIED during HeadObject operation"), "refused"),
    (of_pyarrow("AWS Error SIGNATURE_DOES_NOT_MATCH during HeadObject operation"), "refused"),
    (of_pyarrow("AWS Error UNKNOWN (HTTP status 400) during HeadObject operation"), "refused"),
    (of_pyarrow("google::cloud::Status(UNAUTHENTICATED: expired)"), "refused"),
    (HttpError(401), "refused"),
    (ConnectionResetError(errno.ECONNRESET, "reset"), "unreachable"),
    (OSError(errno.ESTALE, "Stale file handle"), "unreachable"),
    (OSError(errno.ENOSPC, "No space left on device"), "unreachable"),
    (requests.ConnectionError("refused"), "unreachable"),
    (EndpointConnectionError(endpoint_url="http://there"), "unreachable"),
    (of_botocore("SlowDown", 503), "unreachable"),
    (of_botocore("Throttling", 429), "unreachable"),
    (HTTPError("http://there", 502, "Bad Gateway", None, None), "unreachable"),  # pyright: ignore[reportArgumentType]
    (HttpError(500), "unreachable"),
    (ServerDisconnectedError(), "unreachable"),
    (of_pyarrow("AWS Error UNKNOWN (HTTP status 503) during HeadObject operation"), "unreachable"),
    (of_pyarrow("AWS Error SLOW_DOWN during PutObject operation: m"), "unreachable"),
    (of_pyarrow("AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7"), "unreachable"),
    (of_pyarrow("google::cloud::Status(UNAVAILABLE: try again)"), "unreachable"),
    (of_pyarrow("AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 28, Timeout"), "slow"),
    (of_pyarrow("google::cloud::Status(DEADLINE_EXCEEDED: slow)"), "slow"),
    (TimeoutError("no answer within 60 s"), "slow"),
    (FSTimeoutError(), "slow"),
    (requests.ReadTimeout("too slow"), "slow"),
    (ReadTimeoutError(endpoint_url="http://there"), "slow"),
    (NoCredentialsError(), None),
    (ValueError("a loss with a bug"), None),
    (OSError("a message of somebody's own"), None),
    (KeyError("response"), None),
]


@pytest.mark.parametrize(("error", "expected"), MEANINGS, ids=lambda value: repr(value)[:60])
def test_what_an_error_says_of_a_storage(error: Exception, expected: str | None) -> None:
    assert meaning(error) == expected
    for each in (error, *([error.fp] if isinstance(error, HTTPError) and error.fp else [])):
        getattr(each, "close", lambda: None)()
    assert fault_of(error) == ("storage" if expected in {"unreachable", "slow"} else None)


def test_a_workspace_that_refuses_may_let_in_again_as_it_did_before() -> None:
    refused = store_error(of_pyarrow("AWS Error ACCESS_DENIED during PutObject operation"), "s3://b/p")
    assert isinstance(refused, StoreRefusedError)
    assert "s3://b/p refuses" in str(refused)
    assert fault_of(refused) == "storage"
    assert fault_of(PermissionError(errno.EACCES, "Permission denied")) is None


def test_an_error_that_nobody_knows_means_that_an_object_store_did_not_answer() -> None:
    assert isinstance(store_error(OSError("Whatever."), "gs://b"), StoreUnreachableError)
    assert isinstance(store_error(TimeoutError("no answer within 60 s"), "gs://b"), StoreSlowError)


def test_an_error_that_another_caused_means_the_same() -> None:
    outer = WorkspaceError("It cannot be read now.")
    outer.__cause__ = StoreUnreachableError("It does not answer.")
    assert (meaning(outer), fault_of(outer)) == ("unreachable", "storage")
    handled = ValueError("A bug")
    handled.__context__ = ConnectionError("while another was handled")
    assert fault_of(handled) is None


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA error: out of memory")])
def test_memory_that_ran_out_is_no_fault_of_a_storage(error: Exception) -> None:
    assert fault_of(error) == "memory"


def test_the_reason_is_the_last_exception_that_is_named_whatever_ray_says_after_it() -> None:
    story = """The actor died unexpectedly before finishing this task.
RuntimeError: The actor with name ImplicitFunc failed to import on the worker.

Traceback (most recent call last):
  File "/somewhere/plug_in.py", line 24, in <module>
    import absent
ModuleNotFoundError: No module named 'absent'

An unexpected internal error occurred while the worker was executing a task.
"""
    assert reason_in(story) == "ModuleNotFoundError: No module named 'absent'"
    assert reason_in(story + "mlflow.exceptions.MlflowException: no\n") == "mlflow.exceptions.MlflowException: no"


def test_an_exception_without_a_message_and_the_first_line_of_a_long_message_are_reasons() -> None:
    assert reason_in("KeyError: 1\nAssertionError\nThe worker died.") == "AssertionError"
    assert reason_in("ValueError: no such loss.\nKnown are: a, b") == "ValueError: no such loss."


def test_where_nothing_is_told_that_is_said() -> None:
    assert reason_in("\n \n") == "no reason is known"


def test_where_no_exception_is_named_the_reason_is_the_last_line() -> None:
    assert reason_in("The worker died.\n  It was killed by signal 9. \n\n") == "It was killed by signal 9."
