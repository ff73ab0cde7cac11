"""The report in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.decision.decide import Decision
from orchestrator.report.web import page


@pytest.fixture
def opened(chromium: Any, tmp_path: Path) -> Callable[..., Any]:
    """Open the report of what is done, as a context that fails on any complaint of the browser."""

    @contextmanager
    def show(
        done: Any,
        *,
        decided: Decision | None = None,
        height: int = 900,
        width: int = 1280,
        scheme: str = "light",
        locale: str = "en-GB",
        query: str = "",
    ) -> Iterator[Any]:
        path = tmp_path / "index.html"
        path.write_text(page.render(*done, decided=decided), encoding="utf-8")
        size = {"width": width, "height": height}
        context = chromium.new_context(viewport=size, color_scheme=scheme, locale=locale)
        tab = context.new_page()
        complaints = list[str]()
        tab.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        tab.on("request", lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url))
        tab.goto(f"{path.as_uri()}{query}")
        tab.wait_for_selector("html[data-drawn]")
        yield tab
        context.close()
        assert complaints == []

    return show
