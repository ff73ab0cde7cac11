"""The truth: one immutable Parquet file a cell. The only door to pyarrow, with `cell_file`, `results` and `storage`.

A file is enough, alone, to rebuild everything else. A diverged cell leaves one without rows.
Beside the folder lies `validation`, with the rows of the validation split under the same names; and `certification`,
with those of test images that were kept apart, where there are any.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from orchestrator.errors import DamagedFileError, WorkspaceError
from orchestrator.experiment.plan import AT, Cell, Plan, original
from orchestrator.provenance.environment import Environment
from orchestrator.records.files import cell_file
from orchestrator.records.files.cell_file import DAMAGED, Account, cell_in, name_of
from orchestrator.records.files.footer import Footer, parsed
from orchestrator.records.files.origin import ensure_secret
from orchestrator.records.files.storage import Storage, Stored, in_parallel
from orchestrator.workspace import Location
from trainers.evaluation import Evaluation
from trainers.recipe import Recipe

_FOOTER = 2**16
"""Bytes at the end of a file that nearly always hold its whole footer."""

_UNSEEN = re.compile(rf"(^|/)\.[^/]*$|{re.escape(DAMAGED)}$")


@dataclass(frozen=True)
class Whole:
    """All that is kept of a cell, checked."""

    file: bytes
    footer: Footer
    rows: pa.Table
    validation: bytes | None
    """The file of the validation rows."""
    validation_rows: pa.Table | None
    certification: bytes | None = None
    """The file of the rows of test images that were kept apart."""
    certification_rows: pa.Table | None = None


@dataclass(frozen=True)
class Evaluations:
    """The per-cell files below one place, and those of validation rows beside it."""

    folder: Location

    @property
    def storage(self) -> Storage:
        """Where their bytes lie."""
        return Storage(self.folder)

    @property
    def validations(self) -> Storage:
        """Where the files of validation rows lie."""
        return Storage(self.folder.parent / "validation")

    @property
    def certifications(self) -> Storage:
        """Where the rows of test images lie that were kept apart."""
        return Storage(self.folder.parent / "certification")

    def path(self, recipe: Recipe, cell_id: str) -> Location:
        """Where a cell's file belongs, partitioned so that dataset readers see the factors."""
        return self.folder / _name(recipe, cell_id)

    def name(self, cell: Cell) -> str:
        """The name of a cell's file below the folder."""
        return _name(cell.recipe, cell.id)

    def names(self) -> list[str]:
        """The names of all cells' files."""
        return [name for name, _ in self.cells()]

    def cells(self) -> list[tuple[str, str]]:
        """These names, and with each the id of the cell or replica."""
        return [(file.name, cell) for file in self.storage.list() if (cell := cell_in(file.name))]

    def files(self) -> dict[str, Stored]:
        """The files of all cells and replicas that are done, by id."""
        return {cell: file for file in self.storage.list() if (cell := cell_in(file.name))}

    def stamps(self, names: Iterable[str]) -> dict[str, str]:
        """What differs, by the name of a cell's file, whenever that or the file of its validation rows may differ.

        Args:
            names: Of cells' files; the stamps are of all files in the folders of these.
        """
        folders = sorted({name.rpartition("/")[0] for name in names})
        beside = {file.name: file.stamp for folder in folders for file in self.validations.list(folder)}
        files = (file for folder in folders for file in self.storage.list(folder))
        return {file.name: f"{file.stamp}, {beside.get(file.name, '')}" for file in files}

    def origin(self, cell: Cell) -> Environment | None:
        """What trained a cell; None where there is no file, or a damaged one."""
        try:
            return Environment.of(self.content(cell)["provenance"])
        except (FileNotFoundError, DamagedFileError):
            return None

    def environment(self, cell: Cell) -> str | None:
        """The id of that environment."""
        found = self.origin(cell)
        return found and found.id

    def ids(self, *, replicas: bool = False) -> set[str]:
        """The ids of all cells that are done, from the names of the files alone; with `replicas`, theirs as well."""
        found = set(self.files())
        return found if replicas else {cell for cell in found if cell == original(cell)}

    def replicas(self, cells: Iterable[Cell]) -> list[Cell]:
        """The replicas that are there of cells that are done, in the order of the cells."""
        known = defaultdict[str, list[str]](list)
        done = self.ids(replicas=True)
        for found in sorted(done):
            cell_id, _, environment = found.partition(AT)
            if environment and cell_id in done:
                known[cell_id].append(environment)
        return [cell.again_in(environment) for cell in cells for environment in known.get(cell.id, ())]

    def with_replicas(self, plan: Plan) -> Plan:
        """The plan, and behind its cells the replicas that are there."""
        return Plan(plan.experiment, (*plan.cells, *self.replicas(plan.cells)))

    def publish(
        self,
        recipe: Recipe,
        account: Account,
        evaluation: Evaluation | None,
        validation: Evaluation | None = None,
        certification: Evaluation | None = None,
    ) -> Location:
        """Write a cell's file, whole or not at all; a second writer replaces it with its equal.

        Args:
            recipe: The cell's.
            account: What to say of it; which scores are kept, and the checksums of the files beside it, are filled in.
            evaluation: The test rows; None of a cell that diverged.
            validation: The validation rows. They are written first, so that no cell is done without them.
            certification: The rows of test images that are kept apart, if any are. They are written first, too.
        """
        name = _name(recipe, account.cell_id)
        rows = None if validation is None else cell_file.encoded_rows(account.cell_id, "validation", validation)
        digest = None if rows is None else hashlib.sha256(rows).hexdigest()
        account = replace(account, scores=cell_file.kept(evaluation), validation_sha256=digest)
        apart = None
        if certification is not None:
            apart = cell_file.encoded_rows(account.cell_id, "certification", certification)
            digest = hashlib.sha256(apart).hexdigest()
            account = replace(account, version=cell_file.VERSION, certification_sha256=digest)
        if evaluation is not None and (groups := cell_file.group_digest(evaluation.group)) is not None:
            account = replace(account, version=cell_file.VERSION, group_sha256=groups)
        self._put(name, cell_file.encoded(account, evaluation, ensure_secret(self.folder.parent)), rows, apart)
        return self.folder / name

    def take(self, name: str, whole: Whole) -> None:
        """Put a cell's files here as they are, under a name below the folder."""
        self._put(name, whole.file, whole.validation, whole.certification)

    def _put(self, name: str, file: bytes, validation: bytes | None, certification: bytes | None) -> None:
        if validation is not None:
            self.validations.write(name, validation)
        if certification is not None:
            self.certifications.write(name, certification)
        self.storage.write(name, file)

    def account(self, cell: Cell) -> Account:
        """The account of a cell that is done, from its file's footer.

        Raises:
            FileNotFoundError: The cell is not done.
            DamagedFileError: The file is not an orchestrator's, or another cell's.
            NewerFormatError: A newer version of this program wrote it.
            WorkspaceError: It cannot be opened at present.

        """
        return _footer(self.storage, self.name(cell)).of(cell).account()

    def content(self, cell: Cell) -> dict[str, Any]:
        """The account as JSON has it, in a fraction of the time; raises as `account` does."""
        return self.footer(cell).content

    def footer(self, cell: Cell) -> Footer:
        """What a cell's file says of itself; raises as `account` does."""
        return _footer(self.storage, self.name(cell)).of(cell)

    def evaluation(self, cell: Cell, *, scores: bool = True) -> Evaluation:
        """The per-sample rows of a cell that is done; raises as `account` does.

        Args:
            cell: The cell.
            scores: Whether to hold its scores in memory, too, which take more than all else.
        """
        content = self._bytes(name := self.name(cell))
        return cell_file.evaluation_of(parsed(content, self.folder / name).of(cell).table(content), scores=scores)

    def validation(self, cell: Cell) -> Evaluation | None:
        """The rows of the validation split of a cell that is done; None where it had none, or kept none.

        Raises:
            DamagedFileError: They are missing, or not those that its file speaks of; otherwise as `account` does.

        """
        return self._rows_beside(cell, "validation")

    def certification(self, cell: Cell) -> Evaluation | None:
        """The rows of the test images that were kept apart; None where none were.

        Raises:
            DamagedFileError: They are missing, or not those that its file speaks of; otherwise as `account` does.

        """
        return self._rows_beside(cell, "certification")

    def _rows_beside(self, cell: Cell, split: cell_file.Beside) -> Evaluation | None:
        name = self.name(cell)
        table, _ = self._beside(split, name, _footer(self.storage, name).of(cell))
        return None if table is None else cell_file.evaluation_of(table)

    def checked(self, name: str, *, validation: bool = True) -> Whole:
        """All that is kept of a cell, by its file's name below the folder; all that it holds is checked.

        Args:
            name: Of the cell's file.
            validation: Whether to read the rows beside it, too.

        Raises:
            DamagedFileError: The file is not an orchestrator's, or not whole; a LostRowsError where only the rows
                beside it are missing or others; otherwise as `account` does.

        """
        content = self._bytes(name)
        footer = parsed(content, self.folder / name).named(name)
        rows = footer.table(content)
        if not validation:
            return Whole(content, footer, rows, None, None)
        table, beside = self._beside("validation", name, footer)
        table_apart, apart = self._beside("certification", name, footer)
        return Whole(content, footer, rows, beside, table, apart, table_apart)

    def _bytes(self, name: str) -> bytes:
        return _read(self.folder / name, lambda: self.storage.read(name))

    def _beside(self, split: cell_file.Beside, name: str, footer: Footer) -> tuple[pa.Table | None, bytes | None]:
        """The rows of another split, and the file that holds them."""
        storage = self.validations if split == "validation" else self.certifications
        path = storage.root / name
        content = None
        if footer.content[f"{split}_sha256"] is not None:
            with suppress(FileNotFoundError):  # the footer says what is wrong with that
                content = _read(path, lambda: storage.read(name))
        return footer.beside(split, content, path), content

    def contents(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The accounts in these files as JSON has them; files that are damaged or gone are passed over."""
        told = in_parallel(self._content, names, self.storage.readers)
        return (content for content in told if content is not None)

    def footers(self, names: Iterable[str]) -> Iterator[tuple[str, Footer]]:
        """What these files say of themselves, one after the other; those damaged or gone are passed over."""
        for name in names:
            with suppress(DamagedFileError, FileNotFoundError):
                yield name, _footer(self.storage, name).named(name)

    def _content(self, name: str) -> dict[str, Any] | None:
        try:
            return _footer(self.storage, name).named(name).content
        except (DamagedFileError, FileNotFoundError):
            return None

    def accounts(self) -> Iterator[tuple[Location, Account | DamagedFileError]]:
        """Every file that is neither hidden nor set aside, and its account, or why it is no cell's.

        Raises:
            NewerFormatError: A newer version of this program wrote one.
            WorkspaceError: One cannot be opened at present.

        """
        names = [file.name for file in self.storage.list() if not _UNSEEN.search(file.name)]
        yield from in_parallel(self._told, names, self.storage.readers)

    def _told(self, name: str) -> tuple[Location, Account | DamagedFileError]:
        path = self.folder / name
        try:
            return path, _footer(self.storage, name).named(name).account()
        except DamagedFileError as error:
            return path, error
        except FileNotFoundError:  # somebody has just set it aside
            return path, DamagedFileError(f"{path} is gone.")


def set_aside(path: Location) -> Location:
    """Rename a file that cannot be trusted, so that its cell counts as missing and a person may look at it.

    What begins with `_` is passed over by readers of whole folders, as pyarrow and pandas are.
    """
    aside = f"_{path.name.removesuffix('.parquet').removesuffix('.trial').removeprefix('_')}{DAMAGED}"
    Storage(path.parent).move(path.name, aside)
    return path.parent / aside


def read_account(path: Location) -> Account:
    """The account in one file's footer; raises as `Evaluations.account` does."""
    return _footer(Storage(path.parent), path.name).account()


def _name(recipe: Recipe, cell_id: str) -> str:
    axes = {"dataset": recipe.dataset, "backbone": recipe.backbone, "loss": recipe.loss}
    names: dict[str, Any] = {axis: {"name": plugin.key} for axis, plugin in axes.items()}
    return name_of(names | {"scored_on": recipe.scored_on}, cell_id)


def _footer(storage: Storage, name: str) -> Footer:
    return parsed(footer_bytes(storage, name), storage.root / name)


def footer_bytes(storage: Storage, name: str) -> bytes:
    """The last bytes of a Parquet file, with its whole footer.

    Raises:
        FileNotFoundError: There is no such file.
        WorkspaceError: It cannot be read at present.
    """
    path = storage.root / name
    end = _read(path, lambda: storage.tail(name, _FOOTER))
    size = int.from_bytes(end[-8:-4], "little") + 8
    return _read(path, lambda: storage.tail(name, size)) if size > len(end) == _FOOTER else end


def _read(path: Location, read: Callable[[], bytes | None]) -> bytes:
    """What a storage has. Its faults may pass, and say nothing of the file."""
    try:
        content = read()
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be read now ({error}).") from error
    if content is None:
        raise FileNotFoundError(path)
    return content
