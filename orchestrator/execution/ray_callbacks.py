"""What Ray Tune calls during a run: to get cells, to start them, to report events, and to ask whether to stop."""

from __future__ import annotations

import time
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from ray import cloudpickle, tune
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from orchestrator.execution.placement import Placement
from orchestrator.execution.queue import Places, Queue, Ticket
from orchestrator.execution.worker import Worker
from orchestrator.experiment.plan import Cell
from orchestrator.outcome import Attempt, Diverged, Event, Failed, Fault, Finished, Lost, Started, Stopped

WAVE = 1000
"""Trials per Tune run. A trial occupies about 50 kB of the driver until its run has ended."""


class Message(NamedTuple):
    """An event, and the id of the Ray node that it comes from."""

    event: Event
    node: str


class RunEnd(NamedTuple):
    """A Tune run has ended; with an error if it broke."""

    supplier: Supplier
    error: BaseException | None


class MemoryRanOutError(RayActorError):
    """Ray ended a process because the machine's memory ran out."""

    def __init__(self, story: str) -> None:
        super().__init__(error_msg=story)


class MachineGoneError(RayActorError):
    """Every machine that a trial could have started on is gone."""


class Brake(tune.Stopper):
    """Stops a Tune run as a whole."""

    pulled = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped for what it reports."""
        del trial_id, result
        return False

    def stop_all(self) -> bool:
        """Whether to stop now."""
        return self.pulled


class Supplier(Searcher):
    """Gives a Tune run its cells one by one, as resources become free, instead of all at once."""

    def __init__(self, queue: Queue | None) -> None:
        super().__init__()
        self._queue = queue
        self._number = 0
        self.takes = True
        self.given: dict[str, Cell] = {}
        """The cells whose trials have not ended."""

    def __reduce__(self) -> tuple[type, tuple[None]]:
        # Tune pickles it into a snapshot, which is never read, and a queue cannot be pickled.
        return Supplier, (None,)

    def suggest(self, trial_id: str) -> Any:
        """The next cell's ticket; None to be asked again; FINISHED when there will be none."""
        assert self._queue is not None  # noqa: S101 - only an unpickled copy has none
        if self._queue.over or self._queue.is_closed or self._number == WAVE:
            self.takes = False
            return Searcher.FINISHED
        if (ticket := self._queue.take()) is None:
            return None
        self._number += 1
        self.takes = self._number < WAVE
        self.given[trial_id] = ticket.cell
        return {"ticket": ticket}

    def on_trial_complete(self, trial_id: str, *_: Any, **__: Any) -> None:
        """Forget a trial that has ended; its events say how."""
        self.given.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """Nothing is ever restored."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing is ever restored."""


class Scheduler(FIFOScheduler):
    """Starts trials in order, and fails those whose machines are gone, for which Tune would wait for ever."""

    def __init__(self, places: Places | None) -> None:
        super().__init__()
        self._places = places

    def __reduce__(self) -> tuple[type, tuple[None]]:
        # For the same reason as the supplier.
        return Scheduler, (None,)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The first trial that waits."""
        if isinstance(self._places, Placement):
            controller = tune_controller._tune_controller  # noqa: SLF001 - the public interface cannot end a waiting trial
            alive = self._places.alive
            for trial in tune_controller.get_trials():
                nodes = trial.config["ticket"].nodes
                if trial.status == Trial.PENDING and nodes and alive.isdisjoint(nodes):
                    _give_up(controller, trial)
        return super().choose_trial_to_run(tune_controller)


def _give_up(controller: Any, trial: Trial) -> None:
    """End a waiting trial the way Tune ends one whose process could not be started."""
    actor = controller._trial_to_actor.get(trial)  # noqa: SLF001
    if actor is not None:
        controller._actor_failed(actor, MachineGoneError(error_msg="The machines that it could run on are gone."))  # noqa: SLF001


class Reporter(tune.Callback):
    """Passes on what trials report, and reports the end of those that died silently."""

    def __init__(self, inbox: SimpleQueue[Message | RunEnd] | None, worker: Worker | None) -> None:
        self._inbox = inbox
        self._worker = worker
        self._started: dict[str, tuple[Started, str]] = {}
        self._ended: set[str] = set()

    def __reduce__(self) -> tuple[type, tuple[None, None]]:
        # For the same reason as the supplier.
        return Reporter, (None, None)

    def _tell(self, event: Event, node: str) -> None:
        assert self._inbox is not None  # noqa: S101 - only an unpickled copy has none
        self._inbox.put(Message(event, node))

    def on_trial_result(self, *_: Any, result: dict[str, Any], trial: Trial, **__: Any) -> None:
        """A trial reported an event."""
        event: Event | None = result.get("event")
        if event is None:  # Tune's own final report, which repeats the last result without its content
            return
        match event:
            case Started():
                self._started[trial.trial_id] = event, result["ray_node"]
            case Finished() | Diverged() | Failed() | Lost() | Stopped():
                self._ended.add(trial.trial_id)
            case _:
                pass
        self._tell(event, result["ray_node"])

    def on_trial_error(self, *_: Any, trial: Trial, **__: Any) -> None:
        """A trial's process died, or ended itself because it must not be used again."""
        if trial.trial_id in self._ended:
            return
        ticket: Ticket = (trial.config or {})["ticket"]
        now = time.time()
        started, node = self._started.pop(trial.trial_id, (None, ""))
        attempt = Attempt(started.node, started.started, now - started.started) if started else Attempt("", now, 0.0)
        self._tell(_ending(ticket, attempt, _error(trial), self._words(ticket.cell)), node)

    def _words(self, cell: Cell) -> str | None:
        """The reason and stacks that a watchdog wrote before it ended the process."""
        checkpoints = self._worker and self._worker.checkpoints
        path = checkpoints.last_words(cell) if checkpoints else None
        if path is None or not path.exists():
            return None
        told = path.read_text(encoding="utf-8", errors="replace")
        path.unlink(missing_ok=True)
        return told


def _error(trial: Trial) -> BaseException:
    """What ended a trial's process, from the file that Tune has just written on this machine."""
    path = trial.pickled_error_file
    if path is None or not Path(path).exists():
        return RuntimeError("Ray does not say why")
    return cloudpickle.loads(Path(path).read_bytes())


def _ending(ticket: Ticket, attempt: Attempt, error: BaseException, words: str | None) -> Lost | Failed:
    """How an attempt ended whose process reported no ending."""
    limit = ticket.time_limit
    cell = ticket.cell
    if words or (limit is not None and attempt.seconds >= limit):
        reason = words.partition("\n")[0] if words else f"longer than its limit of {limit:g} s"
        return Lost(cell, attempt, "hang", f"Its process was ended: {reason}", words or str(error))
    sentence = f"{type(error).__name__}: {error}".partition("\n")[0]
    if isinstance(error, RayTaskError) and not isinstance(error, RayActorError):
        # It could not even begin: for example, a plug-in cannot be imported on that machine.
        return Failed(cell, attempt, sentence, str(error))
    return Lost(cell, attempt, _fault(error), f"The worker process died: {sentence}", str(error))


def _fault(error: BaseException) -> Fault:
    if isinstance(error, (MemoryRanOutError, OutOfMemoryError)):
        return "memory"
    preempted = isinstance(error, RayActorError) and error.preempted
    return "node" if preempted or isinstance(error, MachineGoneError) else "process"
