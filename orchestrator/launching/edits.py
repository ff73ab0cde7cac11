"""What `add` does: axis values and seeds are written into an experiment file, or taken back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import ExperimentError, RequestError, WorkspaceError
from orchestrator.experiment.additions import NAMED, Additions, Entry, labels, widened
from orchestrator.experiment.choices import AXES
from orchestrator.experiment.claims import Axis, unknown
from orchestrator.experiment.file_edits import with_entry
from orchestrator.experiment.files import numbers
from orchestrator.experiment.looks import planned
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Plan
from orchestrator.experiment.reading import load
from orchestrator.launching.additions import note_additions
from orchestrator.launching.writing import write_results
from orchestrator.stores import Stores
from orchestrator.study import Study

if TYPE_CHECKING:
    from orchestrator.analysis.added import Added
    from orchestrator.records.sql.registry import Registry

Named = Mapping[Axis, Sequence[str]]


@dataclass(frozen=True)
class Edit:
    """What `add` did."""

    entry: Entry
    """What was added or taken back; empty if there was nothing to do."""
    before: int
    """The cells that were asked."""
    after: int
    """The cells that are asked now."""
    places: tuple[str, ...]
    """Where it was written, or where it was."""
    added: Added | None
    """What is to be told of additions now."""


def put(file: Path, named: Named, seeds: str | None, stores: Stores, data_dir: Path | None) -> Edit:
    """Write axis values and seeds into an experiment file.

    If cells of the experiment have results in the workspace, it is also written down there, with the time.

    Args:
        file: The experiment file.
        named: Values by axis.
        seeds: As `--seeds` gives them.
        stores: The workspace.
        data_dir: The folder of the data sets.

    Raises:
        ExperimentError: The file is wrong or would become so, a name is unknown, or the file cannot be changed alone.
    """
    before = Study.of_filed(load(file), stores, data_dir, str(file))
    asked = [] if seeds is None else numbers(seeds)
    every = [*range(asked)] if isinstance(asked, int) else asked
    entry = Entry.between("add", before.filed, widened(before.filed, {**named, "seeds": every}))
    if entry.is_empty:
        return Edit(entry, _size(before.kept), _size(before.kept), (), before.added)
    text, changed = with_entry(file, _read(file), before.filed, entry)
    after = Study.of_filed(changed, stores, data_dir, str(file))
    with stores.registry() if _results(before) != 0 else nullcontext() as records:
        _write(file, text)
        if records:
            _register(after, records, forget=False)
            note_additions(stores, records, after.kept.name, entry)
    after = after.reread()
    return Edit(entry, _size(before.kept), _size(after.kept), (str(file),), after.added)


def take_back(file: Path, named: Named, seeds: str | None, stores: Stores, data_dir: Path | None) -> Edit:
    """Take axis values and seeds out of what flags added, and out of the experiment file.

    If cells of theirs have results, this is kept: it is a look at results.

    Args:
        file: The experiment file.
        named: Values by axis.
        seeds: As `--seeds` gives them: a number N means those of 0 … N - 1 that were added.
        stores: The workspace.
        data_dir: The folder of the data sets.

    Raises:
        RequestError: A launch of the experiment is under way.
        ExperimentError: Something is not in the experiment, the file would become wrong, or cannot be changed alone.
    """
    filed = load(file)
    additions = stores.additions(filed.name).read()
    entry = _meant(filed, additions, named, seeds)
    _refuse_while_launched(stores, filed.name)
    text = _read(file)
    in_file = _among(entry, {**{axis: labels(filed, axis) for axis in NAMED}, "seeds": filed.seeds})
    in_additions = _among(entry, {axis: [*additions.standing(axis)] for axis in (*NAMED, "seeds")})
    left, changed = (text, filed) if in_file.is_empty else with_entry(file, text, filed, in_file)
    old = _study(filed, additions, stores, data_dir)
    new = _study(changed, Additions((*additions.entries, entry)), stores, data_dir)
    if new is None:  # something else does not fit either: say what
        new = Study.of_filed(changed, stores, data_dir, str(file))
    seen = _results(old, new)
    plan = planned(old.kept, old.kept) if old and entry.seeds else None
    entry = entry.model_copy(update={"results": seen, "plan": plan})
    is_kept = seen != 0 or not in_additions.is_empty
    with stores.registry() if is_kept else nullcontext() as records:
        if left != text:
            _write(file, left)
            _remember(changed, stores)
        if records:
            _register(new, records, forget=True)
            note_additions(stores, records, filed.name, entry)
    new = Study.of_filed(changed, stores, data_dir, str(file))
    _write_table(new)
    places = (str(file),) if left != text else ()
    places += ("what flags added",) if not in_additions.is_empty else ()
    return Edit(entry, _size(old.kept if old else new.kept), _size(new.kept), places, new.added)


def _meant(filed: Experiment, additions: Additions, named: Named, seeds: str | None) -> Entry:
    """What is to be taken back, all of which is in the file or was added."""
    problems = [
        f"--{axis}: {complaint}"
        for axis in NAMED
        for name in named[axis]
        if (
            complaint := unknown(
                name, [*labels(filed, axis), *map(str, additions.standing(axis))], f"{axis} in this experiment is"
            )
        )
    ]
    stands = [int(seed) for seed in additions.standing("seeds")]
    asked = [] if seeds is None else numbers(seeds)
    if isinstance(asked, int):
        asked = [seed for seed in stands if seed < asked] or [asked]
    problems += [f"--seeds: seed {each} is not asked." for each in asked if each not in {*filed.seeds, *stands}]
    if problems:
        raise ExperimentError(problems)
    first = Entry.between("add", filed, filed)
    values = {axis: tuple(dict.fromkeys(named[axis])) for axis in NAMED}
    return first.model_copy(update={"action": "remove", **values, "seeds": tuple(sorted(set(asked)))})


def _among(entry: Entry, known: Mapping[str, Sequence[str | int]]) -> Entry:
    """What of an entry is among some values."""
    return entry.model_copy(
        update={axis: tuple(value for value in getattr(entry, axis) if value in known[axis]) for axis in known}
    )


def _study(filed: Experiment, additions: Additions, stores: Stores, data_dir: Path | None) -> Study | None:
    """The study with these additions; None if they do not fit the file."""
    with suppress(ExperimentError):
        kept = additions.applied(filed)
        return Study(kept, kept, kept, filed, stores, data_dir, additions=additions)
    return None


def _results(old: Study | None, new: Study | None = None) -> int | None:
    """How many cells of one study, and not of another, have a result; None if it is not known which cells they are."""
    done = old.stores.evaluations.ids() if old else {""}
    if not done:
        return 0
    try:
        plans = [study.plan for study in (old, new) if study]
    except RequestError:  # not all recipes are found yet
        return None
    if old is None or not plans[0].is_told:
        return None
    asked = {cell.id for plan in plans[1:] for cell in plan.cells}
    return sum(cell.id in done and cell.id not in asked for cell in plans[0].cells)


def _refuse_while_launched(stores: Stores, experiment: str) -> None:
    with stores.registry_if_any() as records:
        if records is None:
            return
        from orchestrator.records.sql.leases import under_way

        if launch := under_way(records, experiment):
            raise RequestError(
                f"'{experiment}' is being launched by {launch}: take something back when that has ended."
            )


def _register(study: Study, records: Registry, *, forget: bool) -> None:
    """Let the registry know which cells are asked now; of those whose data are not known, it keeps what it has."""
    try:
        plan = study.stores.evaluations.with_replicas(study.plan)
    except RequestError:  # not all recipes are found yet
        plan = Plan(study.kept, ())
        forget = False
    known = tuple(cell for cell in plan.cells if cell.data_known)
    records.plan(replace(plan, cells=known), forget=forget and plan.is_told)


def _remember(filed: Experiment, stores: Stores) -> None:
    """Keep the experiment of the changed file where the workspace has that of the last launch."""
    from orchestrator.records.files.asked import keep, kept

    if kept(stores.place.experiment(filed.name)):
        keep(filed, stores.place.experiment(filed.name))


def _write_table(study: Study) -> None:
    """Write the results table anew, if there is one."""
    from orchestrator.records.files.results import read

    with suppress(RequestError):  # not all recipes are found yet
        if read(study.place.results(study.kept.name)):
            write_results(study, lambda _: None)


def _read(file: Path) -> str:
    return file.read_bytes().decode("utf-8")  # with its own line breaks


def _write(file: Path, text: str) -> None:
    """Replace a file's text, whole or not at all; a link stays a link."""
    from orchestrator.records.files.storage import Storage

    place = file.resolve()
    try:
        mode = place.stat().st_mode
        Storage(place.parent).write(place.name, text.encode("utf-8"))
        place.chmod(mode & 0o7777)
    except OSError as error:
        raise WorkspaceError(f"{file} cannot be written: {error.strerror or error}.") from None


def _size(experiment: Experiment) -> int:
    """The number of cells of the grid."""
    axes = [len(getattr(experiment, AXES[axis])) for axis in NAMED]
    return math.prod([*axes, len(experiment.seeds)])
