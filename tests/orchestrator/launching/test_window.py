"""MLflow never ends nor holds a launch that has begun; a store that is not there is said before."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.errors import BusyError, UnreachableError
from orchestrator.launching import window
from orchestrator.launching.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable


def opened(waiting: int = 0) -> tuple[Window, list[str]]:
    said: list[str] = []
    runs: Any = SimpleNamespace(waiting=lambda: ["attempt"] * waiting)
    return Window(runs, said.append), said


def failing(error: Exception) -> Any:
    def work(*_: object) -> None:
        raise error

    return work


def test_a_store_that_is_not_there_is_an_error_as_long_as_nothing_has_run() -> None:
    mlflow, said = opened()
    with pytest.raises(UnreachableError):
        mlflow.open(failing(UnreachableError("It is not there.")), has_begun=False)
    mlflow.open(failing(UnreachableError("It is not there.")), has_begun=True)
    assert said == [
        "MLflow is not up to date: It is not there. Results do not depend on it, and the next launch tells it."
    ]


def test_a_store_that_is_busy_holds_no_launch_up() -> None:
    mlflow, said = opened()
    mlflow.open(failing(BusyError("HTTP 429.")), has_begun=False)
    assert len(said) == 1


def test_a_store_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "LIMIT", 0.05)
    over = threading.Event()
    mlflow, said = opened()
    late: list[bool] = []

    def work(too_late: Callable[[], bool] = lambda: False) -> None:
        over.wait(30)
        late.append(too_late())

    mlflow.open(work, has_begun=False)
    mlflow.close(work)
    over.set()
    while len(late) < 2:
        time.sleep(0.01)
    assert any(late), "what comes before cells hears that it is too late"
    assert [sentence.partition(". ")[0] for sentence in said] == [
        "MLflow is not up to date: no answer within 0.05 s"
    ] * 2


def test_what_the_store_lacks_at_the_end_is_said() -> None:
    mlflow, said = opened(waiting=1)
    mlflow.close(lambda: None)
    assert said == ["MLflow lacks 1 attempt; the next launch tells it."]
