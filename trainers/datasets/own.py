"""What datasets of the user's own images share: where they are, how they are read, and what is wrong with them."""

from __future__ import annotations

import difflib
import os
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

from pydantic import Field, PrivateAttr, field_validator

from trainers.datasets import Labels, MissingDataError, UnreadableHereError, UnusableDataError, remarks
from trainers.datasets.content import READING
from trainers.datasets.decoded import Decoded, Encoded, Splits, printable
from trainers.datasets.inspection import Inspection, in_use, inspect
from trainers.datasets.pictures import Levels, Reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Layout(NamedTuple):
    """How the images of both splits lie in files, and what is to be said of that."""

    splits: Splits | None
    """None where there are no images to look at."""
    faults: Sequence[str] = ()
    """Why they cannot be used, in sentences."""
    cautions: Sequence[str] = ()
    """What may be wrong although they can be used, in sentences."""


class Own(Decoded, ABC):
    """The user's own images, in any folder."""

    path: str = Field(min_length=1)
    """The folder, absolute or relative to the experiment file; else relative to the data folder. The same relative path
    gives the same cell ids on every machine."""
    size: int = Field(default=64, ge=1)
    """Side of the square images, in pixels."""
    range: Levels | None = Field(default=None, exclude_if=lambda levels: levels is None)
    """The levels that become black and white, such as [0, 4095], in images with more than 8 bits per pixel. Default:
    all levels of as many bits as the images use. 32-bit images need it."""

    origin: ClassVar[str]
    """What else to know of the files."""

    _folder: Path | None = PrivateAttr(default=None)

    @field_validator("range")
    @classmethod
    def _range_rises(cls, levels: Levels | None) -> Levels | None:
        if levels is not None and levels[0] >= levels[1]:
            raise ValueError(f"range is [{levels[0]:g}, {levels[1]:g}]; the second level must be above the first")
        return levels

    @property
    def relative_to(self) -> Path | None:
        """Where a relative `path` is looked for first."""
        return self._folder

    def beside(self, folder: Path) -> Self:
        """This dataset, with a relative `path` looked for in this folder first."""
        placed = self.model_copy()
        placed._folder = folder  # noqa: SLF001  # a copy of itself
        return placed

    def prepare(self, data_dir: Path) -> None:
        """Look at all images, so that everything that is wrong is told at once, and decode them.

        Raises:
            MissingDataError: As `labels` and `load`.
        """
        self.labels(data_dir)
        self.load(data_dir)

    def labels(self, data_dir: Path) -> Labels:
        """The labels of both splits, and what their images are like; each image is looked at once.

        Raises:
            MissingDataError: There is no such folder; UnusableDataError with all that is wrong with the images.
            ValueError: There are fewer images than `train_size` or `test_size`.
        """
        layout = self._look(data_dir)
        splits = self._splits_in(layout)
        wrong = list(layout.faults)
        parts = self._parts(splits, layout.faults)
        seen = dict[str, Inspection]()
        for part, images in parts.items():
            try:
                seen[part] = inspect(images, data_dir)
            except UnreadableHereError:
                raise
            except MissingDataError as error:
                wrong += _closed(images) or [str(error)]
            else:
                wrong += remarks.faults(images, seen[part], self.range)
        if len(seen) == len(parts):
            wrong += remarks.leaks(parts, data_dir)
        if wrong:
            raise UnusableDataError(self._refusal(data_dir, wrong))
        known = self._labels_of(splits)
        cautions = [*layout.cautions, *remarks.cautions(known, parts, seen.values(), self.channels, data_dir)]
        if self.range and not any(each.deep for each in seen.values()):
            cautions.append("'range' has no effect: no image has more than 8 bits per pixel.")
        facts = remarks.facts(known, seen.values(), self.size, self.range)
        return replace(known, facts=tuple(facts), cautions=tuple(cautions))

    def seen(self, data_dir: Path) -> list[Inspection]:
        """What the images of each split are like; raises as `labels` does."""
        return [inspect(images, data_dir) for _, images in self._chosen(self._splits(data_dir))]

    def manifest(self, data_dir: Path) -> dict[str, str]:
        """As of all encoded images; where EXIF data or 12 bits change how pixels are read, `reading` says so.

        Raises:
            MissingDataError: Files are missing.
            ValueError: There are fewer images than `train_size` or `test_size`.
        """
        chosen = dict(self._chosen(self._splits(data_dir)))
        reading = self._reading(chosen.values(), data_dir)
        levels = f"levels {reading.levels[0]:g} to {reading.levels[1]:g}" if reading.levels and not self.range else ""
        told = ["upright"] * reading.upright + [levels] * bool(levels)
        return self._files_of(chosen, data_dir) | ({READING: ", ".join(told)} if told else {})

    def _reading(self, splits: Iterable[Encoded], data_dir: Path) -> Reading:
        """Upright, and by the stated range or by as many bits as the images of both splits use."""
        seen = [inspect(images, data_dir) for images in splits]
        levels = self.range if any(each.deep for each in seen) else None
        if levels is None and not any(each.unranged for each in seen):
            levels = in_use(seen)
        return Reading(levels, any(each.turned for each in seen))

    def _parts(self, splits: Splits, faults: Sequence[str]) -> dict[str, Encoded]:
        """The images to look at: those that would be used, or all if something is wrong with their places."""
        if not faults:
            return dict(self._chosen(splits))
        both = {"train": splits.train, "test": splits.test}
        return {part: images for part, images in both.items() if len(images.labels)}

    def _splits(self, data_dir: Path) -> Splits:
        layout = self._look(data_dir)
        splits = self._splits_in(layout)
        if layout.faults:
            raise UnusableDataError(self._refusal(data_dir, layout.faults))
        return splits

    def _splits_in(self, layout: Layout) -> Splits:
        if layout.splits is None:
            raise UnusableDataError(" ".join(layout.faults))
        return layout.splits

    @abstractmethod
    def _look(self, data_dir: Path) -> Layout:
        """Find all images of both splits, in an order that never changes.

        Raises:
            MissingDataError: There is no such folder.
        """

    def _refusal(self, data_dir: Path, wrong: Sequence[str]) -> str:
        """One message with everything that is wrong."""
        if len(wrong) == 1:
            return f"The images of '{self.name}' in {self._root(data_dir)} cannot be used. {wrong[0]}"
        listed = "".join(f"\n- {sentence}" for sentence in wrong)
        return f"The images of '{self.name}' in {self._root(data_dir)} cannot be used:{listed}"

    def _existing(self, data_dir: Path) -> Path:
        """The folder.

        Raises:
            MissingDataError: There is none; UnusableDataError if there is something else.
        """
        root = self._root(data_dir)
        if root.is_dir():
            return root
        if root.exists():
            raise UnusableDataError(f"No data for '{self.name}': {root} is a file. Unpack it, and name the folder.")
        places = self._places(data_dir)
        others = sorted({entry.name for place in places if place.parent.is_dir() for entry in place.parent.iterdir()})
        close = difflib.get_close_matches(root.name, others, n=1)
        near = f" Did you mean '{close[0]}'?" if close else ""
        raise MissingDataError(
            self._absent(
                " or ".join(map(str, places)),
                f"There is no such folder.{near} A relative 'path' begins at the experiment file, or else at the data "
                "folder (--data-dir).",
            )
        )

    def _absent(self, where: str, *found: str) -> str:
        """What was looked for, and what was found instead."""
        return " ".join([f"No data for '{self.name}': {self._expected(where)}", *found, self.origin])

    @abstractmethod
    def _expected(self, where: str) -> str:
        """Which files are looked for, in a sentence."""

    def _root(self, data_dir: Path) -> Path:
        """The folder, or the last place where it may be."""
        places = self._places(data_dir)
        return next((place for place in places if place.exists()), places[-1])

    def _places(self, data_dir: Path) -> list[Path]:
        """Where the folder may be, best first; an absolute path is one place."""
        path = Path(self.path).expanduser()
        return list(dict.fromkeys(root / path for root in (self._folder, data_dir) if root is not None))


def _closed(images: Encoded) -> list[str]:
    """Which files the user may not read, in a sentence."""
    closed = [name for name in images.files if not os.access(images.folder / name, os.R_OK)]
    if not closed:
        return []
    named = remarks.few([printable(name) for name in closed])
    return [f"The right to read is missing for {remarks.counted(len(closed), 'file')} in {images.folder}: {named}."]
