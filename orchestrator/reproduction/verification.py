"""Whether cells reproduce: which to retrain, and how the second result compares with the first."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from secrets import SystemRandom
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DamagedFileError, LostRowsError, RequestError
from orchestrator.experiment.plan import AT, SHOWN, Cell, Plan
from orchestrator.experiment.units import amount
from orchestrator.outcome import has_figures
from orchestrator.provenance import COSTS
from orchestrator.records.files.evaluations import Account, Evaluations
from orchestrator.records.files.origin import Origin, Origins
from orchestrator.records.files.storage import in_parallel
from orchestrator.sentences import filled
from trainers.evaluation import Evaluation
from trainers.metrics import MEASURES

Kind = Literal["columns", "metrics", "curves"]


class TrainedFiles(NamedTuple):
    """The files of one training of a cell."""

    account: Account
    rows: Evaluation
    validation: Evaluation | None = None
    certification: Evaluation | None = None

    @property
    def lacks_rows(self) -> bool:
        """Whether rows beside the cell's file are lost."""
        beside = (
            (self.validation, self.account.validation_sha256),
            (self.certification, self.account.certification_sha256),
        )
        return any(rows is None and digest is not None for rows, digest in beside)

    @classmethod
    def of(cls, cell: Cell, evaluations: Evaluations) -> TrainedFiles:
        """Read a cell's files; without the rows beside them if some are lost. Other errors of reading are raised."""
        with suppress(LostRowsError):
            beside = evaluations.validation(cell), evaluations.certification(cell)
            return cls(evaluations.account(cell), evaluations.evaluation(cell), *beside)
        return cls(evaluations.account(cell), evaluations.evaluation(cell))


Numbers = Mapping[Kind, Mapping[str, NDArray[Any]]]


@dataclass(frozen=True)
class Verdict:
    """How a retrained cell compares with its file."""

    states: tuple[str, str]
    """Finished, collapsed or diverged: then and now."""
    differences: Mapping[Kind, Mapping[str, float]]
    """The largest |difference| of each entry that is not equal bit for bit; infinite if lengths or names differ."""
    changed: int
    """The number of samples whose correctness changed; all of them if the number of samples changed."""
    provenance: Mapping[str, tuple[Any, Any]]
    """The entries that differ: then and now."""

    @property
    def identical(self) -> bool:
        """Whether every number is the same bit for bit."""
        return self.states[0] == self.states[1] and not any(self.differences.values())

    def sentences(self) -> list[str]:
        """The differences in sentences."""
        told: list[str] = []
        if self.states[0] != self.states[1]:
            told.append(f"it {self.states[0]} then, and {self.states[1]} now")
        for kind, found in self.differences.items():
            if found:
                largest = ", ".join(f"{name} {_size(kind, name, size)}" for name, size in found.items())
                told.append(f"largest |difference| in {kind}: {largest}")
        if not self.identical:
            told.append(f"samples whose correctness changed: {self.changed}")
        if self.provenance:
            pairs = ", ".join(f"{name} {then} → {now}" for name, (then, now) in self.provenance.items())
            told.append(f"then → now: {pairs}")
        return told


def _size(kind: Kind, name: str, size: float) -> str:
    """A difference as text; for a measure in its unit."""
    measure = name.rpartition(".")[2]  # of a shift, behind its name
    return filled(amount(size, [measure], 3)) if kind == "metrics" and measure in MEASURES else f"{size:.3g}"


LATER = ".accuracy_at_validation_threshold"
"""How a measure under shift ends that the accounts of earlier versions lack."""


def compare(then: TrainedFiles, now: TrainedFiles) -> Verdict:
    """Compare two trainings of one cell: their accounts, and the rows of test and validation samples."""
    states = (then.account.state, now.account.state)
    if then.lacks_rows:
        now = now._replace(validation=None, certification=None)
    before = _numbers(*then)
    after = _numbers(*now)
    if not any(name.endswith(LATER) for name in before["metrics"]):
        known = {name: value for name, value in after["metrics"].items() if not name.endswith(LATER)}
        after = {**after, "metrics": known}
    # A diverged cell has no numbers to compare.
    kinds = before if has_figures(states[0]) == has_figures(states[1]) else ()
    return Verdict(
        states,
        differences={kind: _differences(before[kind], after[kind]) for kind in kinds},
        changed=_changed(then.rows, now.rows),
        provenance=_unlike(then.account.provenance, now.account.provenance),
    )


