"""The user's own images in folders, one folder per class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from trainers.datasets import MissingDataError, grouped
from trainers.datasets.decoded import Splits
from trainers.datasets.folders import OwnFolders, alike, cautions, faults_of_classes, labelled, nearly, unreadable
from trainers.datasets.hashes import hashes
from trainers.datasets.own import Layout
from trainers.datasets.remarks import few
from trainers.datasets.scan import scan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class ImageFolder(OwnFolders):
    """Your own images: PATH/train/CLASS/IMAGE and PATH/test/CLASS/IMAGE, with the same classes in both.

    Or PATH/CLASS/IMAGE with `test_fraction`. Images in one sub-folder of a class, PATH/CLASS/PART/IMAGE, then stay on
    one side of the split, as do those of another class in a sub-folder of that name, and identical files.
    """

    name = "image_folder"

    test_fraction: float | None = Field(default=None, gt=0, lt=1, exclude_if=lambda share: share is None)
    """The fraction of each class to test on, where the folder has no train and test."""
    test_seed: int = Field(default=0, ge=0, exclude_if=lambda seed: seed == 0)
    """Another number tests on other images. The seeds of an experiment do not change the test images."""
    group: Literal["folder", "image"] = Field(default="folder", exclude_if=lambda group: group == "folder")
    """What `test_fraction` keeps on one side: the images of a sub-folder, or only each image for itself."""

    def _expected(self, where: str) -> str:
        if self.test_fraction is None:
            return super()._expected(where)
        return f"expected CLASS/IMAGE in {where}, because 'test_fraction' is given."

    def _look(self, data_dir: Path) -> Layout:
        if self.test_fraction is None:
            return super()._look(data_dir)
        root = self._existing(data_dir)
        found = scan(root)
        scans = {"": found}
        wrong = list(unreadable({str(root): found}))
        if not found.names:
            return Layout(None, [self._absent(str(root), *nearly(root, scans), *wrong)])
        if set(found.classes) == set(self.parts):
            text = f"{root} is divided into {' and '.join(self.parts)} already: leave out 'test_fraction'."
            return Layout(None, [text, *wrong])
        wrong += [*faults_of_classes(root, found), *alike({name.partition("/")[0] for name in found.names})]
        splits, apart = self._divided(root, found.names, data_dir, self.test_fraction)
        return Layout(splits, [*wrong, *apart], list(cautions(scans)))

    def _divided(self, root: Path, names: Sequence[str], data_dir: Path, share: float) -> tuple[Splits, list[str]]:
        """Both splits, and why a class is not in both."""
        classes = sorted({name.partition("/")[0] for name in names})
        whole = labelled(root, names, {name: number for number, name in enumerate(classes)})
        try:
            digests = hashes(root, names, data_dir)
        except MissingDataError:  # whoever looks at the images says which
            digests = {name: name for name in names}
        own = [_group(name) if self.group == "folder" else name for name in names]
        groups = grouped.merged(own, [digests[name] for name in names])
        train, test = grouped.divided(whole.labels, groups, share, self.test_seed)
        together = [grouped.numbered([groups[row] for row in rows.tolist()]) for rows in (train, test)]
        splits = Splits(whole.take(train), whole.take(test), len(classes), tuple(classes), *together)
        tested = set(whole.labels[test].tolist())
        lost = [name for number, name in enumerate(classes) if number not in tested]
        return splits, _undivided(lost, names, groups)


def _group(name: str) -> str:
    """What an image belongs to: its sub-folder, whichever class that is of; an image of none belongs to itself."""
    inner = name.partition("/")[2].rpartition("/")[0]
    return f"{inner}/" if inner else name


def _undivided(lost: Sequence[str], names: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Why classes have no image to test on."""
    found: list[str] = []
    for label in lost:
        mine = [group for name, group in zip(names, groups, strict=True) if name.partition("/")[0] == label]
        if len(mine) == 1:
            found.append(f"Class '{label}' has 1 image; at least 2 are needed, one of them to test on.")
        else:
            found.append(
                f"All {len(mine)} images of class '{label}' stay on one side, because they belong together "
                f"({few(sorted(set(mine)))}). Sub-folders are divided by 'group: image'; equal files never are."
            )
    return found
