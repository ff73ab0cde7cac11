"""Datasets whose official files are downloaded once if they are not found.

`Downloaded` reads both splits once and keeps them in `NAME-SPLIT-KEY.npy`, uint8
(n, C, H, W), and `NAME-SPLIT-labels-KEY.npy`, int64 (n,), in the folder given by
`mapped`. KEY is a hash of the SHA-256 of each official file.
"""

from __future__ import annotations

import contextlib
import functools
import io
import socket
import tempfile
from abc import ABC, abstractmethod
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from trainers.datasets import Dataset, Images, MissingDataError, TrainTest, mapped
from trainers.datasets.hashes import hashes
from trainers.datasets.sized import Sized, fixed_order

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["STALL_SECONDS", "Downloaded", "Fetched", "fixed_order"]

FORMAT = 1
"""Raise this when `_read` changes its arrays, so that files of older versions are not used."""

STALL_SECONDS = 5.0
"""A server that sends nothing for this long counts as unreachable."""


class Fetched(Dataset, ABC):
    """Official files in the data folder, downloaded by torchvision if they are missing."""

    folder: ClassVar[str]
    """The folder of the files, relative to the data folder."""
    alternatives: ClassVar[str] = "Put the files there, pass --data-dir, or use 'digits', which needs none."
    """What a user without a network can do."""

    def prepare(self, data_dir: Path) -> None:
        """Find the files, or download them; several processes may call this at once.

        Raises:
            MissingDataError: The files are missing and cannot be downloaded.
        """
        # Look before locking, so that a read-only data folder works.
        if self._present(data_dir):
            return
        try:
            with _sole_process(data_dir, self.name):
                # Another process may have downloaded them while this one waited for the lock.
                if not self._present(data_dir):
                    self._fetch(data_dir)
        except (OSError, RuntimeError, HTTPException) as error:
            raise MissingDataError(self._advice(data_dir, error)) from error

    def find(self, data_dir: Path) -> None:
        """Check that the files exist, without downloading.

        Raises:
            MissingDataError: They are missing.
        """
        if not self._present(data_dir):
            raise MissingDataError(
                f"No data for '{self.name}': expected {self._expected(data_dir)}. "
                f"A launch downloads them; without a network: {self.alternatives}"
            )

    def _fetch(self, data_dir: Path) -> None:
        # Download to another folder and move file by file, so that no process sees a partial file.
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=f".{self.name}-") as beside:
            with _quiet_and_impatient():
                self._download(Path(beside), data_dir)
            self._publish(Path(beside), data_dir)

    def _publish(self, beside: Path, data_dir: Path) -> None:
        (data_dir / self.folder).mkdir(parents=True, exist_ok=True)
        for file in self._files():
            Path(beside, self.folder, file).replace(data_dir / self.folder / file)

    def _advice(self, data_dir: Path, error: Exception) -> str:
        # torchvision lists every mirror that it tried; the last line is the reason of the last one.
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1].strip("<>")
        return (
            f"No data for '{self.name}': expected {self._expected(data_dir)}, "
            f"and the download failed ({reason}). {self.alternatives}"
        )

    @abstractmethod
    def _files(self) -> Sequence[str]:
        """The names of the files that a download leaves in `folder`."""

    @abstractmethod
    def _expected(self, data_dir: Path) -> str:
        """The files and where they should be, to follow 'expected' in a message."""

    @abstractmethod
    def _present(self, data_dir: Path) -> bool:
        """Whether every file is there."""

    @abstractmethod
    def _download(self, root: Path, data_dir: Path) -> None:
        """Put the files into `root / folder`; use an archive in `data_dir` instead of the network if there is one."""


class Downloaded(Fetched, Sized, ABC):
    """Downloaded files that are read once per machine; afterwards their images are memory-mapped.

    If no folder is writable, each process reads them into its own memory.
    """

    classes: ClassVar[int] = 10

    def load(self, data_dir: Path) -> TrainTest:
        """Both splits; pixels uint8 (n, C, H, W), in subset order if a size is given.

        Raises:
            MissingDataError: The files are damaged, or missing and cannot be downloaded.
            ValueError: The files hold fewer images than `train_size` or `test_size`.
        """
        train, test = self._whole(data_dir)
        return TrainTest(
            train=self._subset("train", train, self.train_size),
            test=self._subset("test", test, self.test_size),
            classes=self.classes,
        )

    def _whole(self, data_dir: Path) -> tuple[Images, Images]:
        with contextlib.suppress(MissingDataError):  # not downloaded yet
            if (known := mapped.find(self._arrays(data_dir), data_dir)) is not None:
                return _images(known)
        # Prepare only after looking for the arrays, because checksums read the whole files.
        self.prepare(data_dir)
        read = functools.cache(functools.partial(self._read, data_dir))
        try:
            names = self._arrays(data_dir)
            return _images(mapped.find_or_write(names, data_dir, lambda paths: _write(read(), paths)))
        except mapped.UnwritableError:
            return read()

    def _arrays(self, data_dir: Path) -> list[str]:
        """The names of the array files of both splits."""
        known = [hashes(path.parent, [path.name], data_dir)[path.name] for path in self._originals(data_dir)]
        end = f"{mapped.key([str(FORMAT), *known])}.npy"
        return [f"{self.name}-{part}-{end}" for part in ("train", "train-labels", "test", "test-labels")]

    def _originals(self, data_dir: Path) -> list[Path]:
        """The files that `_read` reads.

        Raises:
            MissingDataError: They are missing, if their names depend on what is found.
        """
        return [data_dir / self.folder / file for file in self._files()]

    def _subset(self, split: str, images: Images, size: int | None) -> Images:
        rows = self._rows(split, size, len(images))
        return images if size is None else images.take(rows)

    @abstractmethod
    def _read(self, data_dir: Path) -> tuple[Images, Images]:
        """The whole training and test split, in file order."""


def _images(arrays: Sequence[NDArray[Any]]) -> tuple[Images, Images]:
    import numpy as np

    train, train_labels, test, test_labels = arrays
    # Labels are copied, because they are small and plain arrays everywhere else.
    return Images(train, np.array(train_labels)), Images(test, np.array(test_labels))


def _write(splits: tuple[Images, Images], paths: Sequence[Path]) -> None:
    import numpy as np

    arrays = [array for split in splits for array in (split.pixels, split.labels)]
    mapped.check_room(paths[0].parent, sum(array.nbytes for array in arrays), f"{sum(map(len, splits))} of them")
    for path, array in zip(paths, arrays, strict=True):
        with path.open("wb") as file:  # given a name, NumPy would append .npy to it
            np.save(file, array)


@contextlib.contextmanager
def _sole_process(data_dir: Path, name: str) -> Generator[None]:
    from filelock import FileLock

    data_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(data_dir / f".{name}.lock"):
        yield


@contextlib.contextmanager
def _quiet_and_impatient() -> Generator[None]:
    # torchvision has no option for a timeout or for switching off its progress bars.
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(patience)
