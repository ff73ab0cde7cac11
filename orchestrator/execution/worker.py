"""Run one cell in this process: the one place where an exception becomes an outcome.

Torch is imported when the first cell runs, so that the driver of a cluster never imports it.
"""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from orchestrator.execution.command import Surroundings, fit_by_command
from orchestrator.execution.command_scores import ReadScores
from orchestrator.execution.executor import CheckpointStore, Log, LogOpener
from orchestrator.execution.faults import fault_of
from orchestrator.experiment.plan import Cell
from orchestrator.outcome import (
    Advanced,
    Alive,
    Attempt,
    Collapsed,
    Diverged,
    Ending,
    Event,
    Failed,
    Finished,
    Lost,
    Started,
    Stopped,
)
from orchestrator.provenance import fingerprints, processor
from orchestrator.provenance.fingerprints import Code
from trainers.datasets import Dataset, MissingDataError, TrainTest, fingerprint
from trainers.datasets.content import ArraysError, ChangedDataError, Content, content, digest_here
from trainers.datasets.hashes import forget

if TYPE_CHECKING:
    import torch

    from trainers.brief import Brief
    from trainers.checkpoint import Checkpointing
    from trainers.fit import Fit, Observer
    from trainers.parallel import World

ASK = 1.0
"""Seconds between two checks whether the user has asked to stop."""

ASK_LATER = 30.0
"""Seconds until the next check after one that the storage did not answer."""

BEAT = 10.0
"""Seconds between two signs of life."""


class OtherCodeError(Exception):
    """The code on this node differs from the code of the launch."""


