"""Resume state: everything training needs to continue as if it had never been interrupted.

A state is a digest followed by what `torch.save` writes. A state that is damaged, or comes from
another recipe or other conditions, is set aside, and training starts from scratch.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainers.data import Place
from trainers.recipe import Recipe

FORMAT = 1
"""Raise this when older states could be misread."""

DIGEST = hashlib.sha256().digest_size
"""Length in bytes of the SHA-256 at the start of a state."""

History = list[dict[str, float]]
"""The metrics of each epoch."""


class Shelf(Protocol):
    """Stores the state of one training run; every operation is atomic."""

    def read(self) -> bytes | None:
        """The stored state, or None."""
        ...

    def write(self, content: bytes) -> None:
        """Replace the stored state."""
        ...

    def set_aside(self) -> None:
        """Move an unusable state out of the way, but keep it for debugging."""
        ...


def _never() -> bool:
    return False


def _silent(history: History) -> None:
    del history


@dataclass(frozen=True)
class Checkpointing:
    """When training saves its state, and when it stops."""

    shelf: Shelf
    every_epochs: int | None = None
    """Save at the end of every N epochs."""
    every_seconds: float | None = None
    """Save after the first batch or epoch that ends at least this long after the last save."""
    conditions: Mapping[str, str | int | float | None] = field(default_factory=dict[str, str | int | float | None])
    """What must match for a state to be used, besides the recipe: versions, threads, device."""
    stop: Callable[[], bool] = _never
    """Called after every batch. If it returns True, the state is saved and `StoppedError` is raised."""
    resumed: Callable[[History], None] = _silent
    """Called with the history of earlier epochs when training resumes; the observer does not see these epochs."""


class StoppedError(Exception):
    """Training stopped on request after batch `step` of `epoch`, both counted from 1; its state is saved."""

    def __init__(self, epoch: int, step: int) -> None:
        super().__init__(f"stopped after batch {step} of epoch {epoch}, where the next attempt goes on")
        self.epoch = epoch
        self.step = step


class Stateful(Protocol):
    """A module, optimiser or schedule."""

    def state_dict(self) -> Any:
        """Its state; tensors share memory with it."""
        ...

    def load_state_dict(self, state_dict: Any, /) -> object:
        """Replace its state."""
        ...


class Progress:
    """How far training has come; saves and restores its state.

    `epoch` is the current epoch, counted from 1; `place` the position within it; `losses` the losses of its
    batches so far; `history` the metrics of earlier epochs. If this attempt resumed an earlier one,
    `resumed_from` is the epoch and the number of its batches that were done.

    Args:
        parts: Everything that learns or counts steps.
        recipe: What is trained.
        device: The device whose random state is saved too.
        checkpointing: When to save; None means never.
    """

    def __init__(
        self,
        parts: Mapping[str, Stateful],
        recipe: Recipe,
        device: torch.device,
        checkpointing: Checkpointing | None = None,
    ) -> None:
        self.epoch = 1
        self.place: Place | None = None
        self.losses: list[Tensor] = []
        self.history: History = []
        self.resumed_from: tuple[int, int] | None = None
        self._parts = parts
        self._device = device
        self._checkpointing = checkpointing
        self._earlier = 0.0
        self._started = time.perf_counter()
        self._saved = time.monotonic()
        conditions = {} if checkpointing is None else dict(checkpointing.conditions)
        self._about = json.dumps([FORMAT, recipe.model_dump(mode="json"), conditions], sort_keys=True)

    @property
    def seconds(self) -> float:
        """Seconds trained so far, over all attempts."""
        return self._earlier + time.perf_counter() - self._started

    def resume(self) -> None:
        """Continue from the stored state. An unusable state is set aside and changes nothing."""
        checkpointing = self._checkpointing
        if checkpointing is None or (content := checkpointing.shelf.read()) is None:
            return
        fresh = copy.deepcopy(self._state())  # loading can fail half-way
        try:
            self._take(_unpacked(content, self._about))
        except (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError):
            raise  # the machine's fault: the state may be fine, so keep it for the next attempt
        except Exception:  # noqa: BLE001 - whatever is wrong with a state, training can start from scratch
            self._take(fresh)
            checkpointing.shelf.set_aside()
            return
        self.resumed_from = self.epoch, 0 if self.place is None else self.place.step
        checkpointing.resumed([dict(figures) for figures in self.history])

    def advance(self, place: Place, loss: Tensor) -> None:
        """Count a finished batch; save or stop if it is time.

        Raises:
            StoppedError: Training was asked to stop; its state is saved.
        """
        self.place = place
        self.losses.append(loss)  # read once per epoch: reading each value would stall a GPU
        if self._checkpointing is None:
            return
        stopped = self._checkpointing.stop()
        if stopped or self._is_due(self._checkpointing):
            self._save(self._checkpointing)
        if stopped:
            raise StoppedError(self.epoch, place.step)

    def mean_loss(self) -> Tensor:
        """The mean loss of the epoch so far."""
        return torch.stack(self.losses).mean()

    def complete(self, figures: dict[str, float]) -> None:
        """Count a finished epoch; save if it is time."""
        self.history.append(figures)
        self.epoch = self.epoch + 1
        self.place = None
        self.losses = []
        if self._checkpointing is not None and self._is_due(self._checkpointing):
            self._save(self._checkpointing)

    def _is_due(self, checkpointing: Checkpointing) -> bool:
        epochs = checkpointing.every_epochs
        seconds = checkpointing.every_seconds
        after_an_epoch = self.place is None
        if epochs is not None and after_an_epoch and len(self.history) % epochs == 0:
            return True
        return seconds is not None and time.monotonic() - self._saved >= seconds

    def _save(self, checkpointing: Checkpointing) -> None:
        checkpointing.shelf.write(_packed({"about": self._about, **self._state()}))
        self._saved = time.monotonic()

    def _state(self) -> dict[str, Any]:
        cuda = self._device.type == "cuda"
        return {
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "epoch": self.epoch,
            "place": None if self.place is None else tuple(self.place),
            "losses": torch.stack(self.losses) if self.losses else torch.empty(0),
            "history": self.history,
            "seconds": self.seconds,
            "random": torch.get_rng_state(),
            "random on the device": torch.cuda.get_rng_state(self._device) if cuda else None,
        }

    def _take(self, state: dict[str, Any]) -> None:
        for name, part in self._parts.items():
            part.load_state_dict(state["parts"][name])
            if isinstance(part, Optimizer):
                _check_shapes(part)
        self.epoch = state["epoch"]
        self.history = state["history"]
        self._earlier = state["seconds"]
        self.place = None if state["place"] is None else Place(*state["place"])
        self.losses = list(state["losses"].to(self._device))
        torch.set_rng_state(state["random"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(state["random on the device"], self._device)
        self._started = time.perf_counter()


def _check_shapes(optimizer: Optimizer) -> None:
    """Check shapes first: an optimiser accepts moments of any shape and fails only at its next step."""
    for parameter, averages in optimizer.state.items():
        # Counts of steps are numbers, and so are the averages of numbers.
        if any(average.dim() and average.shape != parameter.shape for average in averages.values()):
            raise ValueError("the optimiser's state is that of another model")


def _packed(state: dict[str, Any]) -> bytes:
    """A digest followed by the state. It is built in memory, so that the shelf can write it in one piece."""
    buffer = io.BytesIO(bytes(DIGEST))
    buffer.seek(DIGEST)
    torch.save(state, buffer)
    with buffer.getbuffer() as content:
        content[:DIGEST] = hashlib.sha256(content[DIGEST:]).digest()
    return buffer.getvalue()


def _unpacked(content: bytes, about: str) -> dict[str, Any]:
    """The state in these bytes, on the CPU.

    Raises:
        Exception: Of any type: the bytes are damaged, or were not packed for this recipe and these conditions.
    """
    stored = memoryview(content)[DIGEST:]
    if hashlib.sha256(stored).digest() != content[:DIGEST]:
        raise ValueError("the state is damaged")
    # weights_only: a file must not be able to run code.
    state = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
    if state["about"] != about:
        raise ValueError("the state was made by another recipe or under other conditions")
    return state
