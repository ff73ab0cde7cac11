"""The only place where objects are wired together: from options to the experiment, stores and executor they mean."""

from __future__ import annotations

import re
import socket
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import provenance
from orchestrator.errors import ExperimentError
from orchestrator.workspace import Location, Workspace

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.adaptive.seeds import Key, Spending
    from orchestrator.adaptive.trials import Trials
    from orchestrator.analysis.comparison import Comparison
    from orchestrator.execution.executor import Executor
    from orchestrator.execution.placement import Placement
    from orchestrator.experiment.looks import Looked
    from orchestrator.experiment.model import Axis, Experiment
    from orchestrator.experiment.plan import Cell, Contents, Plan
    from orchestrator.pairing.blocks import Group
    from orchestrator.provenance.environment import Environment
    from orchestrator.records.files.checkpoints import Checkpoints
    from orchestrator.records.files.contents import Ask
    from orchestrator.records.files.earlier import Data
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.records.files.results import Results
    from orchestrator.records.sql.registry import Registry
    from orchestrator.records.tracking.runs import Tracking
    from orchestrator.reproduction.anchors import Outlook
    from orchestrator.reproduction.code_changes import Codes
    from trainers.datasets import Dataset
    from trainers.datasets.content import Content


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
    from orchestrator.experiment.model import load
    from orchestrator.experiment.revision import revise

    named: dict[Axis, list[str]] = {"loss": loss or [], "backbone": backbone or [], "dataset": dataset or []}
    if only and not any(named.values()):
        raise ExperimentError(["--only narrows the axes named by --loss, --backbone or --dataset; none is given."])
    return revise(load(_located(file)), named, only=only, seeds=_seeds(seeds))


def of_file(file: Path) -> Experiment:
    """The experiment of a file, whatever flags add or leave out."""
    from orchestrator.experiment.model import load

    return load(_located(file))


def stated(file: Path, asked: Experiment | None = None) -> dict[str, Any]:
    """What the experiment's file states before there are results, and the seeds that are planned with its flags."""
    from orchestrator.experiment.looks import planned
    from orchestrator.experiment.stated import stated as hashes

    found = of_file(file)
    return {**hashes(found), "plan": planned(found, asked or found)}


def registered(file: Path) -> str:
    """A hash of what the experiment's file states, to be published before anything runs."""
    from orchestrator.experiment.stated import register

    return register(of_file(file))


def contents(asked: Experiment, place: Workspace, data_dir: Path | None, ask: Ask | None = None) -> dict[str, Content]:
    """What the data sets of an experiment hold: as found here, else by `ask`, else as last recorded.

    Where no launch has recorded it, the newest cell tells.
    """
    from orchestrator.records.files.contents import History, look
    from orchestrator.records.files.evaluations import Evaluations

    newest = partial(_newest, Evaluations(place.evaluations))
    return look(asked, History(place.data), folder(asked, place, data_dir), ask, newest)


def _newest(evaluations: Evaluations, dataset: Dataset) -> Content | None:
    """What the newest cell of a data set was trained on, where there is one.

    Of a published data set, a cell that was trained here tells: what others trained does not change what a name means.
    """
    from orchestrator.records.files.cell_file import cell_in, partition
    from orchestrator.records.files.contents import told
    from orchestrator.records.files.origin import Origins
    from orchestrator.records.files.summaries import Summaries

    files = [file for file in evaluations.storage.list(partition(dataset.key)) if cell_in(file.name)]
    summaries = Summaries.of(evaluations, [file.name for file in files])
    if not dataset.is_published:
        return told(dataset, summaries.contents([file.name for file in files]))
    latest_first = sorted(files, key=lambda file: -file.modified)
    origins = Origins.of(evaluations.folder.parent)
    footers = summaries.footers(file.name for file in latest_first)
    own = (footer.content for footer in footers if origins.origin(footer.seal, footer.signed) == "here")
    return next(filter(None, (told(dataset, [account]) for account in own)), None)


def folder(asked: Experiment, place: Workspace, data_dir: Path | None) -> Path:
    """The folder of the data sets: the one given, else the usual one, else where this machine last had them."""
    from orchestrator.records.files.contents import History
    from orchestrator.records.files.contents import folder as found

    return found(asked, History(place.data)) if data_dir is None else data_dir


