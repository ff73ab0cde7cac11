"""Datasets: one file per family. Adding a file here adds its plug-ins."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from trainers.corruptions import CORRUPTIONS, Corruption
from trainers.plugin import Frozen, Nested, Plugin

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images: `pixels` uint8 (n, C, H, W), `labels` int64 (n,).

    Vectors of d numbers are images of one pixel: float32 (n, d, 1, 1). `groups` int64 (n,) says which samples belong
    together, for example all of one patient; the validation split takes a group whole or not at all.
    """

    pixels: NDArray[Any]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Images:
        """The images of these rows, in this order."""
        groups = None if self.groups is None else self.groups[rows]
        return Images(self.pixels[rows], self.labels[rows], groups)


@dataclass(frozen=True, eq=False)
class Verification:
    """Face pairs for a verification test: p pairs of m distinct faces.

    `pixels` (m, C, H, W) are the faces, as in `Images`; `first` and `second` int64 (p,) are each pair's rows
    in `pixels`; `genuine` bool (p,) says whether a pair shows one person; `identity` int64 (m,) is
    the person in each face, if known; `fold` int64 (p,) is each pair's cross-validation fold, if
    the dataset defines folds.
    """

    pixels: NDArray[Any]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    genuine: NDArray[np.bool_]
    identity: NDArray[np.int64] | None = None
    fold: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of both splits, int64 (n,), from 0 to `classes` - 1."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    classes: int
    groups: NDArray[np.int64] | None = None
    """The group of each training sample, if they have any."""
    names: tuple[str, ...] = ()
    """The names of the classes, in the order of their numbers; empty where the data have none."""
    facts: tuple[str, ...] = ()
    """What the images are like, in sentences for people."""
    cautions: tuple[str, ...] = ()
    """What may be wrong with them although they can be used, in sentences for people."""
    shape: tuple[int, int, int] | None = None
    """Channels, height and width of a sample, where the files told without being loaded."""
    test_groups: NDArray[np.int64] | None = None
    """The group of each test sample, if they have any."""


@dataclass(frozen=True, eq=False)
class TrainTest:
    """The official split of a dataset; a sample's id is its row number in `test`."""

    train: Images
    test: Images
    classes: int
    pairs: Verification | None = None
    """Pairs of images to verify, if they come with the dataset."""
    names: tuple[str, ...] = ()
    """The names of the classes, in the order of their numbers; empty where the data have none."""
    unknown: Images | None = None
    """Test samples of another data set, which count as unknown."""

    @property
    def labels(self) -> Labels:
        """The labels alone."""
        channels, height, width = self.train.pixels.shape[1:]
        return Labels(
            self.train.labels,
            self.test.labels,
            self.classes,
            self.train.groups,
            self.names,
            shape=(channels, height, width),
            test_groups=self.test.groups,
        )


class Extent(NamedTuple):
    """How many images of which shape a data set has."""

    shape: tuple[int, int, int]
    """Channels, height and width."""
    classes: int
    train: int
    test: int


HASHED = 2**30
"""Bytes of pixels per split that a fingerprint reads, which takes about a second."""

BLOCK = 1024
"""Images in memory at a time while hashing."""


