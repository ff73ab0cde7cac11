"""Two processes that train one model: what one process would have made, up to rounding, and the same in both."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributed, multiprocessing
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from trainers.checkpoint import Checkpointing, StoppedError
from trainers.data import batches, split
from trainers.datasets import TrainTest
from trainers.datasets.digits import Digits
from trainers.evaluation import Evaluation
from trainers.fit import DivergedError, Fit, fit
from trainers.losses import Loss
from trainers.parallel import World
from trainers.recipe import Recipe

SIZE = 2
TOLERANCE = 2e-5
"""Of scores up to 4 after two epochs. The largest difference seen (x86, one thread a process, torch 2.14) was 1e-6."""


def _recipe(backbone: str = "vit_mini", loss: Any = "bce_unified", **training: Any) -> Recipe:
    settings = {"epochs": 2, "batch_size": 64, "learning_rate": 0.05, "validation_fraction": 0.2, **training}
    dataset = {"name": "digits", "train_fraction": 0.4}  # 5 batches
    return Recipe(loss=loss, backbone=backbone, dataset=dataset, seed=0, training=settings)


SCORES = {"normalise_features": True, "normalise_weights": True, "learn_scale": True, "scale": 8, "margin": 0.1}

RICH = _recipe(
    loss={"name": "bce_diverse", "scores": SCORES},
    mixing=["mixup", "cutmix"],
    augmentation=["crop", "flip", "rand_augment"],
    ema=0.9,
)


@cache
def _data() -> TrainTest:
    data = Digits().load(Path())
    return replace(data, test=data.test.take(np.arange(200)))


class Lying:
    """A shelf in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes | None:
        return self.path.read_bytes() if self.path.exists() else None

    def write(self, content: bytes) -> None:
        self.path.write_bytes(content)

    def set_aside(self) -> None:
        self.path.rename(self.path.with_suffix(".aside"))  # fails in whoever comes second


def _plain(world: World, folder: Path) -> Fit:
    del folder
    return fit(_recipe(), _data(), world=world)


def _rich(world: World, folder: Path) -> Fit:
    del folder
    return fit(RICH, _data(), world=world)


def _with_statistics(world: World, folder: Path) -> Fit:
    del folder
    return fit(_recipe("resnet8", ema=0.5), _data(), world=world)


def _interrupted(world: World, folder: Path) -> tuple[tuple[int, int], Fit]:
    """The last process alone is asked to stop, and each has a shelf of its own."""
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return world.rank == SIZE - 1 and len(asked) == 7

    shelf = Lying(folder / f"state-{world.rank}")
    node = {"node": world.rank}
    with pytest.raises(StoppedError) as caught:
        saving = Checkpointing(shelf, every_seconds=0, conditions=node, stop=stop)
        fit(RICH, _data(), world=world, checkpointing=saving)
    wrong = fit(RICH, _data(), world=world, checkpointing=Checkpointing(shelf, conditions={"node": SIZE}))
    assert wrong.resumed_from is None
    if world.rank == 0:
        shelf.path.with_suffix(".aside").rename(shelf.path)
    again = fit(RICH, _data(), world=world, checkpointing=Checkpointing(shelf, conditions=node))
    assert again.resumed_from is not None
    assert again.resumed_from == (caught.value.epoch, caught.value.step)
    return again.resumed_from, again


def _diverging(world: World, folder: Path) -> int:
    del folder
    with pytest.raises(DivergedError) as caught:
        fit(_recipe(learning_rate=1e30), _data(), world=world)
    return caught.value.epoch


class Unreduced(Loss):
    """BCE without its sum over classes."""

    name = "unreduced"

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """One number per sample and class."""
        return binary_cross_entropy_with_logits(logits, one_hot(labels, 10).float(), reduction="none")


def _refused(world: World, folder: Path) -> str:
    del folder
    with pytest.raises(TypeError) as caught:
        fit(_recipe(loss=Unreduced(), mixing=["mixup"]), _data(), world=world)
    return str(caught.value)


SCENES: tuple[Callable[[World, Path], Any], ...] = (_plain, _rich, _with_statistics, _interrupted, _diverging, _refused)