def plan(asked: Experiment, place: Workspace, data_dir: Path | None) -> Plan:
    """The cells of an experiment; where it is tuned, with the recipes that won in this workspace.

    Raises:
        RequestError: Not all recipes are found yet.
    """
    known = contents(asked, place, data_dir)
    return final(asked, trials(asked, place, known), known)


def final(asked: Experiment, stage: Trials | None, known: Contents) -> Plan:
    """The cells of an experiment with the recipes that won in its tuning stage, where it has one; raises as `plan`."""
    from orchestrator.experiment.plan import plan as planned

    if stage is None:
        return planned(asked, known)
    from orchestrator.adaptive.trials import settle

    return planned(settle(asked, stage.tuned), known)


def plans(asked: Experiment, place: Workspace, data_dir: Path | None) -> Iterator[Plan]:
    """The trials of an experiment's tuning stage, where it has one, and then its cells; raises as `plan` does."""
    known = contents(asked, place, data_dir)
    stage = trials(asked, place, known)
    if stage:
        yield stage.plan
    yield final(asked, stage, known)


def trials(asked: Experiment, place: Workspace, known: Contents | None = None) -> Trials | None:
    """The tuning stage of an experiment as far as the workspace's files tell; None where it has none."""
    if asked.tuning is None:
        return None
    from orchestrator.adaptive.trials import Trials, recall
    from orchestrator.records.files.evaluations import Evaluations

    return Trials(asked, recall(asked.tuning, Evaluations(place.evaluations)), known)


def data(plan: Plan, place: Workspace) -> Data:
    """What there is to know of the data of a plan's cells, and of cells of other states of them."""
    from orchestrator.records.files.contents import History
    from orchestrator.records.files.earlier import Data, absent, earlier, unreadable
    from orchestrator.records.files.evaluations import Evaluations

    history = History(place.data)
    return Data(
        (*absent(plan), *unreadable(plan, history)), tuple(earlier(plan, Evaluations(place.evaluations), history))
    )


def _located(file: Path) -> Path:
    """The file; where there is none, the experiment of that name that comes with the program."""
    beside = provenance.ROOT / "experiments"
    installed = Path(__file__).parent / "experiments"
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
    from orchestrator.records.sql.registry import Registry

    return Registry.open(url or place.registry)


def registry_if_any(place: Workspace, url: str | None) -> AbstractContextManager[Registry | None]:
    """A registry to read from; asking a question creates none."""
    return registry(place, url) if url or place.has_registry() else nullcontext()


def tracking(place: Workspace, uri: str | None, experiment: str) -> Tracking:
    """An experiment's window at the URI, or else in the workspace's store."""
    from orchestrator.records.tracking.runs import Tracking

    # What a store does not take is written down on this machine, whatever the workspace is.
    spool = place.spool if isinstance(place.spool, Path) else Path(tempfile.gettempdir()) / "orchestrator-spool"
    if uri:
        return Tracking(uri, experiment, spool=spool)
    return Tracking(place.tracking, experiment, artifacts=place.artifacts.as_uri(), spool=spool)


def checkpoints(place: Workspace, experiment: Experiment, launch: str) -> Checkpoints:
    """Where the cells of a launch keep their states, as often as the experiment says."""
    from orchestrator.records.files.checkpoints import Checkpoints

    epochs = experiment.checkpoint.epochs
    minutes = experiment.checkpoint.minutes
    return Checkpoints(place.checkpoints, launch, every_epochs=epochs, every_seconds=minutes and 60 * minutes)


def origin(cell: Cell, address: str | None = None) -> dict[str, Any]:
    """What a cell will record of its environment and code, here or on the cluster at the address.

    What only the machine that trains knows, is unknown: its instruction set, and the name of its GPU.
    """
    from orchestrator.provenance import fingerprints, processor
    from orchestrator.provenance.environment import SOME_GPU, gpu

    here = not address
    device = (gpu(provenance.nvml()) if here else SOME_GPU) if cell.resources.gpus else None
    return {
        **provenance.machine(),
        **provenance.code(),
        **fingerprints.recorded(cell.recipe),
        "device": device,
        "instruction_set": processor.instruction_set() if here else None,
        "onednn_isa": processor.onednn_isa() if here else None,
        "threads": cell.resources.cpus,
        "devices": cell.resources.devices,
    }


