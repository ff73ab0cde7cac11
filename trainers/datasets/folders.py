"""Images in folders, one folder a class."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from trainers.datasets import MissingDataError
from trainers.datasets.decoded import Decoded, Files, Splits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""How the names of images end, in small or capital letters; other files are left alone, as by torchvision."""

FEW = 5
"""How many names a message lists."""


class ClassFolders(Decoded, ABC):
    """Two folders, each with a folder of images per class; the sorted names are the order of the classes.

    A sample's id is its place among the sorted names `CLASS/IMAGE` of its split.
    """

    parts: ClassVar[tuple[str, str]]
    """The folders of the training and the test images."""
    origin: ClassVar[str]
    """Where the files come from, or what else a user can do."""

    @abstractmethod
    def _root(self, data_dir: Path) -> Path:
        """The folder that holds both parts."""

    def _splits(self, data_dir: Path) -> Splits:
        root = self._root(data_dir)
        train, test = (images_in(root / part) for part in self.parts)
        classes = [sorted({name.partition("/")[0] for name in names}) for names in (train, test)]
        if not all(classes):
            raise MissingDataError(self._advice(root))
        if classes[0] != classes[1]:
            raise MissingDataError(self._difference(root, set(classes[0]), set(classes[1])))
        label = {name: number for number, name in enumerate(classes[0])}
        return Splits(
            labelled(root / self.parts[0], train, label), labelled(root / self.parts[1], test, label), len(label)
        )

    def _advice(self, root: Path) -> str:
        layout = " and ".join(f"{part}/CLASS/IMAGE" for part in self.parts)
        return f"No data for '{self.name}': expected {layout} in {root}, with the same classes in both. {self.origin}"

    def _difference(self, root: Path, train: set[str], test: set[str]) -> str:
        only = [
            f"only {part} has {few(sorted(names))}"
            for part, names in zip(self.parts, (train - test, test - train), strict=True)
            if names
        ]
        return (
            f"The classes of '{self.name}' in {root} differ: {', and '.join(only)}. "
            f"Each class needs images in both {' and '.join(self.parts)}, or in neither."
        )


class OwnFolders(ClassFolders, ABC):
    """Images of one's own, wherever they are."""

    parts = ("train", "test")
    origin = f"An image's name ends in {', '.join(EXTENSIONS)}."

    path: str = Field(min_length=1)
    """The folder, absolute or relative to the data folder; relative paths name the same cells on every machine."""
    size: int = Field(default=64, ge=1)
    """Side of the square images, in pixels."""

    def _root(self, data_dir: Path) -> Path:
        return data_dir / Path(self.path).expanduser()


def images_in(folder: Path) -> list[str]:
    """Names `CLASS/…/IMAGE` relative to a folder of class folders, sorted; hidden files and folders are left out."""
    return sorted(_walk(str(folder), ""))


def _walk(folder: str, prefix: str) -> Iterator[str]:
    # scandir, because a million images are listed in seconds by it and in minutes by Path.rglob.
    if not os.path.isdir(folder):  # noqa: PTH112  # a str, as scandir takes and gives
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(entry.path, f"{prefix}{entry.name}/")
            elif prefix and entry.name.lower().endswith(EXTENSIONS):
                yield f"{prefix}{entry.name}"


def labelled(folder: Path, names: Sequence[str], label: Mapping[str, int]) -> Files:
    """Files `CLASS/IMAGE` with the numbers of their classes as labels."""
    import numpy as np

    return Files(folder, names, np.array([label[name.partition("/")[0]] for name in names], np.int64))


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more
