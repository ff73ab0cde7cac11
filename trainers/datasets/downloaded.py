"""Datasets whose official files are looked for first, and downloaded once if need be."""

from __future__ import annotations

import contextlib
import io
import socket
import tempfile
from abc import ABC, abstractmethod
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from trainers.datasets import Dataset, Images, MissingDataError, TrainTest

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import numpy as np
    from numpy.typing import NDArray

ORDER_SEED = 20250505
"""Seed of the order in which subsets are filled. Changing it changes every subset's meaning."""

STALL_SECONDS = 5.0
"""A server silent for so long counts as unreachable."""


class Downloaded(Dataset, ABC):
    """Official files in the data folder, fetched through torchvision where they are absent."""

    train_images: ClassVar[int]
    test_images: ClassVar[int]
    classes: ClassVar[int] = 10
    folder: ClassVar[str]
    """Where the files lie, relative to the data folder."""
    alternatives: ClassVar[str] = "Put the files there, pass --data-dir, or use 'digits', which needs none."
    """What a user without network can do."""

    train_size: int | None = Field(default=None, ge=1)
    """Use this many training images only, for quick experiments; smaller subsets are part of larger ones."""
    test_size: int | None = Field(default=None, ge=1)
    """Use this many test images only."""

    @model_validator(mode="after")
    def _sizes_exist(self) -> Self:
        # Said while planning, before a file is read.
        self._check_size("train", self.train_size, self.train_images)
        self._check_size("test", self.test_size, self.test_images)
        return self

    def load(self, data_dir: Path) -> TrainTest:
        """Read both splits; pixels uint8 (n, C, H, W), rows in subset order where a size is given.

        Raises:
            MissingDataError: The files are absent and could not be fetched, or damaged.
            ValueError: The files hold fewer images than a size asks for.
        """
        self.prepare(data_dir)
        train, test = self._read(data_dir)
        return TrainTest(
            train=self._subset("train", train, self.train_size),
            test=self._subset("test", test, self.test_size),
            classes=self.classes,
        )

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

    def _fetch(self, data_dir: Path) -> None:
        # Downloaded beside and moved file by file, so that none is ever seen half written.
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=f".{self.name}-") as beside:
            with _quiet_and_impatient():
                self._download(Path(beside), data_dir)
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

    def _check_size(self, split: str, size: int | None, available: int) -> None:
        if size is not None and size > available:
            raise ValueError(f"'{self.name}' has {available} {split} images, fewer than {split}_size={size}.")

    def _subset(self, split: str, images: Images, size: int | None) -> Images:
        self._check_size(split, size, len(images))
        return images if size is None else images.take(fixed_order(len(images))[:size])

    @abstractmethod
    def _files(self) -> Sequence[str]:
        """The names of the files that a download leaves in `folder`."""

    @abstractmethod
    def _expected(self, data_dir: Path) -> str:
        """Which files were looked for and where, to be read after 'expected'."""

    @abstractmethod
    def _present(self, data_dir: Path) -> bool:
        """Whether `_read` will find every file."""

    @abstractmethod
    def _download(self, root: Path, data_dir: Path) -> None:
        """Leave the files in `root / folder`; an archive in `data_dir` may save the network."""

    @abstractmethod
    def _read(self, data_dir: Path) -> tuple[Images, Images]:
        """The whole training and test split, in file order."""


def fixed_order(count: int) -> NDArray[np.int64]:
    """A permutation of `range(count)`, shape (count,), the same wherever and whenever it is drawn."""
    import numpy as np

    # RandomState's stream is frozen for good; Generator's may change with a NumPy release.
    order = np.random.RandomState(ORDER_SEED).permutation(count)
    return order.astype(np.int64)


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