def origins(cell: Cell, places: Placement | None = None, address: str | None = None) -> list[dict[str, Any]]:
    """What a cell will record, by each kind of machine on which it can be trained now; one, where none is known."""
    told = origin(cell, address)
    kinds = places.kinds(cell) if places and address else []
    return [{**told, **kind} for kind in kinds] or [told]


def codes(experiment: Experiment) -> Codes:
    """Today's code of an experiment's plug-ins, by axis and label, and of the training loop."""
    from orchestrator.provenance import fingerprints

    found = {
        (axis, choice.label): fingerprints.of_plugin(axis, type(choice.plugin))
        for axis, name in fingerprints.AXES.items()
        for choice in getattr(experiment, name)
    }
    return {**found, ("loop", ""): fingerprints.of_loop()}


def codes_by_plugin(experiment: Experiment) -> Codes:
    """The same by the plug-ins' own names, which labels may differ from."""
    from orchestrator.provenance import fingerprints

    known = codes(experiment)
    names = {
        (axis, choice.label): type(choice.plugin).name
        for axis, name in fingerprints.AXES.items()
        for choice in getattr(experiment, name)
    }
    return {(axis, names.get((axis, label), "")): code for (axis, label), code in known.items()}


def recorded(plan: Plan, place: Workspace) -> list[dict[str, Any]]:
    """How the finished cells of a plan came about: from the results table, and from files that are younger than it."""
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.reproduction.finished_cells import told

    evaluations = Evaluations(place.evaluations)
    cells = {cell.id: cell for cell in plan.cells if cell.data_known}
    files = evaluations.files()
    written = _written(place.results(plan.experiment.name))
    ids = files.keys() & cells.keys()
    old = {cell_id for cell_id in ids if files[cell_id].modified < written}
    noted = (row for row in known(place, plan.experiment.name) if row.get("environment"))
    rows = {row["cell_id"]: row for row in noted if row["cell_id"] in old}
    unknown = [cell for cell_id, cell in cells.items() if cell_id in ids and cell_id not in rows]
    return [*(rows[cell_id] for cell_id in cells if cell_id in rows), *told(unknown, evaluations)]


def changed(plan: Plan, rows: list[dict[str, Any]]) -> list[str]:
    """Which finished cells a launch here would train by other code or elsewhere; sentences for people."""
    if not rows:  # then nobody needs to read today's code
        return []
    from orchestrator.reproduction.code_changes import elsewhere, since
    from orchestrator.sentences import filled

    cells = {cell.id: cell for cell in plan.cells}
    here = {row["cell_id"]: environment(cells[row["cell_id"]]) for row in rows}
    return [filled(sentence) for sentence in (*since(rows, codes(plan.experiment)), *elsewhere(rows, here))]


def outdated(asked: Experiment, place: Workspace) -> list[str]:
    """As `changed`, of an experiment whose recipes are all found, whatever seeds it has now; nothing of another."""
    known = contents(asked, place, None)
    stage = trials(asked, place, known)
    if stage and not stage.over:
        return []
    cells = whole(final(asked, stage, known), asked, place, None)
    return changed(cells, recorded(cells, place))


def outdated_of(names: Iterable[str], records: Registry | None, place: Workspace) -> dict[str, list[str] | None]:
    """The same of experiments as they were last launched; None of those that cannot be read here."""
    from contextlib import suppress

    from orchestrator.errors import OrchestratorError
    from orchestrator.experiment.model import recalled

    found: dict[str, list[str] | None] = {}
    for name in names:
        found[name] = None
        with suppress(OrchestratorError, KeyError, TypeError):
            if records and (document := records.document(name)):
                found[name] = outdated(recalled(document), place)
    return found


