"""What the images of a split are like: which cannot be decoded, how many are grey, turned, of 16 bits and so on.

Each image is decoded once for this; what was found is in `seen-KEY.json`, where `mapped` puts its arrays. KEY is a hash
of the content of the images, so changed images are looked at again. The file may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from trainers.datasets import UnreadableHereError
from trainers.datasets.decoded import BATCH, Encoded, Picture
from trainers.datasets.hashes import hashes
from trainers.datasets.mapped import key, places
from trainers.datasets.pictures import SIXTEEN_BITS, complaint, is_deep, levels_of, orientation, quietly

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from PIL.Image import Image

    from trainers.datasets.pictures import Levels

FORMAT = 1
"""Raise this when more is looked at, so that the findings of older versions are not used."""

DECODED = 20_000
"""Images of a split that are decoded; of more, only the first bytes are read, and decoding them finds the damaged."""

STRETCHED = 2
"""The ratio of an image's sides from which the crop to a square leaves out half of it."""

GREY = {"1", "L", "LA", "La", "I", "F"}


@dataclass
class Inspection:
    """What the images of a split are like; images are named by their rows."""

    damaged: list[tuple[int, str]] = field(default_factory=list)
    """Those that cannot be decoded, and why."""
    several: list[tuple[int, int]] = field(default_factory=list)
    """Files of several images, such as animations, and how many."""
    unranged: list[int] = field(default_factory=list)
    """Those with levels outside 16 bits, for which only a stated range can tell what is black and white."""
    deep: int = 0
    """How many have more than 8 bits per pixel."""
    highest: float = 0.0
    """The highest level of these."""
    turned: int = 0
    """How many the EXIF data turn or mirror."""
    halved: int = 0
    """How many have colours of 16 bits, of which Pillow keeps the upper 8."""
    transparent: int = 0
    printed: int = 0
    """How many have the colours of print (CMYK)."""
    stretched: int = 0
    """How many are more than `STRETCHED` times as wide as high, or as high as wide."""
    grey: dict[str, int] = field(default_factory=dict)
    """How many are grey, by label."""
    sides: tuple[int, int] = (0, 0)
    """The shortest side of all images, and the longest."""
    sizes: int = 0
    """How many different sizes there are; 2 if more."""
    undecoded: int = 0
    """How many were not decoded, because there are more than `DECODED`."""


def in_use(seen: Iterable[Inspection]) -> Levels | None:
    """The levels from 0 to the highest that images of more than 8 bits use, in whole bits; None if these are 16."""
    highest = max((each.highest for each in seen if each.deep), default=None)
    if highest is None:
        return None
    bits = max(8, int(highest).bit_length())
    return (0.0, 2.0**bits - 1) if bits < 16 else None  # noqa: PLR2004  # as `Reading` does by itself


@dataclass(frozen=True)
class _Seen:
    """What one image is like."""

    row: int
    error: str = ""
    frames: int = 1
    mode: str = "RGB"
    size: tuple[int, int] = (0, 0)
    turned: bool = False
    lowest: float = 0.0
    highest: float = 0.0
    halved: bool = False
    transparent: bool = False
    decoded: bool = True


def inspect(images: Encoded, data_dir: Path) -> Inspection:
    """What these images are like.

    Args:
        images: Those to look at.
        data_dir: The data folder, which decides where findings are stored.

    Raises:
        MissingDataError: A file is missing or cannot be read; UnreadableHereError without Pillow.
    """
    known = hashes(images.folder, images.files, data_dir)
    labels = "\t".join(map(str, images.labels.tolist()))
    name = f"seen-{key(itertools.chain([f'{FORMAT} {labels}'], images.texts(known)))}.json"
    for place in places(data_dir):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            return _recalled(json.loads((place / name).read_text("utf-8")))
    if find_spec("PIL") is None:
        raise UnreadableHereError("pillow")
    found = _inspected(images, known)
    _keep(name, found, data_dir)
    return found


def _recalled(content: Mapping[str, Any]) -> Inspection:
    """The findings of a file that `_keep` wrote; any other raises, and the images are looked at again."""
    found: dict[str, Any] = {**content, "sides": tuple(content["sides"])}
    found |= {name: [tuple(pair) for pair in content[name]] for name in ("damaged", "several")}
    return Inspection(**found)


def _keep(name: str, found: Inspection, data_dir: Path) -> None:
    """Store the findings if a folder is writable; otherwise the images are looked at again next time."""
    for place in places(data_dir):
        part = place / f".seen.{uuid.uuid4().hex}"
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            try:
                part.write_text(json.dumps(asdict(found)), "utf-8")
                part.replace(place / name)
            finally:
                part.unlink(missing_ok=True)
            return


def _inspected(images: Encoded, known: Mapping[str, str]) -> Inspection:
    found = Inspection()
    sizes = set[tuple[int, int]]()
    count = len(images.labels)
    decoding = count <= DECODED
    pictures = images.pictures(known)
    with quietly(), ThreadPoolExecutor(os.cpu_count()) as pool:
        while batch := list(itertools.islice(pictures, BATCH)):
            seen = list(pool.map(partial(_seen, decoding=decoding), batch))
            sizes |= {each.size for each in seen if not each.error}
            _add(found, seen, images)
    found.damaged.sort()
    sides = [side for size in sizes for side in size]
    found.sides = (min(sides, default=0), max(sides, default=0))
    found.sizes = min(2, len(sizes))
    return found


def _add(found: Inspection, seen: Iterable[_Seen], images: Encoded) -> None:
    for each in seen:
        if each.error:
            found.damaged.append((each.row, each.error))
            continue
        if each.frames > 1:
            found.several.append((each.row, each.frames))
        if is_deep(each.mode):
            found.deep += 1
            if each.mode == "F" or each.lowest < 0 or each.highest > SIXTEEN_BITS[1]:
                found.unranged.append(each.row)
            else:
                found.highest = max(found.highest, each.highest)
        found.turned += each.turned
        found.halved += each.halved
        found.transparent += each.transparent
        found.printed += each.mode == "CMYK"
        found.stretched += max(each.size) > STRETCHED * min(each.size)
        found.undecoded += not each.decoded
        if each.mode in GREY or is_deep(each.mode):
            label = str(images.labels[each.row])
            found.grey[label] = found.grey.get(label, 0) + 1


def _seen(picture: Picture, *, decoding: bool) -> _Seen:
    try:
        with picture.open() as image:
            return _looked_at(picture.row, image, decoding=decoding)
    except Exception as error:  # noqa: BLE001  # Pillow's decoders can raise anything on damaged files
        return _Seen(picture.row, complaint(error))


def _looked_at(row: int, image: Image, *, decoding: bool) -> _Seen:
    size = image.size
    mode = image.mode
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # beside a camera's JPEG lies its preview
    halved = not is_deep(mode) and any(str(tile.args).endswith((";16B", ";16L")) for tile in getattr(image, "tile", ()))
    low = high = 0.0
    deep = is_deep(mode)
    if decoding or deep:
        image.draft(None, (1, 1))  # JPEG: an eighth of the size shows all damage, in less time
        image.load()
    if deep:
        levels = levels_of(image)
        low = float(levels.min())
        high = float(levels.max())
    return _Seen(
        row=row,
        frames=frames,
        mode=mode,
        size=size,
        turned=image.format != "TIFF" and orientation(image) > 1,
        lowest=low,
        highest=high,
        halved=halved,
        transparent=mode in {"LA", "La", "PA", "RGBA", "RGBa"} or "transparency" in image.info,
        decoded=decoding or deep,
    )
