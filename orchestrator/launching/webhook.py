"""Send messages about a launch to a webhook, in the form that chat programs understand."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from orchestrator.errors import RequestError
from orchestrator.outcome import Event, Failed

PATIENCE = 5
"""Seconds to wait for the webhook's answer."""


@dataclass
class Webhook:
    """An address that receives `{"text": …}` with further entries, at the first failure and at the end.

    Raises:
        RequestError: The address is not an http(s) URL.
    """

    url: str = field(repr=False)  # such addresses are secrets
    _has_failed: bool = False

    def __post_init__(self) -> None:
        """Check the address now rather than after hours of training."""
        if urlsplit(self.url).scheme not in {"http", "https"} or not urlsplit(self.url).hostname:
            raise RequestError("--notify needs an address that begins with http:// or https://.")

    def heard(self, event: Event) -> str | None:
        """Report the first failure; return as `tell` does."""
        if self._has_failed or not isinstance(event, Failed):
            return None
        self._has_failed = True
        return self.tell(f"First failure: {event.cell.name}: {event.error}", cell=event.cell.id)

    def tell(self, text: str, **entries: object) -> str | None:
        """Send a message; return what went wrong, without the address, or None."""
        content = json.dumps({"text": text, **entries}).encode()
        # The scheme was checked in `__post_init__`.
        request = Request(self.url, content, {"Content-Type": "application/json"})  # noqa: S310
        try:
            with urlopen(request, timeout=PATIENCE):  # noqa: S310
                return None
        except (URLError, OSError, ValueError) as error:
            return f"The webhook of --notify was not reached ({getattr(error, 'reason', error)})."
