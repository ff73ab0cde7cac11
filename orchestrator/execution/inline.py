"""Run cells one after another in this process: the reference for every other executor."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from orchestrator.execution.executor import Listener
from orchestrator.execution.queue import Queue
from orchestrator.execution.worker import Worker
from orchestrator.outcome import Failed


@dataclass(frozen=True)
class Inline:
    """Runs cells in this process; nothing is parallel, so a debugger works. Time limits are not enforced."""

    worker: Worker

    def starting(self) -> AbstractContextManager[None]:
        """There is nothing to start."""
        return nullcontext()

    def run(self, queue: Queue, listen: Listener) -> None:
        """Run the cells in the order of the queue."""
        # A replica whose environment is gone fails without being started.
        queue.adopted = lambda event: listen(queue.ended(event) if isinstance(event, Failed) else event)
        while not queue.over:
            if ticket := queue.take():
                listen(queue.ended(self.worker.run(ticket.cell, listen)))
            else:
                time.sleep(0.1)  # another launch runs the remaining cells, or a retry delay is not over