def older(plan: Plan, place: Workspace) -> list[str]:
    """All that is to be known of finished cells of several environments or of other code; sentences for people."""
    from orchestrator.reproduction.anchor_log import Ledger
    from orchestrator.reproduction.pooling import pooled

    rows = recorded(plan, place)
    pool = pooled(plan.experiment, rows, Ledger(place.drift(plan.experiment.name)))
    return [*changed(plan, rows), *(pool.told() if pool else ())]


def whole(plan: Plan, asked: Experiment, place: Workspace, data_dir: Path | None) -> Plan:
    """A plan, and all cells that may be pooled with its own: of the whole experiment, and done ones of other seeds.

    Args:
        plan: What a launch runs, which may be a part of the experiment.
        asked: The experiment of the file, with the axis values that options add.
        place: The workspace.
        data_dir: The folder of the data sets.
    """
    from dataclasses import replace

    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.reproduction.finished_cells import at_other_seeds

    rest = _rest(plan, asked, place, data_dir)
    cells = {cell.id: cell for cell in (*rest.cells, *plan.cells)}
    wide = replace(rest, cells=tuple(cells.values()))
    return replace(wide, cells=(*wide.cells, *at_other_seeds(wide, Evaluations(place.evaluations))))


def _rest(plan: Plan, asked: Experiment, place: Workspace, data_dir: Path | None) -> Plan:
    """The cells of an experiment of which a plan may leave out axis values; the plan where they cannot be told."""
    from contextlib import suppress

    from orchestrator.errors import RequestError
    from orchestrator.experiment.model import AXES

    if all(getattr(asked, axis) == getattr(plan.experiment, axis) for axis in AXES.values()):
        return plan
    with suppress(RequestError):  # of what is left out, no data need be here, and no recipe found
        known = {**contents(asked, place, data_dir), **plan.contents}
        return final(asked, trials(asked, place, known), known)
    return plan


def outlook(
    plan: Plan, asked: Experiment, place: Workspace, data_dir: Path | None, pending: list[Cell]
) -> Outlook | None:
    """What a launch would do about old cells before it trains those pending; tuning stages pool nothing.

    Args:
        plan: What the launch would run.
        asked: The whole experiment.
        place: The workspace.
        data_dir: The folder of the data sets.
        pending: The cells and replicas that it would train.

    Returns:
        None where it would do nothing.
    """
    if not pending or any(cell.trial is not None for cell in pending):
        return None
    wide = whole(plan, asked, place, data_dir)
    rows = recorded(wide, place)
    if not rows:  # what judges old cells takes a while to import
        return None
    from orchestrator.outcome import has_figures
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.reproduction.anchor_log import Ledger
    from orchestrator.reproduction.anchors import foresee, meetings
    from orchestrator.reproduction.finished_cells import past

    cells = {cell.id: cell for cell in wide.cells}
    pasts = [past(cells[row["cell_id"]], row, 0.0) for row in rows if has_figures(row["state"])]
    if not meetings(pasts, pending, origins, ()):
        return None
    return foresee(wide, pending, Evaluations(place.evaluations), Ledger(place.drift(plan.experiment.name)), origins)


def trust(plan: Plan, place: Workspace, say: Callable[[str], None]) -> None:
    """Let all finished cells be pooled because the user says so, and record it."""
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.records.files.results import aggregate
    from orchestrator.reproduction import pooling
    from orchestrator.reproduction.anchor_log import Ledger

    found = aggregate(plan, Evaluations(place.evaluations))
    ledger = Ledger(place.drift(plan.experiment.name))
    pooling.trust(plan.experiment, found.rows(), found.replica_rows(), ledger, say)


def has_known_code(cell: Cell, place: Workspace, experiment: Experiment) -> bool:
    """Whether a cell that is done, trained again now, may be pooled with others of its loss, as far as code goes."""
    from dataclasses import replace

    from orchestrator.errors import DamagedFileError
    from orchestrator.experiment.plan import original
    from orchestrator.provenance.environment import LossCode
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.reproduction.anchor_log import Ledger
    from orchestrator.reproduction.pooling import admits

    try:
        content = Evaluations(place.evaluations).content(replace(cell, id=original(cell.id)))
    except (FileNotFoundError, DamagedFileError):
        return False
    then = LossCode.of(cell.loss, content["provenance"])
    now = LossCode.of(cell.loss, origin(cell))
    admitted = admits(experiment, Ledger(place.drift(experiment.name)).entries())
    return then == now or admitted(then, now, (cell.dataset, cell.backbone))


