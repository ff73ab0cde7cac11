"""Send messages about a launch to a webhook, in the form that chat programs understand."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from orchestrator.errors import RequestError
from orchestrator.outcome import Event, Failed
from orchestrator.privacy import hide, public
from orchestrator.process.time_limit import within

PATIENCE = 5.0
"""Seconds that a message may take in all."""


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect: it would send the message, without its content, to an address that nobody named."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Make the redirect the answer."""


@dataclass
class Webhook:
    """An address that receives `{"text": …}` with further entries, at the first failure and at the end.

    Raises:
        RequestError: The address is not an http(s) URL.
    """

    url: str = field(repr=False)  # such addresses are secrets
    _has_failed: bool = False
    _has_complained: bool = False

    def __post_init__(self) -> None:
        """Check the address now rather than after hours of training, and keep it out of all texts."""
        if not _is_address(self.url):
            raise RequestError("--notify needs an address that begins with http:// or https://.")
        hide(self.url)

    def heard(self, event: Event) -> str | None:
        """Report the first failure; return as `tell` does."""
        if self._has_failed or not isinstance(event, Failed):
            return None
        self._has_failed = True
        return self.tell(f"First failure: {event.cell.name}: {event.error}", cell=event.cell.id)

    def tell(self, text: str, **entries: object) -> str | None:
        """Send a message; return what went wrong for the first time, without the address, or None."""
        problem = self._sent(json.dumps({"text": public(text), **entries}).encode())
        if problem is None or self._has_complained:
            return None
        self._has_complained = True
        return f"The webhook of --notify was not reached ({problem})."

    def _sent(self, content: bytes) -> str | None:
        """Send; return what went wrong."""
        # The scheme was checked in `__post_init__`.
        request = Request(self.url, content, {"Content-Type": "application/json"})  # noqa: S310
        opener = build_opener(_NoRedirect)
        try:
            within(PATIENCE, lambda: opener.open(request, timeout=PATIENCE).close())
        except Exception as error:  # noqa: BLE001 - whatever a foreign server makes of it, the launch goes on
            return _reason(error)
        return None


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not re.search(r"[\x00-\x20\x7f]", url)


def _reason(error: Exception) -> str:
    """What went wrong; other texts of errors may have the path, which is a secret."""
    if isinstance(error, HTTPError):
        error.close()
        return f"HTTP {error.code}"
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {PATIENCE:g} s"
    return getattr(cause, "strerror", None) or type(cause).__name__
