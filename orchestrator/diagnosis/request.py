"""The experiment file, the data it needs, and whether the machines are large enough."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from orchestrator.diagnosis.finding import CheckResult, refused
from orchestrator.errors import ExperimentError, WorkspaceError
from orchestrator.experiment import checks
from orchestrator.experiment.choices import Choice
from orchestrator.experiment.plan import Plan
from orchestrator.experiment.resources import shortage
from orchestrator.sentences import counted
from trainers import catalogue
from trainers.datasets import Dataset, MissingDataError
from trainers.datasets.content import Content
from trainers.datasets.downloaded import Fetched

CORRECT = "correct the experiment file"


def experiment(ask: Callable[[], Plan]) -> tuple[list[CheckResult], Plan | None]:
    """The plan of an experiment file, or what is wrong with the file."""
    try:
        plan = ask()
    except ExperimentError as error:
        return [CheckResult("experiment", "problem", problem, CORRECT) for problem in error.problems], None
    except WorkspaceError as error:  # what was added to the experiment cannot be read
        return [refused("experiment", error, "see the message")], None
    found = f"{plan.experiment.name} is valid: {counted(len(plan), 'cell')}"
    return [CheckResult("experiment", "ok", found)], plan


def room(plan: Plan, nodes: Sequence[Mapping[str, float]]) -> CheckResult:
    """Whether every cell fits on some machine."""
    wanted = {cell.resources for cell in plan.cells}
    if problem := shortage(wanted, nodes):
        found, _, remedy = problem.partition("). ")
        return CheckResult("resources", "problem", f"{found})", remedy)
    cpus = max(need.cpus for need in wanted)
    gpus = max(need.gpus for need in wanted)
    need = f"{counted(cpus, 'CPU')} and {counted(float(gpus), 'GPU')}"
    return CheckResult("resources", "ok", f"every cell fits: the largest needs {need}")


def environments(older: Iterable[str]) -> Iterator[CheckResult]:
    """Whether all finished cells come from one environment, and from today's code and machine."""
    remedy = "launch retrains some of them before it adds cells; --trust-old pools them untested; gc removes cells"
    findings = [CheckResult("environments", "warning", sentence, remedy) for sentence in older]
    yield from findings or [CheckResult("environments", "ok", "all finished cells come from today's code and machine")]


def claims(edited: Iterable[str]) -> Iterator[CheckResult]:
    """Which claims were stated or edited after cells had run."""
    remedy = "for these cells it is no test; state the claim before further cells run"
    return (CheckResult("claims", "warning", sentence, remedy) for sentence in edited)


def data(plan: Plan | None, data_dir: Path) -> Iterator[CheckResult]:
    """Whether the data files of the plan are there; without a plan, those of `digits` and any others that are found."""
    if plan is not None:
        for choice in {choice.plugin: choice for choice in plan.experiment.datasets}.values():
            assert isinstance(choice.plugin, Dataset)  # noqa: S101  for the type checker; the catalogue has checked it
            held = plan.contents.get(choice.label)
            if held is None or held.recorded is None:
                yield from _each_looked_for(choice.plugin, data_dir)
            else:
                yield _recorded(held, choice)
        return
    for name, plugin in catalogue.plugins("datasets").items():
        try:
            dataset = plugin()
        except ValidationError:  # it needs a path, which only an experiment file gives
            continue
        assert isinstance(dataset, Dataset)  # noqa: S101  as above
        finding = _looked_for(dataset, data_dir)
        if finding.state == "ok" or name == "digits":
            yield finding


def _recorded(held: Content, choice: Choice) -> CheckResult:
    """The finding about data that are not on this machine but were recorded by an earlier launch."""
    day = f"{datetime.fromtimestamp(held.recorded or 0, UTC):%Y-%m-%d %H:%M} UTC"
    state = f"cells are planned for the state recorded on {day}"
    if held.by_cells:
        state = f"cells are planned for the data of the newest cell, started on {day}"
    subject = f"data {choice.plugin.key}"
    if held.needs_loading:
        found = f"not checked: only a launch can read their present content; {state}"
        return CheckResult(subject, "warning", found, "launch reads them, and trains new cells if they changed")
    found = f"not checked, because they are not on this machine; {state}"
    return CheckResult(subject, "warning", found, "launch where the data are, or pass --data-dir")


def _each_looked_for(dataset: Dataset, data_dir: Path) -> Iterator[CheckResult]:
    """The findings about a data set, and about that of its unknown samples."""
    for source in dataset.sources:
        yield _looked_for(source, data_dir)
    try:
        unsuitable = checks.unsuitable(dataset, data_dir)
    except MissingDataError:  # the launch, and `plan`, say what is wrong with files that are here
        return
    subject = f"data {dataset.key}"
    yield from (CheckResult(subject, "problem", sentence, "correct 'unknowns'") for sentence in unsuitable)


def _looked_for(dataset: Dataset, data_dir: Path) -> CheckResult:
    subject = f"data {dataset.key}"
    try:
        dataset.find(data_dir)
    except NotImplementedError:
        return CheckResult(
            subject, "warning", "not checked: the plug-in cannot look for it", "launch says whether it is there"
        )
    except MissingDataError as error:
        found, _, remedy = str(error).partition(". ")
        # A launch downloads these by itself, so their absence is a problem only without a network.
        state = "warning" if isinstance(dataset, Fetched) else "problem"
        return CheckResult(subject, state, found, remedy or "put the files there, or pass --data-dir")
    except OSError as error:
        return refused(subject, f"cannot be read: {error}", "make the files readable, or pass --data-dir")
    return CheckResult(subject, "ok", "found")
