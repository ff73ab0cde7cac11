"""What the errors of storages mean: pyarrow, botocore, fsspec and HTTP clients each have their own.

No vendor is imported: classes are known by name, and pyarrow's errors, which have no number, by their text.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import Any, Literal

Meaning = Literal["absent", "refused", "unreachable", "slow"]
"""No such file; not permitted; no answer, or only that it cannot answer; an answer that takes too long."""


class StoreError(OSError):
    """An object store did not do what it was asked."""

    means: Meaning = "unreachable"


class StoreRefusedError(StoreError):
    """It refused: credentials may have expired."""

    means: Meaning = "refused"


class StoreUnreachableError(StoreError):
    """It did not answer, or only that it cannot."""


class StoreSlowError(StoreError):
    """Its answer took too long."""

    means: Meaning = "slow"


_KINDS: dict[Meaning, type[StoreError]] = {"refused": StoreRefusedError, "slow": StoreSlowError}

_PASSING = {
    errno.EIO,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ESTALE,
    errno.EROFS,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENETRESET,
    errno.EHOSTUNREACH,
    errno.EHOSTDOWN,
    errno.ENOTCONN,
}
"""Errors of storage that may pass."""

_SLOW = {"TimeoutError", "Timeout", "ConnectTimeoutError", "ReadTimeoutError", "ServerTimeoutError"}
_UNREACHABLE = {
    "ConnectionError",  # of Python, requests and botocore
    "EndpointConnectionError",
    "ConnectionClosedError",
    "HTTPClientError",
    "ClientConnectionError",
    "ClientPayloadError",
    "ServerDisconnectedError",
    "ProtocolError",
    "IncompleteRead",
}
"""Names of classes, or of what they are made from."""

_WORDS: tuple[tuple[Meaning, re.Pattern[str]], ...] = (
    ("slow", re.compile(r"curlCode: 28\b|DEADLINE_EXCEEDED|REQUEST_TIMEOUT")),
    ("unreachable", re.compile(r"NETWORK_CONNECTION|SLOW_DOWN|THROTTLING|INTERNAL_FAILURE|\w*UNAVAILABLE\b")),
    ("absent", re.compile(r"AWS Error NO_SUCH_|\bNOT_FOUND\b")),
    ("refused", re.compile(r"AWS Error (?!UNKNOWN)[A-Z_]+|PERMISSION_DENIED|UNAUTHENTICATED")),
)
"""Of pyarrow's messages about S3 and Google's store, the first that fits."""

_BUSY = {408, 425, 429}


def meaning(error: BaseException) -> Meaning | None:
    """What an error, or one that caused it, says of a storage; None if it says nothing of any."""
    for each in _chain(error):
        if found := _own(each):
            return found
    return None


def store_error(error: Exception, place: object) -> StoreError:
    """The error of an object store in one sentence; one that nobody knows means that it did not answer.

    Args:
        error: As pyarrow or a time limit raised it.
        place: Where it was asked.
    """
    found = meaning(error) or "unreachable"
    said = {"refused": "refuses", "slow": "is too slow", "absent": "has no such bucket"}.get(found, "does not answer")
    reason = " ".join(str(error).split())
    return _KINDS.get(found, StoreUnreachableError)(f"The object store of {place} {said} ({reason}).")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _own(error: BaseException) -> Meaning | None:
    if isinstance(error, StoreError):
        return error.means
    if isinstance(error, FileNotFoundError):
        return "absent"
    if isinstance(error, OSError) and error.errno is not None:
        return _of_number(error)
    if status := _status(error):
        return _of_status(status)
    names = {kind.__name__ for kind in type(error).__mro__}
    named: Meaning | None = "slow" if names & _SLOW else "unreachable" if names & _UNREACHABLE else None
    if named or not _is_pyarrows(error):
        return named
    return next((known for known, words in _WORDS if words.search(str(error))), None)


def _of_number(error: OSError) -> Meaning | None:
    if isinstance(error, PermissionError):
        return "refused"
    if isinstance(error, TimeoutError):
        return "slow"
    return "unreachable" if isinstance(error, ConnectionError) or error.errno in _PASSING else None


def _is_pyarrows(error: BaseException) -> bool:
    """Whether it may be pyarrow's: an OSError that has only a text."""
    return type(error) is OSError and error.errno is None


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error has, wherever its library puts it."""
    answer: Any = getattr(error, "response", None)
    if isinstance(answer, dict):  # botocore's
        return answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    places = ((error, "status"), (error, "code"), (error, "status_code"), (answer, "status_code"))
    found = next((value for place, name in places if isinstance(value := getattr(place, name, None), int)), None)
    if found is None and _is_pyarrows(error) and (said := re.search(r"\(HTTP status (\d+)\)", str(error))):
        return int(said[1])
    return found


def _of_status(status: int) -> Meaning | None:
    if status in _BUSY or status >= 500:  # noqa: PLR2004 - HTTP's own numbers
        return "unreachable"
    if status == 404:  # noqa: PLR2004
        return "absent"
    return "refused" if status >= 400 else None  # noqa: PLR2004
