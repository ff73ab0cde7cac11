"""Train one model by several processes, each on its share of every batch.

The caller starts the processes and `torch.distributed` (gloo between CPUs, nccl between GPUs), and calls
`fit` with the same arguments in each. All draw the same batches, whole, and average their gradients,
so that a model without batch statistics learns what one process would teach it, up to rounding.

Two things differ beyond rounding. Batch norm on CPUs sees the statistics of a process's own share,
and the running ones are the first process's; on GPUs it is replaced by `SyncBatchNorm`, which sees
the whole batch. And dropout draws the same numbers in every process, each for its own share.
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
    """Processes that train one model together, and which of them this is; alone, there is nothing to do.

    `rank` is this process's number, from 0 to `size - 1`. Only the first one's shelf is used.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> World:
        """The world that `torch.distributed` was initialised with in this process."""
        return cls(distributed.get_rank(), distributed.get_world_size())

    def check(self, batch_size: int) -> None:
        """Shares must be equal, or a mean of means would not be the mean.

        Raises:
            ValueError: They cannot be.
        """
        if batch_size % self.size:
            raise ValueError(f"batch_size {batch_size} cannot be shared equally by {self.size} processes")

    def share(self, batch: Batch) -> Batch:
        """This process's part of a batch."""
        each = len(batch.images) // self.size
        mine = slice(self.rank * each, (self.rank + 1) * each)
        return replace(batch, images=batch.images[mine], mine=mine)

    def joined(self, objective: nn.Module, device: torch.device) -> nn.Module:
        """The module, whose gradients are from now on the mean over all processes."""
        if self.size == 1:
            return objective
        if device.type == "cuda":
            objective = nn.SyncBatchNorm.convert_sync_batchnorm(objective)
        return DistributedDataParallel(objective)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of all processes' values."""
        if self.size == 1:
            return value
        total = value.clone()
        distributed.all_reduce(total)
        return total / self.size

    def agree(self, model: nn.Module) -> None:
        """Give every process the first one's running statistics: all else is the same already."""
        if self.size > 1:
            for statistic in model.buffers():
                distributed.broadcast(statistic, src=0)

    def shared(self, checkpointing: Checkpointing | None, device: torch.device) -> Checkpointing | None:
        """The first process keeps the state for all, and all stop when one is asked to."""
        if self.size == 1 or checkpointing is None:
            return checkpointing

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
        """The first process's value."""
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]


ALONE = World()


@dataclass(frozen=True)
class _Shared:
    """The first process's shelf, read by all."""

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
