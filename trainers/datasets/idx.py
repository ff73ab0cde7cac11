"""MNIST and its drop-in replacements, stored in idx files."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from abc import ABC
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from trainers.datasets import Images, MissingDataError
from trainers.datasets.downloaded import Downloaded
from trainers.datasets.hashes import hashes

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy as np
    from numpy.typing import NDArray

FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))

_UNSIGNED_BYTE = b"\x00\x00\x08"


class _Idx(Downloaded, ABC):
    image_shape = (1, 28, 28)
    train_images = 60_000
    test_images = 10_000

    torchvision_class: ClassVar[str]
    checksums: ClassVar[tuple[str, ...]]
    """MD5 of the published files after unpacking, in the order of `FILES`."""
    packed: ClassVar[Collection[str]]
    """MD5 of published files as distributed (packed), so that they can be identified without unpacking."""
    system_folder: ClassVar[Path | None] = None
    """Where the operating system's package installs the files."""

    def _files(self) -> Sequence[str]:
        return FILES

    def _expected(self, data_dir: Path) -> str:
        return f"{', '.join(f'{file}(.gz)' for file in FILES)} in {data_dir / self.folder}"

    def _found(self, data_dir: Path) -> list[Path] | None:
        """The four files in the order of `FILES`, all from one folder; the data folder has priority."""
        for folder in (data_dir / self.folder, self.system_folder):
            paths = [path for file in FILES if folder and (path := _plain_or_gzip(folder / file))]
            if len(paths) == len(FILES):
                return paths
        return None

    def _present(self, data_dir: Path) -> bool:
        return self._found(data_dir) is not None

    def _download(self, root: Path, data_dir: Path) -> None:
        del data_dir
        from torchvision import datasets

        getattr(datasets, self.torchvision_class)(root, download=True)

    def _originals(self, data_dir: Path) -> list[Path]:
        paths = self._found(data_dir)
        if paths is None:
            raise MissingDataError(f"The files of '{self.name}' vanished from {data_dir / self.folder}.")
        return paths

    def is_official(self, data_dir: Path) -> bool:
        """Whether the files are the published ones, packed or not; other files with these names have their own digest.

        Raises:
            MissingDataError: The files are missing or cannot be read.
        """
        if not self.is_published:
            return False
        paths = self._found(data_dir)
        if paths is None:
            self.find(data_dir)  # raises an error that lists the expected files
            return False
        digests = [hashes(path.parent, [path.name], data_dir)[path.name] for path in paths]
        found = zip(paths, digests, self.checksums, strict=True)
        return all(_is_published(path, digest, md5, frozenset(self.packed)) for path, digest, md5 in found)

    def manifest(self, data_dir: Path) -> dict[str, str]:
        """SHA-256 of each file; raises as `find` does."""
        self.find(data_dir)
        return {path.name: hashes(path.parent, [path.name], data_dir)[path.name] for path in self._originals(data_dir)}

    def _read(self, data_dir: Path) -> tuple[Images, Images]:
        train_pixels, train_labels, test_pixels, test_labels = self._originals(data_dir)
        return _images(train_pixels, train_labels), _images(test_pixels, test_labels)


class MNIST(_Idx):
    """MNIST: 70 000 handwritten digits, 28x28 grey, 10 classes (LeCun et al. 1998)."""

    name = "mnist"
    torchvision_class = "MNIST"
    folder = "MNIST/raw"
    checksums = (
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    )
    packed = frozenset(
        {
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        }
    )
    official = " ".join(checksums)


class FashionMNIST(_Idx):
    """Fashion-MNIST: 70 000 articles of clothing, 28x28 grey, 10 classes (arXiv 1708.07747)."""

    name = "fashion_mnist"
    torchvision_class = "FashionMNIST"
    folder = "FashionMNIST/raw"
    checksums = (
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    )
    packed = frozenset(
        {
            # as downloaded by torchvision
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
            # in Debian's package
            "cf8536b0aa1a6ac5fa3f23001093305c",
            "10bea18fdb374794d4bb42e356e600c9",
            "f78720b4224f21cce2f2ccf2d7a94c9a",
            "0d30e22e447f3c33dab9ed536400ac01",
        }
    )
    official = " ".join(checksums)
    system_folder = Path("/usr/share/datasets/fashion-mnist")
    alternatives = (
        "Install Debian's package dataset-fashion-mnist, put the files there, pass --data-dir, "
        "or use 'digits', which needs none."
    )


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The bytes in an idx file, plain or gzipped, as a writable array.

    Format: two zero bytes, the type (8: unsigned byte), the number of dimensions, each size
    as a big-endian uint32, the values (http://yann.lecun.com/exdb/mnist). torchvision's
    reader opens plain files only.

    Args:
        path: The file.
        dimensions: Expected number of dimensions: 3 for images, 1 for labels.

    Raises:
        MissingDataError: It is not such a file, or is truncated.
    """
    import numpy as np

    content = _content(path)
    start = 4 + 4 * dimensions
    if bytes(content[:4]) != _UNSIGNED_BYTE + bytes([dimensions]):
        raise _damaged(path, f"it starts with '{content[:4].hex()}'")
    sizes = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if len(content) != start + math.prod(sizes):
        raise _damaged(path, f"it has {len(content)} bytes instead of {start + math.prod(sizes)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


def _content(path: Path) -> bytearray:
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            # A bytearray is writable; torch warns about read-only arrays.
            return bytearray(file.read())
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, str(error)) from error


def _images(pixels_path: Path, labels_path: Path) -> Images:
    import numpy as np

    pixels = read_idx(pixels_path, dimensions=3)
    labels = read_idx(labels_path, dimensions=1)
    if len(pixels) != len(labels):
        raise _damaged(labels_path, f"it has {len(labels)} labels for {len(pixels)} images")
    return Images(pixels[:, None], labels.astype(np.int64))


@cache
def _is_published(path: Path, digest: str, md5: str, packed: frozenset[str]) -> bool:
    """Whether a file is the published one. `digest` is only a cache key, so that a changed file is checked again."""
    del digest
    try:
        raw = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    except OSError as error:
        raise _damaged(path, str(error)) from error
    return raw == md5 or raw in packed or hashlib.md5(_content(path), usedforsecurity=False).hexdigest() == md5


def _plain_or_gzip(path: Path) -> Path | None:
    zipped = path.with_name(f"{path.name}.gz")
    return path if path.is_file() else zipped if zipped.is_file() else None


def _damaged(path: Path, reason: str) -> MissingDataError:
    return MissingDataError(f"{path} is not the idx file it should be: {reason}. Replace it, or delete it.")
