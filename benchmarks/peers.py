"""Common training loops, compared with ours: the same network, images, batches, optimiser and schedule.

Each loop takes a case, the images and a function to call after each epoch, and returns its test accuracy. Extras that
would cost time in a benchmark (checkpoints, loggers, progress bars) are off.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.datasets import Images, TrainTest
from trainers.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

RATE = 0.1
MOMENTUM = 0.9
DECAY = 5e-4


@dataclass(frozen=True)
class Case:
    """What to train: all epochs of a recipe, or only the first `stop` of them if only the speed matters."""

    loss: str = "softmax"
    backbone: str = "resnet8"
    dataset: str = "fashion_mnist"
    batch: int = 128
    images: int = 2560
    """Training images. An incomplete last batch of an epoch is dropped."""
    tested: int = 2000
    epochs: int = 1000
    """Enough epochs for everything that pays off in the long run (compilation)."""
    stop: int = 2
    seed: int = 0
    device: str = "cpu"
    augmented: bool = False
    """Random crops and flips."""

    @property
    def whole(self) -> bool:
        """Whether training completes, so that its accuracy is meaningful."""
        return self.stop == self.epochs

    @property
    def recipe(self) -> Recipe:
        """The case as a recipe."""
        training = {
            "epochs": self.epochs,
            "batch_size": self.batch,
            "learning_rate": RATE,
            "momentum": MOMENTUM,
            "weight_decay": DECAY,
            "validation_fraction": 0.0,
            "augmentation": ("crop", "flip") if self.augmented else (),
        }
        axes = {"loss": self.loss, "backbone": self.backbone, "dataset": self.dataset, "seed": self.seed}
        return Recipe.model_validate({**axes, "training": training})

    def data(self) -> TrainTest:
        """The images: the first ones of each split."""
        import numpy as np

        whole = self.recipe.dataset.load(Path("data"))
        train = whole.train.take(np.arange(self.images))
        test = whole.test
        return TrainTest(train, test.take(np.arange(min(self.tested, len(test)))), classes=whole.classes)


Tick = Callable[[], None]
Loop = Callable[[Case, TrainTest, Tick], float]


class EnoughError(Exception):
    """The requested epochs are done."""


def ours(case: Case, data: TrainTest, tick: Tick) -> float:
    """`trainers.fit`, as in a cell."""
    from trainers.fit import fit

    def observe(epoch: int, figures: dict[str, float]) -> None:
        del figures
        tick()
        if epoch == case.stop < case.epochs:
            raise EnoughError

    try:
        return fit(case.recipe, data, device=case.device, observer=observe).metrics["sample_wise_accuracy"] or 0.0
    except EnoughError:
        return math.nan


def plain(
    case: Case,
    data: TrainTest,
    tick: Tick,
    *,
    workers: int = 0,
    channels_last: bool = False,
    compiled: bool = False,
) -> float:
    """The loop of PyTorch's tutorials."""
    import torch

    model = network(case, data)
    train = loader(case, data, workers)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    step = torch.compile(model) if compiled else model
    criterion = objective(case)
    optimizer, scheduler = optimization(model, case)
    for _ in range(case.stop):
        model.train()
        running = 0.0
        for images, labels in train:
            images = images.to(case.device)  # noqa: PLW2901 - as people write it in tutorials
            labels = labels.to(case.device)  # noqa: PLW2901
            if channels_last:
                images = images.contiguous(memory_format=torch.channels_last)  # noqa: PLW2901
            optimizer.zero_grad()
            loss = criterion(step(images), labels)
            loss.backward()
            optimizer.step()
            scheduler.step()
            running += loss.item()
        tick()
    return accuracy(model, case, data)


def lightning(case: Case, data: TrainTest, tick: Tick, *, workers: int = 0) -> float:
    """Lightning's Trainer."""
    import logging

    import lightning as pl

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network(case, data)
            self.criterion = objective(case)

        def training_step(self, batch: Any, index: int) -> Any:
            del index
            images, labels = batch
            loss = self.criterion(self.net(images), labels)
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            optimizer, scheduler = optimization(self, case)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

        def on_train_epoch_end(self) -> None:
            tick()

    module = Module()
    trainer = pl.Trainer(
        max_epochs=case.stop,
        accelerator=case.device.replace("cuda", "gpu"),
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader(case, data, workers))
    return accuracy(module.net.to(case.device), case, data)


