"""Training cut short: what a rehearsal does of a recipe, in the same loop and on the same splits.

Torch is imported when a step is timed, because a launch asks for this without it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from trainers.data import Batch, Resident, Splits, Verify


@dataclass(frozen=True)
class Brief:
    """How much of a recipe is done. Its splits, schedule and network stay those of the whole recipe."""

    epochs: int = 2
    """Epochs, also of a recipe with fewer: what comes after the first is what resumes it."""
    steps: int = 6
    """Steps per epoch, at most."""
    rows: int = 256
    """Images of a split to evaluate, at most."""
    compiles: bool = True
    """Whether the backbone is compiled if it is for the whole recipe."""

    def cut(self, splits: Splits) -> Splits:
        """The splits with fewer images to evaluate, and all images to train on."""
        return splits._replace(
            validation=self.some(splits.validation),
            test=self.some(splits.test),
            unknown=self.some(splits.unknown),
            certification=self.some(splits.certification),
            verify=splits.verify and self._pairs(splits.verify),
        )

    def some(self, split: Resident) -> Resident:
        """Images from all over a split."""
        return split.take(self._spread(len(split)))

    def _spread(self, count: int) -> NDArray[np.int64]:
        """Positions at equal distances, because images are often sorted by class."""
        import numpy as np

        return np.linspace(0, count - 1, min(self.rows, count)).astype(np.int64)

    def _pairs(self, verify: Verify) -> Verify:
        import numpy as np

        chosen = self._spread(len(verify.pairs))
        used, places = np.unique(verify.pairs[chosen], return_inverse=True)
        return verify._replace(
            images=verify.images.take(used),
            pairs=places.reshape(-1, 2),
            genuine=verify.genuine[chosen],
            identities=None if verify.identities is None else verify.identities[chosen],
            fold=None if verify.fold is None else verify.fold[chosen],
        )


class Pace:
    """How many steps are done, and the seconds that each takes.

    Args:
        brief: Ends an epoch early; None does not, and takes no time.
        device: Where the steps are computed.
    """

    def __init__(self, brief: Brief | None, device: torch.device) -> None:
        self.seconds: list[float] = []
        self._brief = brief
        self._device = device

    def epochs(self, whole: int) -> int:
        """Epochs to train, where the recipe has as many."""
        return whole if self._brief is None else self._brief.epochs

    def steps(self, whole: int) -> int:
        """Steps per epoch, of as many as the images suffice for."""
        return whole if self._brief is None else min(whole, self._brief.steps)

    def over(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches of an epoch that are used."""
        if self._brief is None:
            yield from batches
            return
        began = self._now()
        for batch in islice(batches, self._brief.steps):
            yield batch
            ended = self._now()
            self.seconds.append(ended - began)
            began = ended

    def _now(self) -> float:
        if self._device.type == "cuda":
            import torch

            torch.cuda.synchronize(self._device)  # a step that was only begun has taken no time yet
        return time.perf_counter()
