"""Work that waits for somebody else has a limit in all."""

from __future__ import annotations

import threading

import pytest

from orchestrator.process.time_limit import within


def test_work_in_time_returns_or_raises_what_it_does() -> None:
    assert within(10, lambda: 7) == 7
    with pytest.raises(KeyError, match="absent"):
        within(10, lambda: {}["absent"])


def test_work_that_takes_longer_is_not_waited_for() -> None:
    over = threading.Event()
    try:
        with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
            within(0.05, lambda: over.wait(30))
    finally:
        over.set()