def timm(case: Case, data: TrainTest, tick: Tick, *, workers: int = 0) -> float:
    """The loop of timm's `train.py`, which is not part of the package, with its loader, optimiser and scheduler."""
    optim = _timm("optim")
    scheduling = _timm("scheduler")
    utils = _timm("utils")
    model = network(case, data)
    train = _timm_loader(case, data, workers)
    criterion = objective(case)
    # `momentum` is plain momentum (`sgd` means Nesterov's); weight decay applies to all weights, as in all loops here.
    optimizer = optim.create_optimizer_v2(
        model, opt="momentum", lr=RATE, weight_decay=DECAY, momentum=MOMENTUM, filter_bias_and_bn=False
    )
    scheduler, _ = scheduling.create_scheduler_v2(
        optimizer, "cosine", num_epochs=case.epochs, step_on_epochs=False, updates_per_epoch=len(train)
    )
    updates = 0
    for _ in range(case.stop):
        model.train()
        meter = utils.AverageMeter()
        took = utils.AverageMeter()
        since = time.time()
        for images, labels in train:
            images = images.to(case.device)  # noqa: PLW2901 - as timm writes it
            labels = labels.to(case.device)  # noqa: PLW2901
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            updates += 1
            meter.update(loss.item(), images.size(0))
            took.update(time.time() - since)
            since = time.time()
            scheduler.step_update(num_updates=updates, metric=meter.avg)
        tick()
    return accuracy(model, case, data)


def _timm(module: str) -> Any:
    """A part of timm, which has hardly any types."""
    return import_module(f"timm.{module}")


def _timm_loader(case: Case, data: TrainTest, workers: int) -> Any:
    import torch

    mean, deviation = moments(data)
    side = data.train.pixels.shape[-1]
    return _timm("data").create_loader(
        pictures(data.train),
        input_size=(1, side, side),
        batch_size=case.batch,
        is_training=True,
        no_aug=True,
        mean=(mean,),
        std=(deviation,),
        num_workers=workers,
        persistent_workers=workers > 0,
        use_prefetcher=False,
        device=torch.device(case.device),
    )


