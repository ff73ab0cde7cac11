"""Train one model in several processes, each on its share of every batch.

The caller starts the processes and `torch.distributed` (gloo between CPUs, nccl between GPUs), and calls
`fit` with the same arguments in each. Every process draws the same whole batches, and gradients are averaged.
A model without batch statistics or dropout is therefore the same as with one process, up to rounding.

Two things differ beyond rounding. On CPUs, batch norm uses the statistics of each process's share, and the
running statistics of the first process; on GPUs it is replaced by `SyncBatchNorm`, which uses the whole batch.
Dropout draws the same numbers in every process, and applies them to each share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from trainers.checkpoint import Checkpointing, Shelf
from trainers.data import Batch

Value = TypeVar("Value")


@dataclass(frozen=True)
class World:
    """The processes that train one model together; with one process, its methods do nothing.

    `rank` is this process's number, from 0 to `size - 1`. Only process 0 stores the state.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> World:
        """The world that `torch.distributed` was initialised with."""
        return cls(distributed.get_rank(), distributed.get_world_size())

    def check(self, batch_size: int, parts: int = 1) -> None:
        """Check that shares are equal: otherwise the mean of the processes' means is not the mean of the batch.

        Raises:
            ValueError: A part of the batch is not a multiple of the number of processes.
        """
        if (batch_size // parts) % self.size:
            each = f" in {parts} parts" if parts > 1 else ""
            raise ValueError(f"batch_size {batch_size}{each} cannot be shared equally by {self.size} processes")

    def share(self, batch: Batch) -> Batch:
        """This process's share of a batch."""
        each = len(batch.images) // self.size
        mine = slice(self.rank * each, (self.rank + 1) * each)
        return replace(batch, images=batch.images[mine], mine=mine)

    def joined(self, objective: nn.Module, device: torch.device) -> nn.Module:
        """The module, wrapped so that its gradients are averaged over all processes."""
        if self.size == 1:
            return objective
        if device.type == "cuda":
            objective = nn.SyncBatchNorm.convert_sync_batchnorm(objective)
        return DistributedDataParallel(objective)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a value over all processes."""
        if self.size == 1:
            return value
        total = value.clone()
        distributed.all_reduce(total)
        return total / self.size

    def agree(self, model: nn.Module) -> None:
        """Copy the running statistics of process 0 to all processes; everything else is already the same."""
        if self.size > 1:
            for statistic in model.buffers():
                distributed.broadcast(statistic, src=0)

    def shared(self, checkpointing: Checkpointing | None, device: torch.device) -> Checkpointing | None:
        """Checkpointing for all processes: process 0 saves the state, and all stop if any of them is asked to."""
        if self.size == 1 or checkpointing is None:
            return checkpointing

        # All must stop after the same batch: a process that goes on would wait for the others for ever.
        def stop() -> bool:
            wish = torch.tensor(int(checkpointing.stop()), device=device)
            distributed.all_reduce(wish, op=distributed.ReduceOp.MAX)
            return bool(wish)

        first = self.rank == 0
        return replace(
            checkpointing,
            shelf=_Shared(checkpointing.shelf, self),
            every_epochs=checkpointing.every_epochs if first else None,
            every_seconds=checkpointing.every_seconds if first else None,
            conditions=self.told({**checkpointing.conditions, "processes": self.size}),
            stop=stop,
        )

    def told(self, value: Value) -> Value:
        """The value of process 0."""
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]


ALONE = World()


@dataclass(frozen=True)
class _Shared:
    """The shelf of process 0, read by all."""

    shelf: Shelf
    world: World

    def read(self) -> bytes | None:
        return self.world.told(self.shelf.read() if self.world.rank == 0 else None)

    def write(self, content: bytes) -> None:
        if self.world.rank == 0:
            self.shelf.write(content)

    def set_aside(self) -> None:
        if self.world.rank == 0:
            self.shelf.set_aside()
