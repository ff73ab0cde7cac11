"""Takes the cells of an exported folder into a workspace."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import DamagedFileError, OrchestratorError
from orchestrator.records.files import cell_file, left_files, origin, splits
from orchestrator.records.files.checksums import SUMS, altered, read_sums, sha256
from orchestrator.records.files.evaluations import Evaluations, Whole
from orchestrator.records.files.soundness import check
from orchestrator.records.files.storage import Storage


@dataclass(frozen=True)
class Imported:
    """What became of the cells of a folder; each of the problems is a sentence."""

    taken: tuple[str, ...]
    """Ids of cells that are done here now."""
    present: tuple[str, ...]
    """Ids of cells that were done here with the same file."""
    problems: tuple[str, ...]


def import_(folder: Path, evaluations: Evaluations) -> Imported:
    """Put the cells of an exported folder beside one's own; nothing that is there is overwritten.

    What cannot be taken is named, and the others are taken. What was taken is noted, whatever stops this.

    Raises:
        RequestError: The folder is not an exported one.
    """
    sums = read_sums(folder)
    problems = [*altered(folder, sums)]
    taken = list[str]()
    present = list[str]()
    seals = dict[str, str]()
    source = Evaluations(folder / "evaluations")
    own = _OwnSplits(evaluations)
    try:
        for name, cell in source.cells():
            listed = sums.get(f"evaluations/{name}")
            if listed is None:
                problems.append(f"{source.folder / name} is not in {SUMS} and is left out.")
            elif listed == sha256(source.storage, name):
                try:
                    seal = _take(name, source, evaluations, own)
                except OrchestratorError as error:
                    problems.append(str(error))
                except Exception as error:  # noqa: BLE001 - whatever a stranger's file does, the others are taken
                    problems.append(f"{source.folder / name} cannot be taken ({type(error).__name__}: {error}).")
                else:
                    (present if seal is None else taken).append(cell)
                    seals |= {} if seal is None else {cell: seal}
                    problems += _take_left(name, source, evaluations, sums)
    finally:
        if seals:
            origin.note_import(evaluations.folder.parent, str(folder.resolve()), _made_by(folder), seals)
    return Imported(tuple(taken), tuple(present), tuple(problems))


def _take_left(name: str, source: Evaluations, target: Evaluations, sums: Mapping[str, str]) -> Iterator[str]:
    """Take over what the command of a cell that is here now printed, and the model that it left."""
    there, here = (Storage(each.folder.parent) for each in (source, target))
    for _, footer in target.footers([name]):
        left = footer.content["provenance"].get("model") or {}
        yield from left_files.take(name, left.get("sha256"), there, sums, here)


def _made_by(folder: Path) -> dict[str, Any]:
    """What an exported folder tells of the code that made it."""
    try:
        return dict(json.loads((folder / "provenance.json").read_bytes())["export"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


class _OwnSplits:
    """The test splits of the cells that were trained, or rerun with the same numbers, in a workspace."""

    def __init__(self, evaluations: Evaluations) -> None:
        self._evaluations = evaluations
        self._origins = origin.Origins.of(evaluations.folder.parent)
        self._known: dict[str, tuple[int, str] | None] = {}

    def check(self, theirs: Whole) -> None:
        """Compare the samples and labels of a cell's rows with those of one's own cells of the same data.

        Raises:
            DamagedFileError: They are others.
        """
        key = splits.shared(theirs.footer.content["recipe"])
        if key is None or not theirs.rows.num_rows:
            return
        if key not in self._known:
            self._known[key] = self._find(key, theirs.footer.content["recipe"]["dataset"]["name"])
        own = self._known[key]
        split = splits.of_rows(theirs.rows)
        if own and own[1] != split:
            raise DamagedFileError(
                f"{theirs.footer.path} has other samples or labels in its {theirs.rows.num_rows} test rows than the "
                f"cells of the same data that were trained or rerun here, which have {own[0]}."
            )

    def _find(self, key: str, dataset: str) -> tuple[int, str] | None:
        here = f"{cell_file.partition(dataset)}/"
        for name, footer in self._evaluations.footers(
            name for name in self._evaluations.names() if name.startswith(here)
        ):
            is_own = self._origins.origin(footer.seal, footer.signed) != "unverified"
            if is_own and footer.content["samples"] and splits.shared(footer.content["recipe"]) == key:
                with suppress(DamagedFileError, FileNotFoundError):
                    rows = self._evaluations.checked(name, validation=False).rows
                    return rows.num_rows, splits.of_rows(rows)
        return None


def _take(name: str, source: Evaluations, target: Evaluations, own: _OwnSplits) -> str | None:
    """Copy a cell's file, and tell its seal; None where the same is there.

    Raises:
        DamagedFileError: The file, or the one that is there, is damaged, or they differ; or it has other test samples.
    """
    check(theirs := source.checked(name))
    own.check(theirs)
    try:
        ours = target.checked(name)
    except FileNotFoundError:
        target.take(name, theirs)
        return theirs.footer.seal or ""
    if ours.file != theirs.file:
        scores = "the same scores" if ours.rows.equals(theirs.rows) else "other scores"
        raise DamagedFileError(
            f"{target.folder / name} is there already, from another training with {scores}, and stays as it is."
        )
    return None
