"""The only place where objects are wired together: from options to the experiment, stores and executor they mean."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import provenance
from orchestrator.errors import ExperimentError
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.execution.executor import Executor
    from orchestrator.experiment import Axis, Experiment
    from orchestrator.plan import Plan
    from orchestrator.records.registry import Registry
    from orchestrator.records.results import Results
    from orchestrator.records.tracking import Tracking


def console(*, stderr: bool = False) -> Console:
    """A console for people; a pipe has no width, and 80 columns would fold the tables."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = 160
    return made


def experiment(
    file: Path,
    loss: list[str] | None = None,
    backbone: list[str] | None = None,
    dataset: list[str] | None = None,
    only: bool = False,
    seeds: str | None = None,
) -> Experiment:
    """The experiment of a file, as the options change it."""
    from orchestrator.experiment import load
    from orchestrator.revision import revise

    named: dict[Axis, list[str]] = {"loss": loss or [], "backbone": backbone or [], "dataset": dataset or []}
    if only and not any(named.values()):
        raise ExperimentError(["--only narrows the axes named by --loss, --backbone or --dataset; none is given."])
    return revise(load(_located(file)), named, only=only, seeds=_seeds(seeds))


def _located(file: Path) -> Path:
    """The file; where there is none, the experiment of that name that comes with the program."""
    beside, installed = provenance.ROOT / "experiments", Path(__file__).parent / "experiments"
    shipped = (installed if installed.exists() else beside) / file.name
    meant = file.parent in (Path(), Path("experiments"))
    return shipped if meant and not file.exists() and shipped.exists() else file


def _seeds(text: str | None) -> int | list[int] | None:
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise ExperimentError([f"--seeds is a number or a list such as 0,3,7; found '{text}'."]) from None
    return numbers if "," in text else numbers[0]


def registry(place: Workspace, url: str | None) -> Registry:
    """The registry at the URL, or else the workspace's, created if absent."""
    from orchestrator.records.registry import Registry

    return Registry.open(url or place.registry)


def registry_if_any(place: Workspace, url: str | None) -> AbstractContextManager[Registry | None]:
    """A registry to read from; asking a question creates none."""
    return registry(place, url) if url or place.has_registry() else nullcontext()


def tracking(place: Workspace, uri: str | None, experiment: str) -> Tracking:
    """An experiment's window at the URI, or else in the workspace's store."""
    from orchestrator.records.tracking import Tracking

    if uri:
        return Tracking(uri, experiment)
    return Tracking(place.tracking, experiment, artifacts=place.artifacts.as_uri())


def executor(
    kind: str, address: str | None, max_concurrent: int | None, place: Workspace, runs: Tracking, data_dir: Path
) -> Executor:
    """Where cells run, with the worker that runs and the recorder that records them."""
    from orchestrator.execution.worker import Worker
    from orchestrator.records.evaluations import Evaluations
    from orchestrator.records.recorder import Recorder

    recorder = Recorder(Evaluations(place.evaluations), runs, provenance.code())
    worker = Worker(recorder, data_dir.resolve())
    if kind == "inline":
        from orchestrator.execution.inline import Inline

        return Inline(worker)
    from orchestrator.execution.ray_tune import LOCAL, RayTune

    return RayTune(worker, address or LOCAL, max_concurrent)


def aggregated(console: Console, plan: Plan, place: Workspace) -> Results:
    """The results table, built from the files and written; what is damaged is said."""
    from orchestrator.records import results
    from orchestrator.records.evaluations import Evaluations

    place.create()
    found = results.aggregate(plan, Evaluations(place.evaluations))
    for sentence in found.damaged:
        complain(console, sentence)
    results.write(found, place.results(plan.experiment.name))
    return found


def complain(console: Console, sentence: str) -> None:
    """Say what is wrong with something, without stopping for it."""
    console.print(sentence, style="red", markup=False, emoji=False, soft_wrap=True)


def near(path: Path) -> Path:
    """The path as seen from here, where that is shorter."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
