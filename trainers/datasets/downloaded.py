"""Datasets whose official files are looked for first, and downloaded once if need be.

What `Downloaded` reads out of them lies from then on in `NAME-SPLIT-KEY.npy`, uint8
(n, C, H, W), and `NAME-SPLIT-labels-KEY.npy`, int64 (n,), both splits whole; `mapped`
says where. KEY hashes the SHA-256 of each official file.
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
"""Raised when `_read` gives other arrays, so that those of an older version are left alone."""

STALL_SECONDS = 5.0
"""A server silent for so long counts as unreachable."""


class Fetched(Dataset, ABC):
    """Official files in the data folder, fetched through torchvision where they are absent."""

    folder: ClassVar[str]
    """Where the files lie, relative to the data folder."""
    alternatives: ClassVar[str] = "Put the files there, pass --data-dir, or use 'digits', which needs none."
    """What a user without network can do."""

    def prepare(self, data_dir: Path) -> None:
        """Find the files, or download them; any number of processes may call this at once.

        Raises:
            MissingDataError: The files are absent and could not be fetched.
        """
        # Looked for before locking, so that a read-only data folder works.
        if self._present(data_dir):
            return
        try:
            with _sole_process(data_dir, self.name):
                # Another process may have fetched them while this one waited.
                if not self._present(data_dir):
                    self._fetch(data_dir)
        except (OSError, RuntimeError, HTTPException) as error:
            raise MissingDataError(self._advice(data_dir, error)) from error

    def find(self, data_dir: Path) -> None:
        """Look for the files without fetching any.

        Raises:
            MissingDataError: They are absent.
        """
        if not self._present(data_dir):
            raise MissingDataError(
                f"No data for '{self.name}': expected {self._expected(data_dir)}. "
                f"A launch downloads them; without a network: {self.alternatives}"
            )

    def _fetch(self, data_dir: Path) -> None:
        # Downloaded beside and moved file by file, so that none is ever seen half written.
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=f".{self.name}-") as beside:
            with _quiet_and_impatient():
                self._download(Path(beside), data_dir)
            self._publish(Path(beside), data_dir)

    def _publish(self, beside: Path, data_dir: Path) -> None:
        (data_dir / self.folder).mkdir(parents=True, exist_ok=True)
        for file in self._files():
            Path(beside, self.folder, file).replace(data_dir / self.folder / file)

    def _advice(self, data_dir: Path, error: Exception) -> str:
        # torchvision lists every mirror it tried; the last line is the last one's reason.
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
        """Which files were looked for and where, to be read after 'expected'."""

    @abstractmethod
    def _present(self, data_dir: Path) -> bool:
        """Whether every file is there."""

    @abstractmethod
    def _download(self, root: Path, data_dir: Path) -> None:
        """Leave the files in `root / folder`; an archive in `data_dir` may save the network."""


class Downloaded(Fetched, Sized, ABC):
    """Fetched files that are read once a machine; from then on, their images are mapped into memory.

    Where nothing can be written, each process reads them into its own memory.
    """

    classes: ClassVar[int] = 10

    def load(self, data_dir: Path) -> TrainTest:
        """Both splits; pixels uint8 (n, C, H, W), rows in subset order where a size is given.

        Raises:
            MissingDataError: The files are absent and could not be fetched, or damaged.
            ValueError: The files hold fewer images than a size asks for.
        """
        train, test = self._whole(data_dir)
        return TrainTest(
            train=self._subset("train", train, self.train_size),
            test=self._subset("test", test, self.test_size),
            classes=self.classes,
        )

    def _whole(self, data_dir: Path) -> tuple[Images, Images]:
        with contextlib.suppress(MissingDataError):  # not fetched yet
            if (known := mapped.find(self._arrays(data_dir), data_dir)) is not None:
                return _images(known)
        # Checked after looking, because checksums read the files whole.
        self.prepare(data_dir)
        read = functools.cache(functools.partial(self._read, data_dir))
        try:
            names = self._arrays(data_dir)
            return _images(mapped.find_or_write(names, data_dir, lambda paths: _write(read(), paths)))
        except mapped.UnwritableError:
            return read()

    def _arrays(self, data_dir: Path) -> list[str]:
        """The names of the files in which both splits are mapped."""
        known = [hashes(path.parent, [path.name], data_dir)[path.name] for path in self._originals(data_dir)]
        end = f"{mapped.key([str(FORMAT), *known])}.npy"
        return [f"{self.name}-{part}-{end}" for part in ("train", "train-labels", "test", "test-labels")]

    def _originals(self, data_dir: Path) -> list[Path]:
        """The files that `_read` reads.

        Raises:
            MissingDataError: They are absent, if that has to be known to name them.
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
    # Labels are copied, because they are small and everywhere else plain arrays.
    return Images(train, np.array(train_labels)), Images(test, np.array(test_labels))


def _write(splits: tuple[Images, Images], paths: Sequence[Path]) -> None:
    import numpy as np

    arrays = [array for split in splits for array in (split.pixels, split.labels)]
    mapped.check_room(paths[0].parent, sum(array.nbytes for array in arrays), f"{sum(map(len, splits))} of them")
    for path, array in zip(paths, arrays, strict=True):
        with path.open("wb") as file:  # given its name alone, NumPy would append to it
            np.save(file, array)


@contextlib.contextmanager
def _sole_process(data_dir: Path, name: str) -> Generator[None]:
    from filelock import FileLock

    data_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(data_dir / f".{name}.lock"):
        yield


@contextlib.contextmanager
def _quiet_and_impatient() -> Generator[None]:
    # torchvision offers neither a timeout nor a way to switch its progress bars off.
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(patience)
