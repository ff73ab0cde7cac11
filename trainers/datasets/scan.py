"""Find the images in a folder of class folders, and whatever else is there that a user should know of."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Extensions of images, in lower or upper case; other files are ignored, as in torchvision."""

OF_SYSTEMS = frozenset({"Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r", "__MACOSX", "@eaDir", "lost+found"})
"""What operating systems and archives leave in folders without being asked."""


@dataclass
class Scan:
    """What is in a folder of class folders; names are relative to it."""

    names: list[str] = field(default_factory=list)
    """Images `CLASS/…/IMAGE`, sorted."""
    classes: list[str] = field(default_factory=list)
    """The folders in it, sorted, with images or without."""
    stray: list[str] = field(default_factory=list)
    """Images in the folder itself, which belong to no class."""
    others: dict[str, Counter[str]] = field(default_factory=dict)
    """How many files that are no images, by class folder and ending."""
    dead: list[str] = field(default_factory=list)
    """What has the name of an image and is no file, such as a link to nothing."""
    loops: list[str] = field(default_factory=list)
    """Links to a folder that contains them, which are not followed."""
    closed: list[str] = field(default_factory=list)
    """Folders that cannot be listed, with the reason."""

    def left_out(self, name: str) -> Counter[str]:
        """How many files that are no images a class folder has, by ending."""
        return self.others.get(name, Counter())


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image."""
    return name.lower().endswith(EXTENSIONS)


def scan(folder: Path) -> Scan:
    """What is in a folder, without hidden files and those of operating systems.

    Links are followed, but not to a folder that contains them.
    """
    found = Scan()
    waiting = [(str(folder), "", frozenset[tuple[int, int]]())]
    # scandir lists a million images in seconds; Path.rglob takes minutes.
    while waiting:
        path, prefix, above = waiting.pop()
        if not os.path.isdir(path):  # noqa: PTH112  # scandir works on str
            continue
        found_here = os.stat(path)  # noqa: PTH116 - as above
        here = found_here.st_dev, found_here.st_ino
        if here in above:
            found.loops.append(prefix.rstrip("/"))
            continue
        try:
            waiting += [(entry.path, f"{prefix}{entry.name}/", above | {here}) for entry in _noted(path, prefix, found)]
        except OSError as error:
            found.closed.append(f"{prefix.rstrip('/') or path} ({error.strerror})")
    for names in (found.names, found.classes, found.stray, found.dead, found.loops, found.closed):
        names.sort()
    return found


def _noted(path: str, prefix: str, found: Scan) -> Iterator[os.DirEntry[str]]:
    """Note what is in one folder, and give the folders in it."""
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in OF_SYSTEMS:
                continue
            if _is(entry.is_dir):
                if not prefix:
                    found.classes.append(entry.name)
                yield entry
            elif not is_image(entry.name):
                if _is(entry.is_file):
                    ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
                    found.others.setdefault(prefix.partition("/")[0], Counter())[ending or "without an ending"] += 1
            elif not _is(entry.is_file):
                found.dead.append(f"{prefix}{entry.name}")
            else:
                (found.names if prefix else found.stray).append(f"{prefix}{entry.name}")


def _is(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a link to itself
        return False
