"""Images in folders, one folder per class."""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, ClassVar

from trainers.datasets import MissingDataError, UnusableDataError
from trainers.datasets.decoded import Decoded, Files, Splits, printable
from trainers.datasets.own import Layout, Own
from trainers.datasets.remarks import FEW, few, files, images_are
from trainers.datasets.scan import EXTENSIONS, Scan, scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


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
        scans = {part: scan(root / part) for part in self.parts}
        if not all(found.names for found in scans.values()):
            raise MissingDataError(f"No data for '{self.name}': {expected(self.parts, root)} {self.origin}")
        if problems := list(faults(root, scans)):
            raise UnusableDataError(f"The images of '{self.name}' cannot be used. {' '.join(problems)}")
        return splits_of(root, scans)._replace(names=())  # those of published images are published


class OwnFolders(Own, ABC):
    """The user's own images in folders."""

    parts: ClassVar[tuple[str, str]] = ("train", "test")
    origin: ClassVar[str] = f"An image's name ends in {', '.join(EXTENSIONS)}."

    def _expected(self, where: str) -> str:
        return expected(self.parts, where)

    def _look(self, data_dir: Path) -> Layout:
        root = self._existing(data_dir)
        scans = {part: scan(root / part) for part in self.parts}
        if not all(found.names for found in scans.values()):
            return Layout(None, [self._absent(str(root), *nearly(root, scans), *unreadable(scans))])
        return Layout(splits_of(root, scans), list(faults(root, scans)), list(cautions(scans)))


def expected(parts: Sequence[str], root: Path | str) -> str:
    """Where two parts of class folders are looked for."""
    layout = " and ".join(f"{part}/CLASS/IMAGE" for part in parts)
    return f"expected {layout} in {root}, with the same classes in both."


def splits_of(root: Path, scans: Mapping[str, Scan]) -> Splits:
    """The images of two parts, with the classes that either has."""
    names = sorted({_class(name) for found in scans.values() for name in found.names})
    label = {name: number for number, name in enumerate(names)}
    train, test = (labelled(root / part, found.names, label) for part, found in scans.items())
    return Splits(train, test, len(label), tuple(names))


def _class(name: str) -> str:
    return name.partition("/")[0]


def labelled(folder: Path, names: Sequence[str], label: Mapping[str, int]) -> Files:
    """Files `CLASS/IMAGE`, with the number of the class as label."""
    import numpy as np

    return Files(folder, names, np.array([label[_class(name)] for name in names], np.int64))


def images_in(folder: Path) -> list[str]:
    """Sorted names `CLASS/…/IMAGE`, relative to a folder of class folders, without hidden files and folders.

    Links are followed, but not to a folder that contains them.

    Raises:
        UnusableDataError: A folder cannot be listed.
    """
    found = scan(folder)
    if found.closed:
        raise UnusableDataError(" ".join(unreadable({str(folder): found})))
    return found.names


def faults(root: Path, scans: Mapping[str, Scan]) -> Iterator[str]:
    """What is wrong with two parts of class folders that both have images."""
    yield from unreadable(scans)
    for part, found in scans.items():
        yield from faults_of_classes(root / part, found)
    train, test = ({_class(name) for name in found.names} for found in scans.values())
    if train != test:
        yield _difference(root, dict(zip(scans, (train, test), strict=True)))
    else:
        yield from alike(train)


def faults_of_classes(folder: Path, found: Scan) -> Iterator[str]:
    """What is wrong with the class folders in a folder that has images."""
    classes = {_class(name) for name in found.names}
    for name in found.classes:
        if name not in classes:
            yield (
                f"Folder '{printable(name)}' in {folder} has no readable image{_left_out(found, name)}: "
                "fill or remove it."
            )
        elif printable(name) != name:
            yield f"The name of folder '{printable(name)}' in {folder} is no text that can be shown: rename it."
    if len(classes) == 1:
        (only,) = classes
        inner = scan(folder / only).classes
        remedy = (
            f": one folder too many? Move {few(inner)} up into {folder}." if inner else "; at least two are needed."
        )
        yield f"There is only one class, '{printable(only)}', in {folder}{remedy}"


