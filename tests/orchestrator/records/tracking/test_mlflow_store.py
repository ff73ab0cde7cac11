"""A store that cannot be used: the message names what is at fault, a variable where it is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import UnreachableError
from orchestrator.records.tracking.mlflow_store import probe
from orchestrator.workspace import Workspace

NOWHERE = "http://127.0.0.2:9"


@pytest.mark.parametrize(
    ("variables", "remedy"),
    [
        ({}, "correct --tracking, or leave it out"),
        ({"MLFLOW_TRACKING_URI": NOWHERE}, "correct MLFLOW_TRACKING_URI, or unset it"),
        ({"http_proxy": "http://127.0.0.3:9"}, "HTTP_PROXY sends requests to a proxy: correct it, or add 127.0.0.2"),
        ({"http_proxy": "http://127.0.0.3:9", "no_proxy": "127.0.0.2"}, "correct --tracking"),
        ({"PYTHONWARNINGS": "error"}, "PYTHONWARNINGS makes errors of warnings"),
    ],
)
def test_the_remedy_names_the_variable_at_fault(
    variables: dict[str, str], remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "PYTHONWARNINGS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UnreachableError) as caught:
        probe(NOWHERE)
    assert remedy in str(caught.value)


@pytest.mark.parametrize("name", ["a%20b", "a?b", "a#b", "a b", "ü'\"\n"])
def test_a_store_may_lie_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    place = Workspace.at(str(tmp_path / name))
    probe(place.tracking)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "mlflow.db").exists()
