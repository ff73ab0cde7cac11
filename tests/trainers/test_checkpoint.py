"""A training that was interrupted ends with the same bits, and a state that cannot be used is never used."""

from __future__ import annotations

import copy
import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LambdaLR

from trainers.backbones import Backbone, Extractor, InputShape
from trainers.checkpoint import Checkpointing, History, Progress, Shelf, StoppedError, _packed, _unpacked
from trainers.data import Place
from trainers.datasets import TrainTest
from trainers.datasets.digits import Digits
from trainers.evaluation import Evaluation
from trainers.fit import Fit, fit
from trainers.recipe import Recipe

CPU = torch.device("cpu")
EPOCHS = 3
STEPS = 3


class Forgetful(Backbone):
    """Convolution, batch norm and dropout: a network with statistics and draws of its own."""

    name = "forgetful"

    def build(self, shape: InputShape) -> Extractor:
        """Eight features."""
        network = nn.Sequential(
            nn.Conv2d(shape.channels, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        return Extractor(network, width=8)


@dataclass
class Memory(Shelf):
    """A shelf that is forgotten with the test."""

    content: bytes | None = None
    aside: list[bytes] = field(default_factory=list)
    writes: int = 0

    def read(self) -> bytes | None:
        return self.content

    def write(self, content: bytes) -> None:
        self.content = content
        self.writes = self.writes + 1

    def set_aside(self) -> None:
        assert self.content is not None
        self.aside.append(self.content)
        self.content = None


class KilledError(Exception):
    """The process ended without a word."""


def _after(batches: int, *, killed: bool = False) -> Callable[[], bool]:
    """Says stop, or dies, when it is asked for the so-many-eth time."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        if killed and asked == batches:
            raise KilledError
        return asked == batches

    return stop


SCORES = {"normalise_features": True, "normalise_weights": True, "learn_scale": True, "scale": 8, "margin": 0.1}


def _recipe(optimizer: str = "adamw", **changes: Any) -> Recipe:
    """Everything that draws, averages or counts, at once."""
    training = {
        "epochs": EPOCHS,
        "batch_size": 16,
        "optimizer": optimizer,
        "learning_rate": 0.01 if optimizer == "adamw" else 0.1,
        "schedule": "step" if optimizer == "adamw" else "cosine",
        "warmup_epochs": 1,
        "augmentation": ["crop", "flip", "cutout", "rand_augment"],
        "mixing": ["mixup", "cutmix"],
        "label_noise": 0.1,
        "ema": 0.9,
        "validation_fraction": 0.2,
    }
    settings = {
        "loss": {"name": "bce_diverse", "scores": SCORES},
        "backbone": Forgetful(),
        "dataset": {"name": "digits", "train_fraction": 0.06},
        "seed": 3,
        "training": training,
    }
    return Recipe.model_validate({**settings, **changes})


@cache
def _data() -> TrainTest:
    data = Digits().load(Path())
    return replace(data, test=data.test.take(np.arange(100)))


@cache
def _undisturbed(optimizer: str = "adamw") -> Fit:
    return fit(_recipe(optimizer), _data())


def _same(one: Fit, other: Fit) -> bool:
    evaluations = (one.evaluation, other.evaluation)
    arrays = (
        [getattr(found, part.name).tobytes() for part in fields(Evaluation) if part.name not in {"classes", "group"}]
        for found in evaluations
    )
    first, second = ((repr(found.metrics), found.history, found.learned_bias) for found in (one, other))
    return first == second and len({tuple(found) for found in arrays}) == 1


def _stopped(shelf: Memory, batches: int, recipe: Recipe | None = None, **settings: Any) -> StoppedError:
    with pytest.raises(StoppedError) as caught:
        fit(recipe or _recipe(), _data(), checkpointing=Checkpointing(shelf, stop=_after(batches), **settings))
    return caught.value


class TestResuming:
    @pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
    @pytest.mark.parametrize("batches", range(1, EPOCHS * STEPS + 1))
    def test_a_training_stopped_after_any_batch_ends_with_the_same_bits(self, batches: int, optimizer: str) -> None:
        shelf = Memory()
        recipe = _recipe(optimizer)
        stopped = _stopped(shelf, batches, recipe)
        assert (stopped.epoch - 1) * STEPS + stopped.step == batches
        torch.manual_seed(batches)  # whatever the next process draws before
        again = fit(recipe, _data(), checkpointing=Checkpointing(shelf))
        assert again.resumed_from == (stopped.epoch, stopped.step)
        assert _same(again, _undisturbed(optimizer))
        assert not shelf.aside

    @pytest.mark.parametrize("epoch", range(1, EPOCHS + 1))
    def test_a_training_killed_after_any_epoch_goes_on_from_there(self, epoch: int) -> None:
        shelf = Memory()
        killed = Checkpointing(shelf, every_epochs=1, stop=_after(epoch * STEPS + 1, killed=True))
        if epoch < EPOCHS:
            with pytest.raises(KilledError):
                fit(_recipe(), _data(), checkpointing=killed)
        else:  # the state after the last epoch serves a training that died while it was evaluated
            fit(_recipe(), _data(), checkpointing=killed)
        again = fit(_recipe(), _data(), checkpointing=Checkpointing(shelf))
        assert again.resumed_from == (epoch + 1, 0)
        assert _same(again, _undisturbed())

    @settings(max_examples=12)
    @given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=2, max_size=4))
    def test_any_number_of_stops_and_deaths_changes_nothing(self, interruptions: list[tuple[int, bool]]) -> None:
        shelf = Memory()
        for batches, killed in interruptions:
            saving = Checkpointing(shelf, every_seconds=0, stop=_after(batches, killed=killed))
            try:
                fit(_recipe(), _data(), checkpointing=saving)
            except (StoppedError, KilledError):
                continue
        assert _same(fit(_recipe(), _data(), checkpointing=Checkpointing(shelf)), _undisturbed())

    @pytest.mark.parametrize("backbone", ["vit_mini", "resnet8"])
    def test_real_networks_resume_as_well(self, backbone: str) -> None:
        recipe = _recipe(backbone=backbone, loss="bce_unified")
        shelf = Memory()
        _stopped(shelf, STEPS + 2, recipe)
        assert _same(fit(recipe, _data(), checkpointing=Checkpointing(shelf)), fit(recipe, _data()))

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
    def test_a_training_on_a_gpu_goes_on_with_the_draws_of_its_device(self) -> None:
        shelf = Memory()
        recipe = _recipe()
        with pytest.raises(StoppedError):
            fit(recipe, _data(), device="cuda", checkpointing=Checkpointing(shelf, stop=_after(5)))
        again = fit(recipe, _data(), device="cuda", checkpointing=Checkpointing(shelf))
        assert again.history[-1] == pytest.approx(fit(recipe, _data(), device="cuda").history[-1], rel=1e-3)

    def test_saving_after_every_batch_disturbs_nothing(self) -> None:
        shelf = Memory()
        assert _same(fit(_recipe(), _data(), checkpointing=Checkpointing(shelf, every_seconds=0)), _undisturbed())
        assert shelf.writes == EPOCHS * (STEPS + 1)

    def test_the_global_state_is_afterwards_as_before(self) -> None:
        shelf = Memory()
        before = torch.get_rng_state()
        _stopped(shelf, 4)
        fit(_recipe(), _data(), checkpointing=Checkpointing(shelf))
        assert torch.equal(torch.get_rng_state(), before)


class TestTelling:
    def test_the_observer_is_told_new_epochs_and_resumed_the_earlier_ones(self) -> None:
        shelf = Memory()
        told = []
        _stopped(shelf, 2 * STEPS + 1)
        earlier: list[History] = []
        again = fit(
            _recipe(),
            _data(),
            observer=lambda epoch, figures: told.append((epoch, figures)),
            checkpointing=Checkpointing(shelf, resumed=earlier.append),
        )
        assert earlier == [again.history[:2]]
        assert told == [(3, again.history[2])]

    def test_a_training_that_begins_says_so(self) -> None:
        told: list[History] = []
        begun = fit(_recipe(), _data(), checkpointing=Checkpointing(Memory(), resumed=told.append))
        assert begun.resumed_from is None
        assert told == []

    def test_the_seconds_of_all_attempts_add_up(self) -> None:
        shelf = Memory()
        _stopped(shelf, 5)
        _repack(shelf, lambda state: state.update(seconds=1000 + state["seconds"]))
        again = fit(_recipe(), _data(), checkpointing=Checkpointing(shelf))
        assert 1000 < again.train_seconds < 1100
        assert again.images_per_second == pytest.approx(EPOCHS * STEPS * 16 / again.train_seconds)


class TestWhen:
    @pytest.mark.parametrize(("every", "writes"), [(1, 3), (2, 1), (3, 1), (4, 0), (None, 0)])
    def test_every_so_many_epochs(self, every: int | None, writes: int) -> None:
        shelf = Memory()
        fit(_recipe(), _data(), checkpointing=Checkpointing(shelf, every_epochs=every))
        assert shelf.writes == writes

    def test_every_so_many_seconds_since_the_last_save(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 0.0
        shelf = Memory()
        saved = []
        clock = SimpleNamespace(monotonic=lambda: now, perf_counter=lambda: now)
        monkeypatch.setattr("trainers.checkpoint.time", clock)
        progress, _ = _progress(Checkpointing(shelf, every_epochs=5, every_seconds=10))
        for now in range(1, 41):
            before = shelf.writes
            if now % 8:
                progress.advance(Place(now % 8, torch.empty(0)), torch.zeros(()))
            else:
                progress.complete({})
            saved += [now] * (shelf.writes - before)
        assert saved == [10, 20, 30, 40]

    def test_a_training_that_shall_stop_is_saved_once(self) -> None:
        shelf = Memory()
        _stopped(shelf, 1, every_seconds=0)
        assert shelf.writes == 1


def _repack(shelf: Memory, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a state and give it the digest that vouches for it."""
    assert shelf.content is not None
    state = torch.load(io.BytesIO(shelf.content[32:]), weights_only=True)
    change(state)
    shelf.content = _packed(state)


def _progress(checkpointing: Checkpointing, kind: str = "adamw") -> tuple[Progress, nn.Module]:
    """A small model that has done a step, so that the optimiser has averages."""
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = AdamW(model.parameters()) if kind == "adamw" else SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = LambdaLR(optimizer, lambda step: 1 / (step + 1))
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    progress = Progress(parts, _recipe(), CPU, checkpointing)
    model(torch.randn(4, 3)).square().sum().backward()
    optimizer.step()
    scheduler.step()
    return progress, model


@cache
def _saved(kind: str = "adamw") -> bytes:
    shelf = Memory()
    progress, _ = _progress(Checkpointing(shelf, every_seconds=0, conditions={"threads": 1}), kind)
    progress.history.append({"train_loss": 0.5})
    progress.advance(Place(1, torch.Generator().get_state()), torch.tensor(0.25))
    assert shelf.content is not None
    return shelf.content


def _is_refused(content: bytes, conditions: dict[str, int] | None = None, kind: str = "adamw") -> bool:
    """Whether the content is set aside and leaves no trace."""
    shelf = Memory(content)
    told = []
    about = {"threads": 1} if conditions is None else conditions
    progress, model = _progress(Checkpointing(shelf, conditions=about, resumed=told.append), kind)
    before = copy.deepcopy(progress._state())
    numbers = torch.get_rng_state()
    progress.resume()
    if progress.resumed_from is not None:
        return False
    assert shelf.aside == [content]
    assert told == []
    after = progress._state()
    assert repr({**after, "seconds": 0}) == repr({**before, "seconds": 0})
    assert all(torch.equal(value, before["parts"]["model"][name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), numbers)
    return True


class TestUnusableStates:
    def test_a_whole_one_is_used(self) -> None:
        assert not _is_refused(_saved())
        assert not _is_refused(_saved("sgd"), kind="sgd")

    @given(st.integers(0, len(_saved()) - 1), st.integers(1, 255))
    def test_any_wrong_byte_is_found(self, place: int, change: int) -> None:
        content = bytearray(_saved())
        content[place] ^= change
        assert _is_refused(bytes(content))

    @given(st.integers(0, len(_saved()) - 1))
    def test_any_missing_end_is_found(self, length: int) -> None:
        assert _is_refused(_saved()[:length])

    @given(st.binary(max_size=200))
    def test_bytes_of_another_kind_are_no_state(self, content: bytes) -> None:
        assert _is_refused(content)
        assert _is_refused(_saved() + content) == bool(content)
        assert _is_refused(hashlib.sha256(content).digest() + content)

    @pytest.mark.parametrize("conditions", [{}, {"threads": 2}, {"threads": 1, "more": 1}, {"cores": 1}])
    def test_other_conditions_are_refused(self, conditions: dict[str, int]) -> None:
        assert _is_refused(_saved(), conditions)

    def test_a_state_of_another_optimiser_is_refused(self) -> None:
        assert _is_refused(_saved("sgd"))

    @pytest.mark.parametrize("key", ["about", "parts", "epoch", "place", "losses", "history", "seconds", "random"])
    def test_a_missing_part_is_found(self, key: str) -> None:
        shelf = Memory(_saved())
        _repack(shelf, lambda state: state.pop(key))
        assert shelf.content is not None
        assert _is_refused(shelf.content)

    @pytest.mark.parametrize("part", ["model", "optimizer", "scheduler"])
    def test_a_part_that_lacks_something_is_found(self, part: str) -> None:
        shelf = Memory(_saved())
        _repack(shelf, lambda state: state["parts"].pop(part))
        assert shelf.content is not None
        assert _is_refused(shelf.content)

    @pytest.mark.parametrize("where", ["weight", "average"])
    def test_another_shape_is_found(self, where: str) -> None:
        def change(state: dict[str, Any]) -> None:
            if where == "weight":
                state["parts"]["model"]["0.weight"] = torch.zeros(5, 3)
            else:
                state["parts"]["optimizer"]["state"][0]["exp_avg"] = torch.zeros(1, 3)

        shelf = Memory(_saved())
        _repack(shelf, change)
        assert shelf.content is not None
        assert _is_refused(shelf.content)

    def test_code_in_a_state_is_not_run(self, tmp_path: Path) -> None:
        class Trap:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(tmp_path / "trapped"),)

        assert _is_refused(_packed({"about": "", "parts": Trap()}))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), MemoryError()], ids=["device", "host"])
    def test_a_machine_that_is_full_costs_no_state(self, error: Exception) -> None:
        class Full(SGD):
            def load_state_dict(self, state_dict: Any) -> None:
                raise error

        shelf = Memory(_saved("sgd"))
        model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        parts = {"model": model, "optimizer": Full(model.parameters(), lr=0.1)}
        progress = Progress(parts, _recipe(), CPU, Checkpointing(shelf, conditions={"threads": 1}))
        with pytest.raises(type(error)):
            progress.resume()
        assert shelf.content == _saved("sgd")

    @pytest.mark.parametrize("change", ["seed", "loss", "training"])
    def test_a_training_does_not_go_on_from_another_recipes_state(self, change: str) -> None:
        others = {"seed": 4, "loss": "bce_unified", "training": {**_recipe().training.model_dump(), "epochs": 4}}
        shelf = Memory()
        _stopped(shelf, 4, _recipe(**{change: others[change]}))
        again = fit(_recipe(), _data(), checkpointing=Checkpointing(shelf))
        assert again.resumed_from is None
        assert len(shelf.aside) == 1
        assert _same(again, _undisturbed())

    @pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
    def test_a_training_whose_state_is_damaged_starts_over(self, damage: str) -> None:
        shelf = Memory()
        _stopped(shelf, 4)
        assert shelf.content is not None
        middle = len(shelf.content) // 2
        flipped = shelf.content[:middle] + bytes([shelf.content[middle] ^ 1]) + shelf.content[middle + 1 :]
        shelf.content = {"flipped": flipped, "cut": shelf.content[:middle], "empty": b""}[damage]
        again = fit(_recipe(), _data(), checkpointing=Checkpointing(shelf))
        assert again.resumed_from is None
        assert len(shelf.aside) == 1
        assert _same(again, _undisturbed())


def test_a_state_holds_no_more_than_it_must() -> None:
    state = _unpacked(_saved(), torch.load(io.BytesIO(_saved()[32:]), weights_only=True)["about"])
    assert state["parts"].keys() == {"model", "optimizer", "scheduler"}
    assert state["history"] == [{"train_loss": 0.5}]
    assert state["losses"].tolist() == [0.25]