def torchvision(case: Case, data: TrainTest, tick: Tick, *, workers: int = 0) -> float:
    """The loop of torchvision's references/classification: transforms v2 presets, meters updated in every step."""
    import torch
    from torchvision.transforms import v2

    mean, deviation = moments(data)
    preset = [v2.PILToTensor(), v2.ToDtype(torch.float, scale=True), v2.Normalize([mean], [deviation])]
    crops = [v2.RandomCrop(data.train.pixels.shape[-1], padding=_padding(data)), v2.RandomHorizontalFlip()]
    transform = v2.Compose([*(crops if case.augmented else []), *preset, v2.ToPureTensor()])
    model = network(case, data)
    train = _loader(case, pictures(data.train, transform), workers)
    criterion = objective(case)
    optimizer, scheduler = optimization(model, case)
    for _ in range(case.stop):
        model.train()
        meters: dict[str, list[float]] = {"loss": [], "acc1": [], "acc5": [], "lr": [], "img/s": []}
        for images, labels in train:
            since = time.time()
            images = images.to(case.device)  # noqa: PLW2901 - as the reference writes it
            labels = labels.to(case.device)  # noqa: PLW2901
            output = model(images)
            loss = criterion(output, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()  # the reference steps once per epoch; here all loops have the same schedule
            first, fifth = _top(output, labels)
            rate = optimizer.param_groups[0]["lr"]
            told = {"loss": loss.item(), "acc1": first, "acc5": fifth, "lr": rate}
            for name, value in {**told, "img/s": len(images) / (time.time() - since)}.items():
                meters[name].append(value)
        tick()
    return accuracy(model, case, data)


def _top(output: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """The reference's `accuracy`: top 1 and top 5, in percent."""
    import torch

    with torch.inference_mode():
        _, found = output.topk(5, 1, largest=True, sorted=True)
        correct = found.t().eq(labels[None])
        first, fifth = (correct[:k].flatten().sum(dtype=torch.float32) * (100.0 / len(labels)) for k in (1, 5))
        return first.item(), fifth.item()


# What they share


def network(case: Case, data: TrainTest) -> nn.Module:
    """Our network with its classifier, initialised from the seed."""
    import torch

    from trainers.backbones import InputShape
    from trainers.classifier import Classifier

    torch.manual_seed(case.seed)
    recipe = case.recipe
    shape = InputShape(*data.train.pixels.shape[1:])
    return Classifier(recipe.backbone, recipe.loss, shape, data.classes).to(case.device)


def objective(case: Case) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The mean loss of a batch."""
    loss = case.recipe.loss
    return lambda logits, labels: loss.per_sample(logits, labels).mean()


def optimization(model: nn.Module, case: Case) -> tuple[Any, Any]:
    """SGD with momentum, and a cosine schedule per step."""
    from torch.optim import SGD
    from torch.optim.lr_scheduler import CosineAnnealingLR

    optimizer = SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    return optimizer, CosineAnnealingLR(optimizer, case.epochs * (case.images // case.batch))


def moments(data: TrainTest) -> tuple[float, float]:
    """Mean and deviation of the training pixels, between 0 and 1."""
    return float(data.train.pixels.mean() / 255), float(data.train.pixels.std() / 255)


def _padding(data: TrainTest) -> int:
    """Padding of a random crop: an eighth of the side."""
    return data.train.pixels.shape[-1] // 8


def pictures(images: Images, transform: Callable[[Any], Any] | None = None) -> Dataset[Any]:
    """A dataset of PIL images, as torchvision's own are."""
    import torch
    from PIL import Image

    class Pictures(torch.utils.data.Dataset[Any]):
        def __init__(self) -> None:
            self.transform = transform

        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            image: Any = Image.fromarray(images.pixels[index, 0])
            return self.transform(image) if self.transform else image, int(images.labels[index])

    return Pictures()


def loader(case: Case, data: TrainTest, workers: int) -> DataLoader[Any]:
    """Torchvision's transforms in a DataLoader."""
    from torchvision import transforms

    mean, deviation = moments(data)
    side = data.train.pixels.shape[-1]
    crops = [transforms.RandomCrop(side, padding=_padding(data)), transforms.RandomHorizontalFlip()]
    steps = [transforms.ToTensor(), transforms.Normalize((mean,), (deviation,))]
    return _loader(
        case, pictures(data.train, transforms.Compose([*(crops if case.augmented else []), *steps])), workers
    )


def _loader(case: Case, dataset: Dataset[Any], workers: int) -> DataLoader[Any]:
    from torch.utils.data import DataLoader

    return DataLoader(
        dataset,
        batch_size=case.batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=case.device == "cuda",
    )


def accuracy(model: nn.Module, case: Case, data: TrainTest) -> float:
    """Test accuracy; NaN if training was cut short."""
    if not case.whole:
        return math.nan
    import torch

    mean, deviation = moments(data)
    model.eval()
    right = 0
    with torch.no_grad():
        for rows in _stretches(len(data.test), 2 * case.batch):
            images = (torch.from_numpy(data.test.pixels[rows]).float() / 255 - mean) / deviation
            right += int((model(images.to(case.device)).argmax(1).cpu().numpy() == data.test.labels[rows]).sum())
    return right / len(data.test)


def _stretches(total: int, size: int) -> Iterator[slice]:
    for start in range(0, total, size):
        yield slice(start, start + size)


@dataclass(frozen=True)
class Peer:
    """A loop, and the modules that it needs to import first."""

    loop: Loop
    modules: tuple[str, ...] = ()
    flags: Mapping[str, object] = field(default_factory=dict)

    def __call__(self, case: Case, data: TrainTest, tick: Tick) -> float:
        """Train."""
        return partial(self.loop, **self.flags)(case, data, tick)


_PLAIN = ("torch", "torch.utils.data", "torchvision.transforms")
PEERS: dict[str, Peer] = {
    "ours": Peer(ours, ("trainers.fit",)),
    "plain loop": Peer(plain, _PLAIN),
    "plain loop, 2 loading workers": Peer(plain, _PLAIN, {"workers": 2}),
    "plain loop, channels last": Peer(plain, _PLAIN, {"channels_last": True}),
    "plain loop, channels last, compiled": Peer(plain, _PLAIN, {"channels_last": True, "compiled": True}),
    "Lightning": Peer(lightning, (*_PLAIN, "lightning")),
    "timm's parts": Peer(timm, (*_PLAIN, "timm.data", "timm.optim", "timm.scheduler", "timm.utils")),
    "torchvision's reference": Peer(torchvision, (*_PLAIN, "torchvision.transforms.v2")),
}
USUAL = ("plain loop", "plain loop, 2 loading workers", "Lightning", "timm's parts", "torchvision's reference")
"""Peers with default settings; the others have their speed options on."""