@dataclass(frozen=True)
class Worker:
    """What a process needs to run cells: the data folder, the recorder, and where states are saved."""

    recorder: LogOpener
    data_dir: Path
    checkpoints: CheckpointStore | None = None
    differs: Callable[[Dataset, str | None, Content | None], str] | None = None
    """Says how the data found here differ from those that a cell was planned for."""
    planned: Mapping[tuple[str, str], Code] = field(default_factory=dict[tuple[str, str], Code])
    """The launch's code, by axis and name of a plug-in; a node with other code trains nothing."""
    rehash: bool = False
    """Whether to hash all data files again, even if this machine has recorded their hashes."""
    read_scores: ReadScores | None = None
    """Reads the scores that a command wrote."""
    raises: bool = False
    """Whether an exception of the cell itself is raised, for a debugger, instead of becoming `Failed`."""
    brief: Brief | None = None
    """How much of each recipe is done, in a rehearsal."""

    def run(self, cell: Cell, tell: Callable[[Event], None], world: World | None = None) -> Ending:
        """Train and record one cell; unless it `raises`, every exception but the user's interruption becomes an ending.

        Args:
            cell: The cell.
            tell: Called with each of its events.
            world: The processes that train it together, if this is one of several: the first records.
        """
        node = socket.gethostname()
        started = time.time()
        clock = time.perf_counter()

        def attempt() -> Attempt:
            return Attempt(node, started, time.perf_counter() - clock)

        try:
            # Several processes agree to stop after a batch; the others would wait for one that left earlier.
            if world is None and self.checkpoints is not None and self.checkpoints.is_stopping():
                return Stopped(cell, Attempt(node, started, 0.0))
            tell(Started(cell, node, started))
            return self._recorded(cell, tell, attempt, world)
        except Exception as error:  # the fault boundary: no exception of one cell stops the others
            sentence = f"{type(error).__name__}: {error}".partition("\n")[0]
            if fault := fault_of(error):
                return Lost(cell, attempt(), fault, sentence, traceback.format_exc())
            if self.raises:
                raise
            return Failed(cell, attempt(), sentence, traceback.format_exc())

    def _recorded(
        self, cell: Cell, tell: Callable[[Event], None], attempt: Callable[[], Attempt], world: World | None
    ) -> Ending:
        import torch

        if other := fingerprints.unlike(cell.recipe, self.planned):
            raise OtherCodeError(
                f"the code of {other} on this node differs from that of the launch that planned {cell.name}: "
                "install the same code on all nodes and launch again with --retry-failed"
            )

        from trainers.checkpoint import StoppedError
        from trainers.fit import DivergedError

        # The number of threads is fixed, because sums split differently among threads round differently.
        torch.set_num_threads(cell.resources.cpus)
        leads = world is None or world.rank == 0
        with self.recorder.open(cell) if leads else nullcontext(cast("Log", _Mute())) as log:

            def observe(epoch: int, figures: dict[str, float]) -> None:
                log.epoch(epoch, figures)
                tell(Advanced(cell, epoch, figures))

            try:
                if cell.recipe.trainer is None:
                    trained = self._by_loop(cell, log, tell, observe, world)
                else:
                    trained = self._by_command(cell, log, tell, observe)
            except StoppedError:
                log.stop()
                return Stopped(cell, attempt())
            except DivergedError as error:
                ended = attempt()
                environment = log.diverge(error.epoch, ended)
                self._clear(cell, leads=leads)
                return Diverged(cell, ended, error.epoch, environment=environment)
            finished = _trained(cell, attempt(), trained)
            environment = log.finish(trained, finished.attempt)
            self._clear(cell, leads=leads)
            return replace(finished, environment=environment)

    def _origins(self, cell: Cell) -> dict[str, Any]:
        """Where data and weights come from, with their licences."""
        weights = cell.recipe.backbone.pretrained(self.data_dir)
        dataset = cell.recipe.dataset
        found = {**dataset.origins(self.data_dir), **({"backbone": weights.record} if weights else {})}
        if others := dataset.unknowns:
            digest = digest_here(others, self.data_dir)
            found["unknowns"] = {"name": others.key, "digest": digest, **others.origins(self.data_dir)}
        return found

    def _by_loop(
        self, cell: Cell, log: Log, tell: Callable[[Event], None], observe: Observer, world: World | None
    ) -> Fit:
        """What the program's own training loop makes of a cell; raises as `trainers.fit` does."""
        from trainers.fit import fit
        from trainers.parallel import ALONE

        device = _device(cell)
        # Shifts are made from the test split, so datasets that differ only in their shift are loaded once.
        plain = cell.recipe.dataset.model_copy(update={"shift": None})
        found = loaded(plain, self.data_dir, rehash=self.rehash)  # pyright: ignore[reportArgumentType]  # it hashes
        self._check(cell, found.content)
        log.note_data(found.fingerprint, self._origins(cell))
        saving = self._checkpointing(cell, log, tell, device, found.fingerprint)
        return fit(
            cell.recipe,
            found.data,
            device=device,
            observer=observe,
            checkpointing=saving,
            world=world or ALONE,
            data_dir=self.data_dir,
            brief=self.brief,
        )

    def _by_command(self, cell: Cell, log: Log, tell: Callable[[Event], None], observe: Observer) -> Fit:
        """What a command makes of a cell; raises as `fit_by_command` does."""
        if self.read_scores is None:
            raise RuntimeError("this worker was not told how to read the scores of a command")
        dataset = cell.recipe.dataset
        self._check(cell, content(dataset, self.data_dir))
        states = self.checkpoints
        around = Surroundings(
            log,
            observe,
            self.read_scores,
            self.data_dir,
            stop=_Pulse(states, lambda: tell(Alive(cell))) if states else _never,
            state=states.folder(cell) if states else None,
            shelf=states.shelf(cell) if states else None,
        )
        trained = fit_by_command(cell, around)
        self._check(cell, content(dataset, self.data_dir))
        return trained

    def _check(self, cell: Cell, found: Content | None) -> None:
        """Refuse data that differ from those in the cell's id.

        Raises:
            ChangedDataError: The data differ.
        """
        dataset = cell.recipe.dataset
        planned = cell.recipe.data_digest
        if planned == (found and found.digest):
            return
        what = self.differs(dataset, planned, found) if self.differs else ""
        nameless = "that of the published dataset" if dataset.is_published else "none"
        now, then = (digest[:16] if digest else nameless for digest in (found and found.digest, planned))
        raise ChangedDataError(
            f"the data of '{dataset.key}' on {socket.gethostname()} differ from those that the cell was planned for"
            f"{f': {what}' if what else ''} (digest {now}, planned for {then}). They changed after the launch began, "
            "or machines have different data: make them the same everywhere and launch again."
        )

    def _clear(self, cell: Cell, *, leads: bool) -> None:
        if self.checkpoints is not None and leads:
            with suppress(OSError):  # the cell is done, whatever is left of its state
                self.checkpoints.clear(cell)

    def _checkpointing(
        self, cell: Cell, log: Log, tell: Callable[[Event], None], device: torch.device, data: str
    ) -> Checkpointing | None:
        """How this attempt saves its state, checks whether to stop, and reports that it is alive."""
        import torch

        from trainers.checkpoint import Checkpointing

        if self.checkpoints is None:
            return None
        about = {
            "cell": cell.id,
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "threads": cell.resources.cpus,
            "devices": cell.resources.devices,
            "data": data,
            "instruction_set": torch.backends.cpu.get_cpu_capability(),
            "onednn": processor.onednn_isa(),
            **{f"code of {name}": code.sha256 for name, code in fingerprints.of(cell.recipe).items()},
        }
        return Checkpointing(
            shelf=self.checkpoints.shelf(cell),
            every_epochs=self.checkpoints.every_epochs,
            every_seconds=self.checkpoints.every_seconds,
            conditions=about,
            stop=_Pulse(self.checkpoints, lambda: tell(Alive(cell))),
            resumed=log.resumed,
        )


