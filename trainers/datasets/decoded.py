"""Datasets of encoded images, decoded once per machine into a file that is memory-mapped.

The pixels of a split are in one file `NAME-SPLIT-KEY.npy`, uint8 (n, C, H, W), in the folder given
by `mapped`. KEY is a hash of the size, the channels, how pixels are read, and the SHA-256 of each image's
file, so other choices or changed images give another file. Each image is hashed again when it is decoded.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from trainers.datasets import Images, Labels, MissingDataError, TrainTest
from trainers.datasets.hashes import hashes
from trainers.datasets.mapped import check_room, find_or_write, key
from trainers.datasets.pictures import AS_STORED, Opener, Reading, complaint, decode, opened, quietly
from trainers.datasets.sized import Sized

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

FORMAT = 1
"""Raise this when `decode` changes its pixels, so that files of older versions are not used."""

BATCH = 256
"""Decoded images in memory at a time: 40 MB in colour at 224 pixels."""


class Picture(NamedTuple):
    """An encoded image: its row in the split, its name in messages, and a function that opens it."""

    row: int
    name: str
    open: Opener


class Encoded(ABC):
    """The images of one split before decoding, in files of `folder`, and their labels, int64 (n,)."""

    folder: Path
    labels: NDArray[np.int64]

    @property
    @abstractmethod
    def files(self) -> Sequence[str]:
        """The names, relative to `folder`, of the files that hold the images."""

    @abstractmethod
    def take(self, rows: NDArray[np.int64]) -> Encoded:
        """The images of these rows, in this order."""

    @abstractmethod
    def called(self, row: int) -> str:
        """What messages call the image of a row."""

    @abstractmethod
    def texts(self, hashes: Mapping[str, str]) -> Iterator[str]:
        """Texts that differ whenever the images or their order differ, given the hash of each file."""

    @abstractmethod
    def pictures(self, hashes: Mapping[str, str]) -> Iterator[Picture]:
        """Each image once, in the order that is fastest to read; files are checked against these hashes."""

    def arrangement(self) -> str:
        """SHA-256 of the order of the files and the labels, which may not follow from the files themselves."""
        names = "\0".join(self.files).encode(errors="surrogateescape")
        return hashlib.sha256(names + b"\0" + self.labels.astype("<i8").tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Files(Encoded):
    """One file per image: `names` relative to `folder`, in the order of the rows."""

    folder: Path
    names: Sequence[str]
    labels: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Files:
        """The files of these rows, in this order."""
        places: list[int] = rows.tolist()
        return Files(self.folder, [self.names[place] for place in places], self.labels[rows])

    @property
    def files(self) -> Sequence[str]:
        """The same names."""
        return self.names

    def called(self, row: int) -> str:
        """The path of the file."""
        return printable(str(self.folder / self.names[row]))

    def texts(self, hashes: Mapping[str, str]) -> Iterator[str]:
        """The hash of each file, in the order of the rows."""
        return (hashes[name] for name in self.names)

    def pictures(self, hashes: Mapping[str, str]) -> Iterator[Picture]:
        """The files in the order of the rows."""
        for row, name in enumerate(self.names):
            path = os.path.join(self.folder, name)  # noqa: PTH118  # creating a million Paths takes seconds
            yield Picture(row, path, partial(_image, path, hashes[name]))


def _image(path: str, expected: str) -> Image:
    return opened(unchanged(path, expected))


def unchanged(path: str, expected: str) -> bytes:
    """The bytes of a file.

    Raises:
        MissingDataError: They do not have the expected SHA-256.
    """
    with open(path, "rb") as file:  # noqa: PTH123  # as above
        content = file.read()
    if hashlib.sha256(content).hexdigest() != expected:
        raise MissingDataError(
            f"{path} has changed since it was hashed. Start again, with --rehash if nothing writes to it."
        )
    return content


def printable(name: str) -> str:
    r"""A name that any terminal can show: bytes that are no UTF-8, and control characters, as `\\xNN`."""
    text = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)


class Splits(NamedTuple):
    """Both splits of a dataset before decoding."""

    train: Encoded
    test: Encoded
    classes: int
    names: tuple[str, ...] = ()
    """The names of the classes in the order of their numbers; empty where the data have none."""
    groups: NDArray[np.int64] | None = None
    """Which training images belong together (n,), so that validation separates none of them; None if none do."""
    test_groups: NDArray[np.int64] | None = None
    """The same of the test images."""


class Decoded(Sized, ABC):
    """Encoded images, each scaled so that its shorter side is `size`, then cropped to a square at its centre.

    The pixels are those of torchvision's `Resize(size)` and `CenterCrop(size)` applied to a Pillow image.
    """

    size: int = Field(default=224, ge=1)
    """Side of the square images, in pixels."""
    channels: Literal[1, 3] = 3
    """3 for colour, 1 for grey."""

    @model_validator(mode="before")
    @classmethod
    def _unknowns_have_its_size(cls, values: Any) -> Any:
        """Images of `unknowns` are read like the known ones where nothing else is said."""
        others = values.get("unknowns") if isinstance(values, dict) else None
        if not isinstance(others, Decoded):
            return values
        own = {name: values.get(name, cls.model_fields[name].default) for name in ("size", "channels")}
        told = {
            name: side for name, side in own.items() if isinstance(side, int) and name not in others.model_fields_set
        }
        return {**values, "unknowns": others.model_copy(update=told)}

    def _shape(self) -> tuple[int, int, int]:
        return self.channels, self.size, self.size

    def load(self, data_dir: Path) -> TrainTest:
        """Both splits; pixels uint8 (n, C, size, size), mapped from a file that is written once per machine.

        Args:
            data_dir: Folder that holds the dataset's files.

        Raises:
            MissingDataError: Files are missing or not images, or the disk is too small for the decoded ones.
            ValueError: There are fewer images than `train_size` or `test_size`.
        """
        splits = self._splits(data_dir)
        chosen = dict(self._chosen(splits))
        reading = self._reading(chosen.values(), data_dir)
        train, test = (
            Images(
                pixels(images, f"{self.name}-{split}", self.size, self.channels, data_dir, reading=reading),
                images.labels,
                self._groups(splits) if split == "train" else self._test_groups(splits),
            )
            for split, images in chosen.items()
        )
        return TrainTest(train, test, splits.classes, names=splits.names)

    def prepare(self, data_dir: Path) -> None:
        """Find the files and decode them, so that damaged ones are found before training starts.

        Raises:
            MissingDataError: Files are missing or not images, or the disk is too small for the decoded ones.
        """
        self.load(data_dir)

    def find(self, data_dir: Path) -> None:
        """Check that the files of both splits exist, without decoding any.

        Raises:
            MissingDataError: They are missing.
        """
        self._splits(data_dir)

    def labels(self, data_dir: Path) -> Labels:
        """The labels of both splits, from the names of the files or a column of labels.

        Raises:
            MissingDataError: Files are missing; UnusableDataError if they cannot be used as a dataset.
            ValueError: There are fewer images than `train_size` or `test_size`.
        """
        return self._labels_of(self._splits(data_dir))

    def is_official(self, data_dir: Path) -> bool:
        """Whether there are as many images as were published; raises as `find` does."""
        if not self.is_published:
            return False
        splits = self._splits(data_dir)
        return [len(splits.train.labels), len(splits.test.labels)] == [self.train_images, self.test_images]

    def manifest(self, data_dir: Path) -> dict[str, str]:
        """SHA-256 of each file (`train/NAME`, `test/NAME`) and of the arrangement of each split (`train`, `test`).

        Raises:
            MissingDataError: Files are missing.
            ValueError: There are fewer images than `train_size` or `test_size`.
        """
        return self._files_of(dict(self._chosen(self._splits(data_dir))), data_dir)

    def _files_of(self, chosen: Mapping[str, Encoded], data_dir: Path) -> dict[str, str]:
        found: dict[str, str] = {}
        for split, images in chosen.items():
            known = hashes(images.folder, images.files, data_dir)
            found |= {f"{split}/{name}": digest for name, digest in known.items()}
            found[split] = images.arrangement()
        return found

    def _chosen(self, splits: Splits) -> Iterator[tuple[str, Encoded]]:
        """The images of both splits after `train_size` and `test_size`."""
        # Select before decoding: a thousand images of ImageNet then need only a thousand decodings.
        for split, images, size in (("train", splits.train, self.train_size), ("test", splits.test, self.test_size)):
            if not len(images.labels):
                raise MissingDataError(f"No data for '{self.name}': its {split} split lists no images.")
            yield split, images.take(self._rows(split, size, len(images.labels)))

    def _labels_of(self, splits: Splits) -> Labels:
        """The labels of both splits after `train_size` and `test_size`."""
        train = splits.train.labels
        test = splits.test.labels
        return Labels(
            train[self._rows("train", self.train_size, len(train))],
            test[self._rows("test", self.test_size, len(test))],
            splits.classes,
            names=splits.names,
            groups=self._groups(splits),
            test_groups=self._test_groups(splits),
        )

    def _groups(self, splits: Splits) -> NDArray[np.int64] | None:
        """Which of the training images to use belong together."""
        if splits.groups is None:
            return None
        return splits.groups[self._rows("train", self.train_size, len(splits.train.labels))]

    def _test_groups(self, splits: Splits) -> NDArray[np.int64] | None:
        """Which of the test images to use belong together."""
        if splits.test_groups is None:
            return None
        return splits.test_groups[self._rows("test", self.test_size, len(splits.test.labels))]

    def reading(self, data_dir: Path) -> Reading:
        """How the pixels of these images become bytes; raises as `find` does."""
        return self._reading([images for _, images in self._chosen(self._splits(data_dir))], data_dir)

    def _reading(self, splits: Iterable[Encoded], data_dir: Path) -> Reading:
        """How pixels become bytes; published images are read as torchvision reads them."""
        del splits, data_dir
        return AS_STORED

    @abstractmethod
    def _splits(self, data_dir: Path) -> Splits:
        """Find all images of both splits, in an order that never changes.

        Raises:
            MissingDataError: They are missing.
        """


def pixels(
    images: Encoded, name: str, size: int, channels: int, data_dir: Path, *, reading: Reading = AS_STORED
) -> NDArray[np.uint8]:
    """The decoded images, uint8 (n, C, size, size), as a memory map; decoded now if not done before.

    Writing to the array does not change the file.

    Args:
        images: The images to decode.
        name: Start of the file's name.
        size: Side of the square images in pixels.
        channels: 3 for colour, 1 for grey.
        data_dir: Folder that holds `.decoded`.
        reading: How pixels become bytes.

    Raises:
        MissingDataError: A file is missing or not an image, or the disk is too small for the decoded ones.
    """
    about = f"{FORMAT} {size} {channels}" + ("" if reading == AS_STORED else f" {reading}")
    known = hashes(images.folder, images.files, data_dir)
    file = f"{name}-{key(itertools.chain([about], images.texts(known)))}.npy"
    shape = (len(images.labels), channels, size, size)
    (found,) = find_or_write([file], data_dir, partial(_write, images.pictures(known), shape, reading))
    return found


def _write(pictures: Iterator[Picture], shape: tuple[int, ...], reading: Reading, paths: Sequence[Path]) -> None:
    import numpy as np

    (path,) = paths
    check_room(path.parent, int(np.prod(shape)), f"{shape[0]} of {'x'.join(map(str, shape[1:]))} bytes")
    _decode_into(pictures, path, shape, reading)


def _decode_into(pictures: Iterator[Picture], path: Path, shape: tuple[int, ...], reading: Reading) -> None:
    """Write the array file batch by batch, so that memory use does not depend on its size."""
    import numpy as np

    # Threads suffice, because Pillow releases the GIL while it decodes.
    with path.open("wb") as file, quietly(), ThreadPoolExecutor(os.cpu_count()) as pool:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        start = file.tell()
        length = int(np.prod(shape[1:]))
        while batch := list(itertools.islice(pictures, BATCH)):
            arrays = pool.map(partial(_decoded, shape=shape, reading=reading), batch)
            for picture, array in zip(batch, arrays, strict=True):
                file.seek(start + picture.row * length)
                file.write(array.tobytes())


def _decoded(picture: Picture, shape: tuple[int, ...], reading: Reading) -> NDArray[np.uint8]:
    try:
        return decode(picture.open, size=shape[-1], channels=shape[1], reading=reading)
    except MissingDataError:
        raise
    except Exception as error:  # Pillow's decoders can raise anything on damaged files
        raise MissingDataError(
            f"{printable(picture.name)} is no image that can be decoded ({complaint(error)}). "
            "Replace it, or take it out of the dataset."
        ) from error