def _numbers(
    account: Account, rows: Evaluation, validation: Evaluation | None, certification: Evaluation | None
) -> Numbers:
    shifts = {f"{shift}.{name}": value for shift, found in account.shifts.items() for name, value in found.items()}
    metrics = {name: [value] for name, value in {**account.metrics, **shifts}.items()}
    metrics["fitted temperature"] = [account.temperature]
    curves = dict.fromkeys(name for epoch in account.history for name in epoch)
    return {
        "columns": {
            **_columns(rows),
            **_columns(validation, "validation "),
            **_columns(certification, "certification "),
        },
        "metrics": _arrays({**metrics, "bias of each class": account.learned_bias}),
        "curves": _arrays({name: [epoch.get(name) for epoch in account.history] for name in curves}),
    }


def _columns(rows: Evaluation | None, prefix: str = "") -> dict[str, NDArray[Any]]:
    known = vars(rows).items() if rows else ()
    # Groups are of the data, and files of earlier versions have none.
    return {prefix + name: column for name, column in known if column is not None and name != "group"}


def _arrays(values: Mapping[str, Sequence[float | None]]) -> dict[str, NDArray[np.float64]]:
    return {name: np.array(value, dtype=np.float64) for name, value in values.items()}  # None becomes NaN


def _differences(then: Mapping[str, NDArray[Any]], now: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    names = dict.fromkeys([*then, *now])
    pairs = {name: (then.get(name), now.get(name)) for name in names}
    largest = {name: _largest_difference(*pair) for name, pair in pairs.items()}
    return {name: difference for name, difference in largest.items() if difference is not None}


def _largest_difference(then: NDArray[Any] | None, now: NDArray[Any] | None) -> float | None:
    """The largest |difference|; None if both are equal bit for bit."""
    if then is None or now is None or then.shape != now.shape:
        return math.inf
    # As bits, NaN equals itself, and 0 is not -0.
    bits = f"u{then.itemsize}"
    apart = then.view(bits) != now.view(bits)
    if not apart.any():
        return None
    return float(np.abs(then[apart].astype(np.float64) - now[apart]).max())


def _changed(then: Evaluation, now: Evaluation) -> int:
    before = then.prediction == then.label
    after = now.prediction == now.label
    return int((before != after).sum()) if before.shape == after.shape else max(len(before), len(after))


def _unlike(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    pairs = {name: (then.get(name), now.get(name)) for name in sorted({*then, *now} - COSTS - {"stated"})}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def origins(plan: Plan, evaluations: Evaluations) -> dict[str, Origin]:
    """The origins of the done cells of a plan, by id; cells with a damaged file are left out."""
    known = Origins.of(evaluations.folder.parent)

    def origin(cell: Cell) -> tuple[str, Origin] | None:
        try:
            footer = evaluations.footer(cell)
        except (DamagedFileError, FileNotFoundError):
            return None
        return cell.id, known.origin(footer.seal, footer.signed)

    return dict(filter(None, in_parallel(origin, plan.cells, evaluations.storage.readers)))


def choose(
    plan: Plan,
    done: Collection[str],
    prefixes: Sequence[str],
    sample: int | None,
    unverified: Collection[str] = (),
) -> Plan:
    """The cells to retrain: the named ones, or a sample of the done ones.

    A sample takes unverified cells first, drawn at random, so that their sender cannot know which will be retrained.

    Args:
        plan: The experiment's cells, and its replicas, which are chosen only by name.
        done: The ids of the cells that have a file.
        prefixes: Ids or unique prefixes of ids; empty for a sample. For a replica, followed by a prefix of its
            environment, as in `0a1b@2c3d`.
        sample: The most cells to choose; by default all named ones, or one.
        unverified: The ids of imported cells without a rerun here.

    Raises:
        RequestError: No cell is done, or a prefix matches no done cell or several.
    """
    there = sorted((cell for cell in plan.cells if cell.id in done), key=lambda cell: cell.id)
    if not there:
        raise RequestError(f"No cell of '{plan.experiment.name}' is done here: launch it first.")
    named = dict.fromkeys(_named(prefix, there) for prefix in prefixes)
    # Ids are hashes, so the lowest ids of one's own cells are as good as a random draw, and always the same.
    cells = [cell for cell in there if not cell.environment]
    foreign = [cell for cell in cells if cell.id in unverified]
    SystemRandom().shuffle(foreign)
    chosen = list(named or dict.fromkeys([*foreign, *cells]))[: sample or len(named) or 1]
    return Plan(plan.experiment, tuple(chosen))


def _named(prefix: str, there: Sequence[Cell]) -> Cell:
    own, at, environment = prefix.partition(AT)
    near = [cell for cell in there if cell.id.startswith(own) and bool(at) == bool(cell.environment)]
    found = [cell for cell in near if (cell.environment or "").startswith(environment)]
    if not found:
        raise RequestError(f"No finished cell has an id that begins with '{prefix}'.")
    if len(found) > 1:
        ids = ", ".join(cell.id[:SHOWN] for cell in found[:5])
        raise RequestError(f"{len(found)} finished cells have ids that begin with '{prefix}' ({ids} …).")
    return found[0]
