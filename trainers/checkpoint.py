"""Resume state: everything a training needs to go on as if it had never been interrupted.

A state is a digest and what `torch.save` writes. One that is damaged, or was made by another
recipe or under other conditions, is set aside, and the training starts over.
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
"""Goes up when a state of before could be misread."""

DIGEST = hashlib.sha256().digest_size
"""Bytes of SHA-256 that a state begins with."""

History = list[dict[str, float]]
"""The figures of each epoch."""


class Shelf(Protocol):
    """Where one training's state lies; every operation whole or not at all."""

    def read(self) -> bytes | None:
        """The state, if there is one."""
        ...

    def write(self, content: bytes) -> None:
        """Put a state in the place of the one before."""
        ...

    def set_aside(self) -> None:
        """Keep a state that cannot be used out of the way, for a person to look at."""
        ...


def _never() -> bool:
    return False


def _silent(history: History) -> None:
    del history


@dataclass(frozen=True)
class Checkpointing:
    """When a training saves its state, and when it stops."""

    shelf: Shelf
    every_epochs: int | None = None
    """At the end of each so-many-eth epoch."""
    every_seconds: float | None = None
    """After the first batch or epoch that ends so long after the last save."""
    conditions: Mapping[str, str | int | float | None] = field(default_factory=dict[str, str | int | float | None])
    """What must be equal for a state to be used, the recipe aside, which always must be: versions, threads, device."""
    stop: Callable[[], bool] = _never
    """Asked after every batch. When it says yes, the state is saved and `StoppedError` raised."""
    resumed: Callable[[History], None] = _silent
    """Told the earlier epochs' figures when a training goes on from a state; the observer never is."""


class StoppedError(Exception):
    """A training was asked to stop after batch `step` of `epoch`, both counted from 1; its state is on the shelf."""

    def __init__(self, epoch: int, step: int) -> None:
        super().__init__(f"stopped after batch {step} of epoch {epoch}, where the next attempt goes on")
        self.epoch = epoch
        self.step = step


class Stateful(Protocol):
    """A module, optimiser or schedule."""

    def state_dict(self) -> Any:
        """Its state, sharing memory with it."""
        ...

    def load_state_dict(self, state_dict: Any, /) -> object:
        """Take on a state."""
        ...


class Progress:
    """How far one training is, and its door to the shelf.

    `epoch` is the one under way, counted from 1, `place` where in it the training is, `losses` those of
    its batches so far, `history` the figures of the epochs before, and `resumed_from` the epoch and the
    number of its batches that an earlier attempt had done, if there was one.

    Args:
        parts: All that learns or counts steps.
        recipe: What is trained.
        device: Whose random numbers belong to the state.
        checkpointing: When to save; None never does.
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
        """Go on from the state on the shelf. One that cannot be used is set aside, and nothing changes."""
        checkpointing = self._checkpointing
        if checkpointing is None or (content := checkpointing.shelf.read()) is None:
            return
        fresh = copy.deepcopy(self._state())
        try:
            self._take(_unpacked(content, self._about))
        except (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError):
            raise  # the machine's fault, and the state may be whole
        except Exception:  # noqa: BLE001 - whatever is wrong with a state, the training can start over
            self._take(fresh)
            checkpointing.shelf.set_aside()
            return
        self.resumed_from = self.epoch, 0 if self.place is None else self.place.step
        checkpointing.resumed([dict(figures) for figures in self.history])

    def advance(self, place: Place, loss: Tensor) -> None:
        """A batch is done.

        Raises:
            StoppedError: The training was asked to stop; its state is saved.
        """
        self.place = place
        self.losses.append(loss)  # read once an epoch: reading each would stall a GPU
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
        """The epoch is done."""
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
    """An optimiser takes on averages of any shape, and would fail at its next step."""
    for parameter, averages in optimizer.state.items():
        # Counts of steps are numbers, and so are the averages of numbers.
        if any(average.dim() and average.shape != parameter.shape for average in averages.values()):
            raise ValueError("the optimiser's state is that of another model")


def _packed(state: dict[str, Any]) -> bytes:
    """A digest and a state: only memory is written, so it is whole or not at all."""
    buffer = io.BytesIO(bytes(DIGEST))
    buffer.seek(DIGEST)
    torch.save(state, buffer)
    with buffer.getbuffer() as content:
        content[:DIGEST] = hashlib.sha256(content[DIGEST:]).digest()
    return buffer.getvalue()


def _unpacked(content: bytes, about: str) -> dict[str, Any]:
    """A state, on the CPU.

    Raises:
        Exception: Of many kinds: these bytes are none that `_packed` made about this.
    """
    stored = memoryview(content)[DIGEST:]
    if hashlib.sha256(stored).digest() != content[:DIGEST]:
        raise ValueError("the state is damaged")
    state = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
    if state["about"] != about:
        raise ValueError("the state was made by another recipe or under other conditions")
    return state
