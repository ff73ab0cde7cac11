"""Run one cell in this process: the one place where a fault becomes an outcome.

Torch is imported when the first cell runs, so the driver of a cluster never pays for it.
"""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.execution.executor import Recorder
from orchestrator.outcome import Advanced, Attempt, Diverged, Event, Failed, Finished, Outcome, Started
from orchestrator.plan import Cell
from trainers.datasets import Dataset, TrainTest, fingerprint

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Worker:
    """What a process needs to run cells: where data lies, and who records."""

    recorder: Recorder
    data_dir: Path

    def run(self, cell: Cell, tell: Callable[[Event], None]) -> Outcome:
        """Train and record one cell; every exception but a user's interruption becomes `Failed`."""
        node, started, clock = socket.gethostname(), time.time(), time.perf_counter()
        tell(Started(cell, node, started))

        def attempt() -> Attempt:
            return Attempt(node, started, time.perf_counter() - clock)

        try:
            return self._recorded(cell, tell, attempt)
        except Exception as error:  # noqa: BLE001 - the fault boundary: whatever it is, the other cells go on
            sentence = f"{type(error).__name__}: {error}".partition("\n")[0]
            return Failed(cell, attempt(), sentence, traceback.format_exc())

    def _recorded(
        self, cell: Cell, tell: Callable[[Event], None], attempt: Callable[[], Attempt]
    ) -> Finished | Diverged:
        import torch

        from trainers.fit import DivergedError, fit

        # The thread count is fixed because sums split among threads round differently.
        torch.set_num_threads(cell.resources.cpus)
        with self.recorder.open(cell) as log:

            def observe(epoch: int, figures: dict[str, float]) -> None:
                log.epoch(epoch, figures)
                tell(Advanced(cell, epoch, figures))

            try:
                # Shifts are made from the test split; without them, datasets that differ in nothing else are one.
                plain = cell.recipe.dataset.model_copy(update={"shift": None})
                data, digest = loaded(plain, self.data_dir)  # pyright: ignore[reportArgumentType]  # it hashes
                log.loaded(digest)
                trained = fit(cell.recipe, data, device=_device(cell), observer=observe)
            except DivergedError as error:
                diverged = Diverged(cell, attempt(), error.epoch)
                log.diverged(error.epoch, diverged.attempt)
                return diverged
            finished = Finished(cell, attempt(), trained.metrics)
            log.finished(trained, finished.attempt)
            return finished


@lru_cache(maxsize=2)
def loaded(dataset: Dataset, data_dir: Path) -> tuple[TrainTest, str]:
    """A dataset and its fingerprint, read once a process, however many cells train on it."""
    data = dataset.load(data_dir)
    return data, fingerprint(data)


def _device(cell: Cell) -> torch.device:
    import torch

    if not cell.resources.gpus:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RuntimeError(f"{cell.name} asks for {cell.resources.gpus} GPU, but torch sees none on this node")
    return torch.device("cuda")
