"""What a user should know of his own images, in sentences: what is wrong, what may be, and what they are like."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from trainers.datasets.decoded import Encoded, Files, printable
from trainers.datasets.hashes import hashes
from trainers.datasets.inspection import in_use
from trainers.datasets.pictures import SIXTEEN_BITS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from trainers.datasets import Labels
    from trainers.datasets.inspection import Inspection
    from trainers.datasets.pictures import Levels

FEW = 5
"""Number of names that a message lists."""

NAMED = 12
"""Number of classes that are named with their counts."""


def few(names: Sequence[str]) -> str:
    """The first names, and the number of further ones."""
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(map(printable, names[:FEW])) + more


def counted(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def images_are(number: int) -> str:
    """`is` or `are`."""
    return "is" if number == 1 else "are"


def files(counts: Mapping[str, int]) -> str:
    """`3 .gif and 1 .txt`."""
    return " and ".join(f"{count} {ending}" for ending, count in sorted(counts.items()))


def faults(images: Encoded, seen: Inspection, levels: Levels | None) -> Iterator[str]:
    """Why images of a split cannot be used.

    Args:
        images: All of the split.
        seen: What they are like.
        levels: The range that is stated.
    """
    broken = [f"{images.called(row)} is no image that can be decoded ({why})" for row, why in seen.damaged]
    if len(broken) == 1:
        yield f"{broken[0]}. Replace it, or take it out of the dataset."
    elif broken:
        shown = [f"{images.called(row)} ({why})" for row, why in seen.damaged]
        yield f"{len(broken)} files are no images that can be decoded: {few(shown)}. Replace them, or take them out."
    if seen.several:
        shown = [f"{images.called(row)} ({count})" for row, count in seen.several]
        yield f"Some files hold several images, as animations do: {few(shown)}. Keep one image per file."
    if seen.unranged and levels is None:
        shown = [images.called(row) for row in seen.unranged]
        yield (
            f"{counted(len(shown), 'image')} with 32-bit pixels: {few(shown)}. State which levels are black and white, "
            "as in 'range: [0, 1]'."
        )


def leaks(parts: Mapping[str, Encoded], data_dir: Path) -> Iterator[str]:
    """Why test images would not test anything: the same files are among those to train on."""
    content = {part: _content(images, data_dir) for part, images in parts.items()}
    train = {digest: name for name, digest in content.get("train", {}).items()}
    both = [f"{name} = {train[digest]}" for name, digest in content.get("test", {}).items() if digest in train]
    if both:
        yield (
            f"{counted(len(both), 'test image')} {images_are(len(both))} among the training images, too: {few(both)}. "
            "Remove each from one of the two."
        )


def _content(images: Encoded, data_dir: Path) -> dict[str, str]:
    """The SHA-256 of each image's file by its name; nothing where one file has many images."""
    return hashes(images.folder, images.files, data_dir) if isinstance(images, Files) else {}


def facts(labels: Labels, seen: Collection[Inspection], size: int, levels: Levels | None) -> Iterator[str]:
    """What images are like that can be used.

    Args:
        labels: Of both splits.
        seen: What the images of each split are like.
        size: Side of the square that each becomes.
        levels: The range that is stated.
    """
    train = Counter(labels.train.tolist())
    test = Counter(labels.test.tolist())
    names = labels.names or tuple(map(str, range(labels.classes)))
    each = [f"{printable(name)} {train[number]} + {test[number]}" for number, name in enumerate(names[:NAMED])]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    images = f"{counted(train.total(), 'image')} to train on + {test.total():,} to test on"
    yield f"{labels.classes} classes, {images}: {', '.join(each)}{more}"
    low = min(each.sides[0] for each in seen)
    high = max(each.sides[1] for each in seen)
    sides = f"{low} pixels" if low == high else f"{low} to {high} pixels"
    yield f"sides of {sides}; each image is scaled to {size} and cropped to a square"
    if turned := sum(each.turned for each in seen):
        yield f"{counted(turned, 'image')} turned upright, as the EXIF data say"
    if deep := sum(each.deep for each in seen):
        black, white = levels or in_use(seen) or SIXTEEN_BITS
        yield f"{counted(deep, 'image')} with more than 8 bits per pixel: level {black:g} is black, {white:g} white"


def cautions(
    labels: Labels, parts: Mapping[str, Encoded], seen: Collection[Inspection], channels: int, data_dir: Path
) -> Iterator[str]:
    """What may be wrong with images that can be used.

    Args:
        labels: Of both splits.
        parts: The images of each split.
        seen: What they are like.
        channels: 3 if they are read in colour.
        data_dir: The data folder.
    """
    if transparent := sum(each.transparent for each in seen):
        yield f"{counted(transparent, 'image')} with transparent pixels: what they hide becomes visible."
    if printed := sum(each.printed for each in seen):
        yield f"{counted(printed, 'image')} in the colours of print (CMYK): converted without a colour profile."
    if halved := sum(each.halved for each in seen):
        yield f"{counted(halved, 'image')} in colours of 16 bits, of which the upper 8 are kept."
    if stretched := sum(each.stretched for each in seen):
        yield f"{counted(stretched, 'image')} more than twice as long as wide: the crop leaves out half or more."
    if undecoded := sum(each.undecoded for each in seen):
        yield f"{counted(undecoded, 'image')} not decoded yet: a launch finds damaged ones before it trains."
    if channels > 1:
        yield from _of_grey(labels, seen)
    yield from _repeated(parts, data_dir)


def _of_grey(labels: Labels, seen: Collection[Inspection]) -> Iterator[str]:
    """Whether colour gives classes away."""
    grey = Counter[int]()
    for each in seen:
        grey.update({int(label): count for label, count in each.grey.items()})
    every = Counter(labels.train.tolist()) + Counter(labels.test.tolist())
    if not grey or grey == every:
        return
    number = (
        f"{counted(grey.total(), 'image')} of {every.total():,} {images_are(grey.total())} grey, the others in colour"
    )
    if all(grey[label] in (0, count) for label, count in every.items()):
        yield f"{number}, and which they are gives the class away: 'channels: 1' reads all as grey."
    else:
        yield f"{number}: 'channels: 1' reads all as grey."


def _repeated(parts: Mapping[str, Encoded], data_dir: Path) -> Iterator[str]:
    """Images that occur more than once in the same split."""
    classes: dict[str, set[str]] = {}
    again = 0
    for images in parts.values():
        for name, digest in _content(images, data_dir).items():
            again += digest in classes
            classes.setdefault(digest, set()).add(name.partition("/")[0])
    if torn := [sorted(names) for names in classes.values() if len(names) > 1]:
        shown = few([" and ".join(names) for names in torn])
        yield f"{counted(len(torn), 'image')} in more than one class ({shown}): one of the labels is wrong."
    elif again:
        yield f"{counted(again, 'image')} that {'repeats' if again == 1 else 'repeat'} another one of the same class."