def fingerprint(images: TrainTest) -> str:
    """16 hex digits that identify the images, from shapes, pixels and labels of both splits and of unknown ones.

    If there are more than `HASHED` bytes of pixels, only every second, third, … image is hashed.
    """
    digest = hashlib.sha256()
    for split in (images.train, images.test, *([images.unknown] if images.unknown else [])):
        # The shape distinguishes equal bytes that are divided differently; "<i8" is the same on every machine.
        digest.update(repr(split.pixels.shape).encode())
        stride = -(-split.pixels.nbytes // HASHED) or 1
        for start in range(0, len(split), stride * BLOCK):
            digest.update(split.pixels[start : start + stride * BLOCK : stride].tobytes())
        digest.update(split.labels.astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def digest_of(manifest: Mapping[str, str]) -> str:
    """SHA-256 over the SHA-256 of each file and its name, in the order of the names."""
    whole = hashlib.sha256()
    for name in sorted(manifest):
        whole.update(f"{manifest[name]}  {name}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


def digest_with_unknowns(known: str | None, unknowns: str | None) -> str:
    """One digest of a data set and of that of its unknown samples."""
    return digest_of({"known": known or "", "unknowns": unknowns or ""})


class MissingDataError(Exception):
    """The files of a dataset are missing; the message says what to do."""


class UnreadableHereError(MissingDataError):
    """The files exist, but what reads them is not installed; the message says how to install it."""

    def __init__(self, package: str) -> None:
        super().__init__(
            f"These data are read by {package}, which is not installed: pip install 'loss-orchestrator[train]'"
        )


class UnusableDataError(MissingDataError):
    """The files exist but cannot be used as a dataset; the message says why, and what to do."""


def _one_or_more(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else (value,)


class Shift(Frozen):
    """Corrupted test sets, one for each combination of corruption and severity."""

    corruption: Annotated[tuple[Corruption, ...], BeforeValidator(_one_or_more), Field(min_length=1)] = CORRUPTIONS
    """Corruptions of ImageNet-C; all of them by default."""
    severity: Annotated[
        tuple[Annotated[int, Field(ge=1, le=5)], ...], BeforeValidator(_one_or_more), Field(min_length=1)
    ] = (1, 2, 3, 4, 5)
    """Severities of ImageNet-C, from 1 (weak) to 5 (strong); all of them where none is named."""


ALIKE = (
    {"digits", "mnist", "svhn"},
    {"cifar10", "stl10", "imagenet", "tiny_imagenet"},
    {"cifar100", "imagenet", "tiny_imagenet"},
)
"""Published data sets that have classes in common, which cannot be unknown."""


class Dataset(Plugin, ABC):
    """Labelled images with a fixed training and test split, optionally modified.

    Every dataset has the same modifiers. They are drawn from (dataset, seed) and applied in the order below.

    Examples:
        >>> import numpy as np
        >>> from trainers.datasets import Dataset, Images, TrainTest
        >>> class BlackWhite(Dataset):
        ...     name = "black_white"
        ...
        ...     def prepare(self, data_dir):
        ...         pass  # nothing to download
        ...
        ...     def load(self, data_dir):
        ...         labels = np.arange(20) % 2
        ...         pixels = np.full((20, 1, 8, 8), 255 * labels[:, None, None, None], np.uint8)
        ...         images = Images(pixels, labels)
        ...         return TrainTest(train=images, test=images.take(np.arange(4)), classes=2)
        >>> from pathlib import Path
        >>> data = BlackWhite().load(Path("data"))
        >>> data.test.labels.tolist(), data.test.pixels[:, 0, 0, 0].tolist()
        ([0, 1, 0, 1], [0, 255, 0, 255])
    """

    official: ClassVar[str | None] = None
    """Identifies the content of a published dataset, by its published checksums, for example; None for other data."""
    classes: ClassVar[int] = 0
    """Number of classes of a published dataset; 0 if only the files tell."""
    nested: ClassVar[Nested] = {"unknowns": "datasets"}
    vectors: ClassVar[bool] = False
    """Whether samples are vectors, float32 (n, d, 1, 1), which cannot be augmented or corrupted as images can."""

    any_size: ClassVar[bool] = False
    """Whether `unknowns` may have images of another size, because what a network sees is made of images of any."""

    hold_out: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Classes excluded from training; their test samples count as unknown. The other classes are renumbered."""
    train_fraction: float = Field(default=1.0, gt=0, le=1)
    """Fraction of each class's training images to use."""
    imbalance: float = Field(default=1.0, ge=1)
    """Ratio of training images of the first class to those of the last; exponential in between (Cui 2019)."""
    shift: Shift | None = None
    """Corrupted copies of the test set, on which the model is also evaluated; training is not affected."""
    unknowns: SerializeAsAny[Dataset] | None = Field(default=None, exclude_if=lambda unknowns: unknowns is None)
    """Another data set, by name or with parameters, whose test samples count as unknown; training is not affected. Its
    samples have the same shape: images of one size, or vectors of one length. Left out of the cell's id if none."""

    @model_validator(mode="after")
    def _unknowns_are_others(self) -> Self:
        if self.unknowns is not None:
            self._check_unknowns(self._shown, self.unknowns)
        return self

    def _check_unknowns(self, known: Dataset, others: Dataset) -> None:
        usual = Dataset.model_fields
        if self.hold_out:
            raise ValueError("'hold_out' and 'unknowns' both say which samples are unknown: leave out one")
        if changed := [name for name in usual if getattr(others, name) != usual[name].default]:
            raise ValueError(
                f"'{changed[0]}' has no place in 'unknowns', of which all test samples are used: leave it out"
            )
        if known.vectors != others.vectors:
            found, wanted = ("vectors", "images") if others.vectors else ("images", "vectors")
            raise ValueError(f"'unknowns: {others.key}' has {found}, and '{known.key}' has {wanted}")
        if known._whose == others._whose or any({known.name, others.name} <= group for group in ALIKE):
            raise ValueError(f"'unknowns: {others.key}' has classes of '{known.key}', which are known: name other data")

    @property
    def _shown(self) -> Dataset:
        """The data set whose samples a network sees first."""
        return self

    @property
    def _whose(self) -> tuple[str, str | None]:
        """What tells apart data sets of other samples, however these are read."""
        return self.name, getattr(self, "path", None)

    @property
    def sources(self) -> tuple[Dataset, ...]:
        """The data sets that have to be here: that of the unknown samples, and this one."""
        return (self,) if self.unknowns is None else (self.unknowns, self)

    def with_unknown(self, data: TrainTest, data_dir: Path) -> TrainTest:
        """Both splits as `load` returned them, with the samples of `unknowns`, if there are any.

        Raises:
            MissingDataError: Their files are missing.
        """
        if self.unknowns is None or data.unknown is not None:
            return data
        return replace(data, unknown=self._unknown(self.unknowns, data_dir))

    def _unknown(self, unknowns: Dataset, data_dir: Path) -> Images:
        return unknowns.load(data_dir).test

    @property
    def relative_to(self) -> Path | None:
        """Where relative paths of the user's own files are looked for first; None for data without such paths."""
        return None

    def beside(self, folder: Path) -> Self:
        """This dataset, with relative paths of the user's own files looked for in a folder first.

        The folder is no part of the dataset's identity: content that is equal is equal wherever it is.
        """
        del folder
        return self

    def extent(self, labels: Labels | None = None) -> Extent | None:
        """How many images of which shape there are, before `hold_out` and its like; None if that is not known here.

        Args:
            labels: Those of both splits, for data of which only the files tell how many there are.
        """
        del labels
        return None

    @abstractmethod
    def load(self, data_dir: Path) -> TrainTest:
        """Read both splits into memory.

        Args:
            data_dir: Folder that holds (or receives) the dataset's files.

        Raises:
            MissingDataError: The files are missing and cannot be downloaded.
        """

    @abstractmethod
    def prepare(self, data_dir: Path) -> None:
        """Make sure that `load` will succeed: find the files, or download them once.

        Raises:
            MissingDataError: Neither is possible.
        """

    @property
    def is_published(self) -> bool:
        """Whether this is a published dataset, its `unknowns` included; never true for a class of another package."""
        own = self.official is not None and type(self).__module__.startswith(f"{__package__}.")
        return own and (self.unknowns is None or self.unknowns.is_published)

    @property
    def published_digest(self) -> str | None:
        """The digest of a published dataset, known without its files."""
        if not self.is_published:
            return None
        own = hashlib.sha256((self.official or "").encode()).hexdigest()
        return own if self.unknowns is None else digest_with_unknowns(own, self.unknowns.published_digest)

    def is_official(self, data_dir: Path) -> bool:
        """Whether the name alone determines the images.

        Args:
            data_dir: Folder that holds the dataset's files.

        Raises:
            MissingDataError: The files are missing, and are needed to tell whether they are the published ones.
        """
        del data_dir
        return self.is_published

    def digest(self, data_dir: Path) -> str:
        """64 hex digits that identify the data: they differ whenever the result of `load` differs.

        By default a hash of the files in `manifest`. If a dataset implements neither method, the arrays that it loads
        are hashed, on a machine that trains.

        Args:
            data_dir: Folder that holds the dataset's files.

        Raises:
            MissingDataError: The files are missing.
            NotImplementedError: The digest can only be computed from the arrays.
        """
        if self.published_digest is not None and self.is_official(data_dir):
            return self.published_digest
        if (files := self.manifest(data_dir)) is not None:
            return digest_of(files)
        raise NotImplementedError(data_dir)

    def manifest(self, data_dir: Path) -> dict[str, str] | None:
        """SHA-256 of each file that `load` reads, by file name; None if the dataset has no files.

        Args:
            data_dir: Folder that holds the dataset's files.

        Raises:
            MissingDataError: The files are missing.
        """
        del data_dir
        return None

    def origins(self, data_dir: Path) -> dict[str, Any]:
        """What a cell's provenance has of the data beyond their digest, such as the licence of weights; optional.

        Args:
            data_dir: Folder that holds the dataset's files.
        """
        del data_dir
        return {}

    def find(self, data_dir: Path) -> None:
        """Check that the files exist, without downloading, decoding or writing; `prepare` checks their content.

        Raises:
            MissingDataError: They are missing.
            NotImplementedError: This dataset cannot check.
        """
        raise NotImplementedError(data_dir)

    def labels(self, data_dir: Path) -> Labels:
        """The labels of both splits, as in `load`, but without reading any image; optional.

        Planning uses them, for example to check that there are enough images for a batch. Without this method, a
        launch loads the images to count them.

        Args:
            data_dir: Folder that holds the dataset's files.

        Raises:
            MissingDataError: The files are missing; UnusableDataError if they cannot be used as a dataset.
            NotImplementedError: This dataset cannot tell without loading.
        """
        raise NotImplementedError(data_dir)