def environment(cell: Cell, address: str | None = None) -> Environment:
    """Under what a cell will be trained, as far as this machine knows."""
    from orchestrator.provenance.environment import Environment

    return Environment.of(origin(cell, address))


def blocks(plan: Plan, place: Workspace) -> dict[str, set[str]]:
    """The environments of the cells of a plan that are done, by id; of those with replicas, several.

    The results table tells them, of files that are not younger; the others tell themselves.
    """
    from orchestrator.experiment.plan import original
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.records.files.results import environments

    table = place.results(plan.experiment.name)
    evaluations = Evaluations(place.evaluations)
    written = _written(table)
    noted = environments(table)
    files = evaluations.files()
    found: dict[str, set[str]] = {}
    for cell in evaluations.with_replicas(plan).cells:
        file = files.get(cell.id)
        known = noted.get(cell.id) if file and file.modified < written else None
        if file and (name := known or evaluations.environment(cell)):
            found.setdefault(original(cell.id), set()).add(name)
    return found


def _written(table: Location) -> float:
    """When a results table was written, in seconds since 1970; 0 where there is none."""
    from orchestrator.records.files.storage import Storage

    return {file.name: file.modified for file in Storage(table.parent).list()}.get(table.name, 0.0)


def placement(plan: Plan, found: Mapping[str, Iterable[str]], address: str | None) -> Placement:
    """Where the cells of a plan run, on this machine or the cluster at the address, beside those that are done.

    Raises:
        UnreachableError: There is no Ray at that address.
    """
    from orchestrator.execution.placement import Node, Placement, told
    from orchestrator.provenance.environment import Environment

    def environment(cell: Cell, machine: Mapping[str, Any]) -> str:
        return Environment.of({**origin(cell, address), **machine}).id

    done: defaultdict[Group, list[str]] = defaultdict(list)
    for cell in plan.cells:
        done[cell.dataset, cell.backbone, cell.seed] += found.get(cell.id, ())
    places = Placement(environment, done)
    if address:
        from orchestrator.execution.ray_tune import survey

        survey(places, address)
    else:
        places.found([Node("", ROOMY, told(), socket.gethostname())])
    return places


ROOMY = {"CPU": 2.0**20, "GPU": 2.0**20}
"""A machine that is the only one: whether a cell has room on it is checked elsewhere."""


def executor(
    kind: str,
    address: str | None,
    place: Workspace,
    runs: Tracking,
    data_dir: Path,
    states: Checkpoints | None,
    experiment: Experiment,
    *,
    log_models: bool = False,
    stated: Mapping[str, Any] | None = None,
    rehash: bool = False,
    debug: bool = False,
) -> Executor:
    """Where cells run, with the worker that runs and the recorder that records them, and what it was to state."""
    from orchestrator.execution.worker import Worker
    from orchestrator.records.files.contents import History
    from orchestrator.records.files.earlier import difference
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.records.recorder import Recorder

    code = provenance.code() | ({} if stated is None else {"stated": stated})
    recorder = Recorder(Evaluations(place.evaluations), runs, code, log_models)
    differs = partial(difference, History(place.data))
    raises = debug and kind == "inline"  # a debugger reaches this process only
    worker = Worker(recorder, data_dir.resolve(), states, differs, codes_by_plugin(experiment), rehash, raises)
    if kind == "inline":
        from orchestrator.execution.inline import Inline

        return Inline(worker)
    from orchestrator.execution.ray_tune import LOCAL, RayTune

    return RayTune(worker, address or LOCAL)