def unreadable(scans: Mapping[str, Scan]) -> Iterator[str]:
    """What cannot be listed or read."""
    for part, found in scans.items():
        if found.closed:
            yield f"These folders in {part} cannot be listed: {few(found.closed)}. Give the right to read them."
        if found.dead:
            yield f"In {part}, these look like images but are no files, such as links to nothing: {few(found.dead)}."


def _left_out(found: Scan, name: str) -> str:
    """` (3 .gif and 1 .txt left out)`: the files in a folder without images."""
    counts = found.left_out(name)
    return f" ({files(counts)} left out)" if counts else " (it is empty)"


def _difference(root: Path, classes: Mapping[str, set[str]]) -> str:
    """Which classes only one of two parts has."""
    (train, test) = classes.values()
    only = [
        f"only {part} has {few(sorted(map(printable, names)))}"
        for part, names in zip(classes, (train - test, test - train), strict=True)
        if names
    ]
    near = " ".join(alike(train ^ test))
    return (
        f"The classes in {root} differ: {', and '.join(only)}. "
        f"Each class needs images in both {' and '.join(classes)}, or in neither.{near and f' {near}'}"
    )


def alike(classes: set[str]) -> Iterator[str]:
    """Names of classes that a reader would take for one."""
    same = defaultdict[str, list[str]](list)
    for name in sorted(classes):
        same["".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    for names in same.values():
        if len(names) > 1:
            told = " and ".join(f"'{printable(name)}'" for name in names)
            yield f"The classes {told} differ only in case, blanks or the form of letters: give one class one name."


def cautions(scans: Mapping[str, Scan]) -> Iterator[str]:
    """What may be wrong with parts of class folders that can be used."""
    for part, found in scans.items():
        place = f" in {part}" if part else ""
        if found.stray:
            yield f"{few(found.stray)}{place} {images_are(len(found.stray))} left out: in no class folder."
        if counts := sum(found.others.values(), start=Counter[str]()):
            yield f"{files(counts)}{place} left out: no images by their endings."
        if found.loops:
            yield f"{few(found.loops)}{place} {images_are(len(found.loops))} not followed: links to their own folder."
    parts = [{name.partition("/")[2].rpartition("/")[0] for name in found.names} - {""} for found in scans.values()]
    if len(parts) > 1 and (both := sorted(set.intersection(*parts))):
        yield (
            f"Sub-folders of the same name are in {' and in '.join(scans)}: {few(both)}. If they hold pictures of the "
            "same parts, test images are not independent of training images."
        )


def nearly(root: Path, scans: Mapping[str, Scan]) -> Iterator[str]:
    """What is there instead of images in each part, and what to do about it."""
    missing = [part for part in scans if not (root / part).is_dir()]
    for part, found in scans.items():
        if found.classes and not found.names:
            yield from faults_of_classes(root / part, found)
        elif found.stray and not found.names:
            yield f"{root / part} has images ({few(found.stray)}) and no folders: sort them into one folder per class."
        elif not found.names and part not in missing:
            yield f"{root / part} is empty{_left_out(found, '').replace(' (it is empty)', '')}."
    if missing:
        yield _instead(root, list(scans), missing)


def _instead(root: Path, parts: Sequence[str], missing: Sequence[str]) -> str:
    """What a folder has in place of parts that are missing."""
    inside = scan(root)
    folders = inside.classes
    if inside.closed:
        return f"These folders cannot be listed: {few(inside.closed)}. Give the right to read them."
    if len(folders) == 1 and set(parts) <= set(scan(root / folders[0]).classes):
        return f"They are one folder further down: add '/{folders[0]}' to the path."
    if len(missing) < len(parts):
        others = [name for name in folders if name not in parts]
        remedy = (
            f"rename {' or '.join(others[:FEW])}, or copy images there"
            if others
            else f"divide '{folders[0]}' itself by 'test_fraction: 0.2'"
        )
        return f"There is no folder '{missing[0]}': {remedy}."
    if folders:
        return f"There are folders {few(folders)}. If they are classes, divide them by 'test_fraction: 0.2'."
    if inside.stray:
        return f"{root} has images ({few(inside.stray)}) and no folders: sort them into one folder per class."
    return f"{root} is empty{_left_out(inside, '').replace(' (it is empty)', '')}."
