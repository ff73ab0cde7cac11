"""Train one cell by several processes at once, with Ray Train."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.queue import Empty, Queue

from orchestrator.execution.worker import Worker
from orchestrator.experiment.plan import Cell
from orchestrator.outcome import Diverged, Ending, Event, Failed, Finished, Lost, Stopped
from orchestrator.process import scratch

ENDINGS = (Finished, Diverged, Failed, Lost, Stopped)


def run_together(
    worker: Worker, cell: Cell, tell: Callable[[Event], None], labels: dict[str, str] | None = None
) -> Ending:
    """Train a cell data-parallel on as many devices as it asks for; called in the process of its trial.

    Only the first process records and reports. NCCL connects GPUs, Gloo CPUs.

    Args:
        worker: What each process runs.
        cell: The cell.
        tell: Called with each of its events.
        labels: The labels of the machines that the processes may run on.

    Raises:
        Exception: A process could not be started, or died.
    """
    inbox = Queue(actor_options={"num_cpus": 0})
    trouble = list[BaseException]()
    with scratch.folder() as folder:
        trainer = _trainer(worker, cell, inbox, labels, folder)

        def fit() -> None:
            try:
                trainer.fit()
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
                trouble.append(error)

        thread = threading.Thread(target=fit, daemon=True)
        thread.start()
        ending: Ending | None = None
        while thread.is_alive() or inbox.qsize():
            try:
                event: Event = inbox.get(timeout=1)
            except Empty:
                continue
            if isinstance(event, ENDINGS):
                ending = event
            else:
                tell(event)
    if ending is None:
        raise trouble[0] if trouble else RuntimeError("the processes ended and reported nothing")
    return ending


def _trainer(worker: Worker, cell: Cell, inbox: Queue, labels: dict[str, str] | None, folder: Path) -> TorchTrainer:
    """What starts the processes, each with its share of the cell's resources."""
    wanted = cell.resources
    needed: dict[str, float] = {"CPU": wanted.cpus}
    if wanted.gpus:
        needed["GPU"] = wanted.gpus
    return TorchTrainer(
        _rank,
        train_loop_config={"worker": worker, "cell": cell, "inbox": inbox},
        scaling_config=ScalingConfig(
            num_workers=wanted.devices,
            use_gpu=bool(wanted.gpus),
            resources_per_worker=needed,
            label_selector=labels or None,
        ),
        torch_config=TorchConfig(backend="nccl" if wanted.gpus else "gloo"),
        run_config=RunConfig(storage_path=str(folder), name="cell"),
    )


def _rank(config: dict[str, Any]) -> None:
    """Train as one of the processes; only the first one reports."""
    from trainers.parallel import World

    world = World.here()
    worker = config["worker"]
    cell = config["cell"]
    inbox = config["inbox"]
    ending = worker.run(cell, inbox.put if world.rank == 0 else _silent, world)
    if world.rank == 0:
        inbox.put(ending)


def _silent(event: Event) -> None:
    del event
