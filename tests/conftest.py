"""What every run of the tests has: shared servers, the order of files, and a last line on what was not tested."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

import parts
import program
import services

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# The machine may be busy.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

IN_A_BROWSER = (
    "tests/orchestrator/records/tracking/test_runs.py",
    "tests/orchestrator/records/tracking/test_mlflow_in_a_browser.py",
    "tests/orchestrator/report/web/test_page_in_a_browser.py",
)
"""Files that share an MLflow server or a browser, and so a process."""

LONGEST = (
    "tests/chaos/test_chaos.py",
    "tests/chaos",
    "tests/docs/test_site.py",
    "tests/orchestrator/execution/test_mixed_cluster.py",
    "tests/docs/test_clusters.py",
    "tests/orchestrator/launching/test_rehearsal.py",
    "tests/orchestrator/launching/test_commands.py",
    "tests/orchestrator/execution/test_executors.py",
    "tests/orchestrator/test_data_on_ray.py",
    "tests/orchestrator/test_cli.py",
    *IN_A_BROWSER,
    "tests/orchestrator/test_data.py",
    "tests/orchestrator/launching/test_launch.py",
)
"""Begun first, so that no process waits for another in the end."""


class ByFile(LoadFileScheduling):
    """A file's tests run in one process, where they share what its fixtures made.

    Chaos tests, which mostly wait, run in two.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        if file.startswith("tests/chaos") and not file.endswith("test_chaos.py"):
            return "more chaos"
        return "browser" if file in IN_A_BROWSER else file


@pytest.hookimpl(optionalhook=True)  # xdist may be switched off
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        found = (number for number, start in enumerate(LONGEST) if item.nodeid.startswith(start))
        return next(found, len(LONGEST))

    items.sort(key=place)


def _is_a_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    os.environ.update(program.AS_URGENT)
    if not _is_a_worker(config):
        services.begin()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    if not _is_a_worker(config):
        services.end()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            parts.need(name)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    yield
    if reporter := session.config.pluginmanager.get_plugin("terminalreporter"):  # which a worker has not
        skipped = [str(report.longrepr) for report in reporter.stats.get("skipped", [])]
        if sentence := parts.said(skipped):
            reporter.write_line(sentence, yellow=True)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The run's browser; all files that use one run in one process."""
    from playwright.sync_api import sync_playwright

    program = parts.need("Chromium")
    parts.need("a Japanese font")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the run's MLflow server; tests write to experiments of their own."""
    from orchestrator.records.tracking.mlflow_ui import serve

    folder = tmp_path_factory.mktemp("mlflow")
    store = services.put_store(folder)
    with serve(f"sqlite:///{store}", str(folder / "mlartifacts"), folder / "server.log") as address:
        yield address