def _never() -> bool:
    return False


def _trained(cell: Cell, attempt: Attempt, fit: Fit) -> Finished:
    if fit.collapse is None:
        return Finished(cell, attempt, fit.metrics)
    return Collapsed(cell, attempt, fit.metrics, fit.collapse)


class _Mute:
    """The log of a process that is not the first of several: it records nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


class _Pulse:
    """Called after every batch: reports from time to time that the cell is alive, and checks whether to stop."""

    def __init__(self, checkpoints: CheckpointStore, beat: Callable[[], None]) -> None:
        self._checkpoints = checkpoints
        self._beat = beat
        self._told = time.monotonic()
        self._next = self._told + ASK

    def __call__(self) -> bool:
        now = time.monotonic()
        if now - self._told > BEAT:
            self._told = now
            self._beat()
        if now < self._next:
            return False
        self._next = now + ASK
        try:
            return self._checkpoints.is_stopping()
        except OSError:  # nobody can be asked; no reason to stop what goes well
            self._next = time.monotonic() + ASK_LATER
            return False


class Loaded(NamedTuple):
    """A dataset in memory, the hash of its arrays, and its content when it was read."""

    data: TrainTest
    fingerprint: str
    content: Content | None


@lru_cache(maxsize=2)
def loaded(dataset: Dataset, data_dir: Path, *, rehash: bool = False) -> Loaded:
    """Load a dataset, once per process, however many cells train on it.

    Args:
        dataset: The dataset.
        data_dir: The folder with its files.
        rehash: Whether to hash all files again, even if this machine has recorded their hashes.

    Raises:
        ChangedDataError: Its files changed while they were read.
    """
    if rehash:
        forget(data_dir)
    before = None
    with suppress(MissingDataError, ArraysError):  # it may be downloaded by `load`, or only its arrays can be hashed
        before = content(dataset, data_dir)
    data = dataset.with_unknown(dataset.load(data_dir), data_dir)
    after = content(dataset, data_dir, data)
    if before is not None and after != before:
        raise ChangedDataError(f"the data of '{dataset.key}' changed while they were read: launch again")
    return Loaded(data, fingerprint(data), after)


def _device(cell: Cell) -> torch.device:
    import torch

    if not cell.resources.gpus:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RuntimeError(f"{cell.name} asks for {cell.resources.gpus} GPU, but torch sees none on this node")
    return torch.device("cuda")
