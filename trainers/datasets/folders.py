"""Images in folders, one folder per class."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from trainers.datasets import MissingDataError, UnusableDataError
from trainers.datasets.decoded import Decoded, Files, Splits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Extensions of images, in lower or upper case; other files are ignored, as in torchvision."""

FEW = 5
"""Number of names that a message lists."""


class ClassFolders(Decoded, ABC):
    """Two folders, each with one folder of images per class; classes are numbered in the order of their names.

    A sample's id is its position among the sorted names `CLASS/IMAGE` of its split.
    """

    parts: ClassVar[tuple[str, str]]
    """The folders of the training and the test images."""
    origin: ClassVar[str]
    """Where to get the files, or what else a user can do."""

    @abstractmethod
    def _root(self, data_dir: Path) -> Path:
        """The folder that holds both parts."""

    def _splits(self, data_dir: Path) -> Splits:
        root = self._root(data_dir)
        train, test = (images_in(root / part) for part in self.parts)
        classes = [sorted({name.partition("/")[0] for name in names}) for names in (train, test)]
        if not all(classes):
            raise MissingDataError(self._advice(root))
        if problems := [
            text for part, names in zip(self.parts, classes, strict=True) for text in faults(root / part, names)
        ]:
            raise UnusableDataError(f"The images of '{self.name}' cannot be used. {' '.join(problems)}")
        if classes[0] != classes[1]:
            raise UnusableDataError(self._difference(root, set(classes[0]), set(classes[1])))
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
    """The user's own images, in any folder."""

    parts = ("train", "test")
    origin = f"An image's name ends in {', '.join(EXTENSIONS)}."

    path: str = Field(min_length=1)
    """The folder, absolute or relative to the data folder. Relative paths give the same cell ids on every machine."""
    size: int = Field(default=64, ge=1)
    """Side of the square images, in pixels."""

    def _root(self, data_dir: Path) -> Path:
        return data_dir / Path(self.path).expanduser()


def faults(folder: Path, classes: Sequence[str]) -> Iterator[str]:
    """What is wrong with the class folders of a split, given the classes that have images."""
    for name in sorted(set(_folders(folder)) - set(classes)):
        yield f"Folder '{name}' in {folder} has no readable image{_left_out(folder / name)}: fill or remove it."
    if len(classes) == 1:
        (only,) = classes
        inner = _folders(folder / only)
        remedy = (
            f": one folder too many? Move {few(inner)} up into {folder}." if inner else "; at least two are needed."
        )
        yield f"There is only one class, '{only}', in {folder}{remedy}"


def _folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted, without hidden ones."""
    return sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith(".") and _is_folder(entry))


def _left_out(folder: Path) -> str:
    """`(3 .gif and 1 .txt left out)`: the files in a folder without images."""
    names = [path.name for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    endings = Counter(os.path.splitext(name)[1].lower() or "without an ending" for name in names)  # noqa: PTH122
    told = " and ".join(f"{count} {ending}" for ending, count in sorted(endings.items()))
    return f" ({told} left out)" if told else " (it is empty)"


def images_in(folder: Path) -> list[str]:
    """Sorted names `CLASS/…/IMAGE`, relative to a folder of class folders, without hidden files and folders.

    Links are followed, but not to a folder that contains them.
    """
    return sorted(_walk(str(folder), "", frozenset()))


def _walk(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    # scandir lists a million images in seconds; Path.rglob takes minutes.
    if not os.path.isdir(folder):  # noqa: PTH112  # scandir works on str
        return
    found = os.stat(folder)  # noqa: PTH116 - as above
    here = found.st_dev, found.st_ino
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {here})
            elif prefix and entry.name.lower().endswith(EXTENSIONS):
                yield f"{prefix}{entry.name}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to nothing, or to itself
        return False


def labelled(folder: Path, names: Sequence[str], label: Mapping[str, int]) -> Files:
    """Files `CLASS/IMAGE`, with the number of the class as label."""
    import numpy as np

    return Files(folder, names, np.array([label[name.partition("/")[0]] for name in names], np.int64))


def few(names: Sequence[str]) -> str:
    """The first names, and the number of further ones."""
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more