def _play(rank: int, folder: Path) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=SIZE, timeout=timedelta(seconds=100)
    )
    played = {scene.__name__: scene(World.here(), folder) for scene in SCENES}
    (folder / f"played-{rank}").write_bytes(pickle.dumps(played))
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    multiprocessing.spawn(_play, args=(folder,), nprocs=SIZE)
    return folder


@pytest.fixture(scope="module")
def played(folder: Path) -> list[dict[str, Any]]:
    """What each process made of each scene."""
    return [pickle.loads((folder / f"played-{rank}").read_bytes()) for rank in range(SIZE)]  # noqa: S301 - our own


def _same(one: Fit, other: Fit) -> bool:
    arrays = [
        [
            getattr(found.evaluation, part.name).tobytes()
            for part in fields(Evaluation)
            if part.name not in {"classes", "group"}
        ]
        for found in (one, other)
    ]
    return arrays[0] == arrays[1] and one.history == other.history and repr(one.metrics) == repr(other.metrics)


@pytest.mark.parametrize(("scene", "recipe"), [("_plain", _recipe()), ("_rich", RICH)], ids=["plain", "rich"])
def test_without_batch_statistics_the_result_is_that_of_one_process(
    scene: str, recipe: Recipe, played: list[dict[str, Any]]
) -> None:
    alone = fit(recipe, _data())
    together = played[0][scene]
    for name in ("positive", "rival", "logsumexp"):
        one = getattr(alone.evaluation, name)
        other = getattr(together.evaluation, name)
        assert np.allclose(one, other, rtol=0, atol=TOLERANCE)
    for one, other in zip(alone.history, together.history, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=TOLERANCE)
        assert one["learning_rate"] == other["learning_rate"]
    assert together.learned_bias == pytest.approx(alone.learned_bias, abs=TOLERANCE)


@pytest.mark.parametrize("scene", ["_plain", "_rich", "_with_statistics"])
def test_all_processes_end_with_the_same_bits(scene: str, played: list[dict[str, Any]]) -> None:
    first, second = (each[scene] for each in played)
    assert _same(first, second)


def test_batch_statistics_of_shares_are_not_those_of_the_whole(played: list[dict[str, Any]]) -> None:
    alone = fit(_recipe("resnet8", ema=0.5), _data())
    together = played[0]["_with_statistics"]
    assert np.abs(alone.evaluation.positive - together.evaluation.positive).max() > 100 * TOLERANCE
    assert together.metrics["sample_wise_accuracy"] == pytest.approx(alone.metrics["sample_wise_accuracy"], abs=0.1)


def test_one_that_is_asked_to_stop_stops_all_and_all_go_on_from_the_firsts_state(
    played: list[dict[str, Any]], folder: Path
) -> None:
    (place, first), (other_place, second) = (each["_interrupted"] for each in played)
    assert place == other_place == (2, 2)
    assert _same(first, second)
    assert _same(first, played[0]["_rich"])
    assert not (folder / "state-1").exists()


def test_all_find_the_divergence_in_the_same_epoch(played: list[dict[str, Any]]) -> None:
    assert [each["_diverging"] for each in played] == [1, 1]


def test_shares_make_up_the_batch_and_its_losses() -> None:
    train = split(_data(), RICH, torch.device("cpu")).train
    for batch in batches(train, RICH, 1):
        shares = [World(rank, 4).share(batch) for rank in range(4)]
        assert torch.equal(torch.cat([share.images for share in shares]), batch.images)
        losses = torch.cat([share.loss(lambda labels: labels.double()) for share in shares])
        assert torch.equal(losses, batch.loss(lambda labels: labels.double()))


def test_unequal_shares_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 64 cannot be shared equally by 3 processes"):
        fit(_recipe(), _data(), world=World(0, 3))


def test_parts_of_a_batch_that_cannot_be_shared_equally_are_refused() -> None:
    World(0, 4).check(64, parts=16)
    with pytest.raises(ValueError, match="batch_size 64 in 32 parts cannot be shared equally by 4 processes"):
        World(0, 4).check(64, parts=32)


def test_a_loss_of_the_wrong_shape_is_refused_by_every_process(played: list[dict[str, Any]]) -> None:
    for process in played:
        assert process["_refused"].startswith("Loss 'unreduced' returned shape (32, 10); one number per sample")