def spending(
    plan: Plan,
    waiting: Plan,
    place: Workspace,
    kind: str,
    address: str | None,
    most: int | None,
    file: Experiment,
) -> Spending | None:
    """The rule by which seeds are added, where the experiment leaves their number to its claims.

    Args:
        plan: The experiment and its cells.
        waiting: Those that can be run.
        place: The workspace.
        kind: Of the executor.
        address: Of the cluster.
        most: Cells to run at once.
        file: The experiment as its file has it, of which a launch may run a part.
    """
    if plan.experiment.sequence is None:
        return None
    from dataclasses import replace

    from orchestrator.adaptive.seeds import Spending
    from orchestrator.experiment.plan import Plan
    from orchestrator.records.files import results
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.reproduction.anchor_log import Ledger
    from orchestrator.reproduction.pooling import licences

    evaluations = Evaluations(place.evaluations)
    ledger = Ledger(place.drift(plan.experiment.name))
    found = licensed(results.aggregate(plan, evaluations), plan, place)
    room = most or (1 if kind == "inline" else _room(plan, address))
    seen = {(row["dataset"], row["backbone"], row["environment"]): row for row in found.all_rows()}

    def recall(cell: Cell) -> dict[str, Any]:
        fresh = results.aggregate(Plan(plan.experiment, (cell,)), evaluations)
        known = licences(plan.experiment, [*seen.values(), *fresh.rows()], ledger)
        (row,) = replace(fresh, licences=known).rows()
        seen[row["dataset"], row["backbone"], row["environment"]] = row
        return row

    return Spending(waiting, found.rows(), room, recall, found.replica_rows(), whole=file)


def _room(plan: Plan, address: str | None) -> int:
    """Cells that run at once."""
    from orchestrator.execution import ray_tune

    nodes = ray_tune.capacity(address) if address else [{"CPU": ray_tune.cores()}]
    wanted = plan.cells[0].resources
    fitting = (
        min(node.get("CPU", 0) // wanted.cpus, node.get("GPU", 0) // wanted.gpus if wanted.gpus else node.get("CPU", 0))
        for node in nodes
    )
    return max(1, int(sum(fitting)))


def aggregated(console: Console, plan: Plan, place: Workspace, data_dir: Path | None = None) -> Results:
    """The results table, built from the files and written; what is damaged is said."""
    from orchestrator.records.files import results
    from orchestrator.records.files.evaluations import Evaluations

    prepared(place)
    tests = partial(_tests, folder(plan.experiment, place, data_dir))
    found = licensed(results.aggregate(plan, Evaluations(place.evaluations), known=tests), plan, place)
    for sentence in found.damaged:
        complain(console, sentence)
    if found.lost:
        others = f" So are those of {len(found.lost) - 1} more." if found.lost[1:] else ""
        remedy = "Figures that follow from them stand as the cells' own files state them."
        complain(console, f"{found.lost[0]}{others} {remedy}")
    if plan.is_told:  # else what an earlier table tells is worth more than nothing
        results.write(found, place.results(plan.experiment.name))
    return found


def licensed(found: Results, plan: Plan, place: Workspace) -> Results:
    """Results whose rows tell which environments may be pooled with theirs."""
    from dataclasses import replace

    from orchestrator.reproduction.anchor_log import Ledger
    from orchestrator.reproduction.pooling import licences

    known = licences(plan.experiment, found.all_rows(), Ledger(place.drift(plan.experiment.name)))
    return replace(found, licences=known)


def _tests(data_dir: Path, cell: Cell) -> tuple[int, str | None] | None:
    """How many test samples a cell's data have, and their digest where the data are here."""
    from contextlib import suppress

    from orchestrator.experiment.checks import labels_here
    from orchestrator.records.files.splits import expected, published_size
    from trainers.datasets import UnusableDataError

    dataset = cell.recipe.dataset.model_copy(update={"shift": None})
    with suppress(UnusableDataError, ValueError):  # which others say
        if labels := labels_here(data_dir)(dataset):
            return expected(dataset, labels)
    size = published_size(dataset) if cell.recipe.data_digest is None else None
    return None if size is None else (size, None)


def compared(results: Results, plan: Plan, place: Workspace, file: Path) -> Comparison:
    """What the results say, and when the file's claims were stated."""
    from orchestrator.analysis.comparison import compare
    from orchestrator.experiment.stated import dated
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.records.files.results import aggregate
    from orchestrator.reproduction.anchor_log import Ledger
    from orchestrator.reproduction.pooling import pooled

    rows = results.rows()
    ledger = Ledger(place.drift(plan.experiment.name))
    again = results.replica_rows()
    pool = pooled(plan.experiment, rows, ledger, codes(plan.experiment), again)
    stage = trials(plan.experiment, place, plan.contents)
    tried = aggregate(stage.plan, Evaluations(place.evaluations)).rows() if stage else []
    found = of_file(file)
    return compare(
        plan.experiment,
        rows,
        replicas=again,
        owed=len(_owed(plan, results)),
        stated=dated(plan.experiment, stated(file), _records(results)),
        pool=pool,
        tuned=stage.tuned if stage else (),
        trial_rows=tried,
        data=data(plan, place),
        looked=_looked(found, plan, results, place),
        whole=found,
    )


def _looked(file: Experiment, plan: Plan, results: Results, place: Workspace) -> Looked:
    """Under which plans of seeds the cells of an experiment began, and those of seeds that it has no longer."""
    from orchestrator.experiment.looks import Looked, began, planned
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.records.files.summaries import Summaries
    from orchestrator.reproduction.finished_cells import at_other_seeds

    evaluations = Evaluations(place.evaluations)
    found = Looked(planned(file, plan.experiment))
    for row in results.all_rows():
        key = (row["dataset"], row["backbone"], row["loss"])
        record = results.stated.get(row["cell_id"])
        found.cells[key].append(began(file.name, row["started"], record, is_foreign=row["origin"] != "here"))
    others = at_other_seeds(plan, evaluations)
    summaries = Summaries.of_cells(evaluations, others)
    for cell in others:
        content = summaries.content(cell)
        record = content["provenance"].get("stated")
        if record is None or record["experiment"] == file.name:  # else others asked for those seeds
            key = cell.dataset, cell.backbone, cell.loss
            found.cells[key].append(began(file.name, content["started"], record, is_foreign=False))
    return found


def edited(plan: Plan, place: Workspace, file: Path) -> list[str]:
    """Which claims some cells that are done began without, or with others of that name; sentences for people."""
    from orchestrator.experiment.stated import dated
    from orchestrator.records.files.evaluations import Evaluations

    evaluations = Evaluations(place.evaluations)
    keys: dict[str, Key] = {cell.id: (cell.dataset, cell.backbone, cell.loss) for cell in plan.cells}
    done = evaluations.ids()
    names = [evaluations.name(cell) for cell in plan.cells if cell.id in done]
    records = (
        (keys[content["cell_id"]], content["provenance"].get("stated")) for content in evaluations.contents(names)
    )
    return [
        f"claim '{name}' was stated or edited after results: {found.carried} of {found.cells} cells carry it"
        for name, found in dated(plan.experiment, stated(file), records).items()
        if found.word == "after"
    ]


def _records(results: Results) -> Iterator[tuple[Key, Mapping[str, Any] | None]]:
    """Of each cell its dataset, backbone and loss, and what was stated when it began."""
    columns = results.table.select(["dataset", "backbone", "loss", "cell_id"]).to_pydict()
    for dataset, backbone, loss, cell in zip(*columns.values(), strict=True):
        yield (dataset, backbone, loss), results.stated.get(cell)


def replicas(plan: Plan, place: Workspace, states: Mapping[str, str]) -> tuple[list[Cell], str]:
    """The replicas that a launch on this machine would train, and what makes them needed.

    Args:
        plan: The experiment and its cells.
        place: The workspace.
        states: Of every cell, by id.
    """
    from orchestrator.outcome import is_done
    from orchestrator.pairing.replicas import foreseen

    found = blocks(plan, place)
    waiting = {cell for cell, state in states.items() if not is_done(state)}
    again = foreseen(plan, found, waiting, lambda cell: environment(cell).id)
    return again, changes(again, found, plan, place)


def changes(again: Iterable[Cell], found: Mapping[str, Collection[str]], plan: Plan, place: Workspace) -> str:
    """What this machine has not the same as those on which cells were trained that are to be trained again."""
    from orchestrator.experiment.plan import original
    from orchestrator.provenance.environment import change
    from orchestrator.records.files.evaluations import Evaluations

    cells = {cell.id: cell for cell in plan.cells}
    evaluations = Evaluations(place.evaluations)
    # One cell stands for all that go from one environment to another; one that is not trained yet has none.
    kinds = {(min(found.get(original(cell.id), ()), default=""), cell.environment): cell for cell in again}
    old = ((cells[original(cell.id)], cell) for cell in kinds.values())
    pairs = ((evaluations.origin(cell) or environment(cell), environment(replica)) for cell, replica in old)
    return "; ".join(dict.fromkeys(filter(None, (change(then, now) for then, now in pairs))))


def _owed(plan: Plan, results: Results) -> list[Cell]:
    """The replicas that a launch on this machine would train."""
    from orchestrator.experiment.plan import original
    from orchestrator.pairing.replicas import foreseen

    found: defaultdict[str, set[str]] = defaultdict(set)
    for table in (results.table, results.replicas):
        for cell, name in zip(table["cell_id"].to_pylist(), table["environment"].to_pylist(), strict=True):
            found[original(cell)].add(name)
    return foreseen(plan, found, (), lambda cell: environment(cell).id)


def inventoried(plan: Plan, place: Workspace, url: str | None, results: Results) -> None:
    """Let the registry know what a launched experiment and its cells have left, and where."""
    from orchestrator.records.inventory import take_inventory

    columns = results.table.select(["cell_id", "mlflow_run_id"]).to_pydict()
    runs = {cell: run for cell, run in zip(*columns.values(), strict=True) if run}
    with registry(place, url) as records:
        take_inventory(records, plan, place, runs)


def documented(place: Workspace, url: str | None, experiment: str) -> None:
    """Let the registry, if it knows the experiment, know where its table and its report are."""
    from orchestrator.records.inventory import documents

    with registry_if_any(place, url) as records:
        if records and experiment in records.experiments():
            records.left(documents(place, experiment))


def show(comparison: Comparison, results: Results, plan: Plan, place: Workspace, runs: Tracking) -> None:
    """Keep the comparison, and the report, as a run of the experiment's own, where a team looks for results."""
    from contextlib import suppress

    from orchestrator.analysis import across_settings
    from orchestrator.errors import UnreachableError
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.report.markdown import markdown
    from orchestrator.report.web import page

    metrics = {
        re.sub(r"[^\w\-. :/]", "_", f"{line.loss}/{line.backbone}/{line.dataset}/{name}"): interval.estimate
        for line in comparison.lines
        for name, interval in line.means.items()
    }
    verdicts = {
        "/".join(filter(None, (each.claim.id, each.backbone, each.dataset))): each.marked
        for each in comparison.findings
    }
    counted = results.without(comparison.left_out).all_rows()
    texts = {
        "comparison.md": markdown(comparison, across_settings.overall(plan.experiment, counted)),
        "report.html": page.render(
            comparison, results.rows(), Evaluations(place.evaluations), plan, results.replica_rows()
        ),
    }
    runs.catch_up()
    with suppress(UnreachableError):  # the files have it all; the next launch tells it
        runs.summarise("comparison", metrics, verdicts, texts)


def complain(console: Console, sentence: str) -> None:
    """Say what is wrong with something, without stopping for it."""
    console.print(sentence, style="red", markup=False, emoji=False, soft_wrap=True)


def near(place: Location) -> Location:
    """The path as seen from here, where that is shorter."""
    if isinstance(place, Path) and place.is_relative_to(Path.cwd()):
        return place.relative_to(Path.cwd())
    return place


def prepared(place: Workspace) -> Workspace:
    """The workspace, made and found to be writable, with the secret by which workers sign what they train in it.

    Raises:
        WorkspaceError: It is not.
    """
    from orchestrator.records.files.origin import secret
    from orchestrator.records.files.storage import Storage

    place.create()
    Storage(place.root).probe()
    secret(place.root)
    return place


def known(place: Workspace, experiment: str) -> list[dict[str, Any]]:
    """What the results table that an experiment's last launch or `aggregate` left holds, if any, and its replicas."""
    from orchestrator.records.files.results import of_replicas, read

    table = place.results(experiment)
    return [*read(table), *read(table.parent / of_replicas(table.name))]
