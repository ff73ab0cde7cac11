"""Somebody else's training code: a command, and the axes of its experiments, which are only names with parameters."""

from __future__ import annotations

import json
import string
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from trainers.backbones import Backbone
from trainers.catalogue import Axis, nearest
from trainers.datasets import Dataset, MissingDataError
from trainers.datasets.hashes import hashes
from trainers.losses import Loss
from trainers.plugin import Frozen, Plugin

if TYPE_CHECKING:
    from torch import Tensor

    from trainers.datasets import TrainTest
    from trainers.networks import Extractor, InputShape

AXES = ("loss", "backbone", "dataset")

PLACEHOLDERS: Mapping[str, str] = {
    "loss": "its name",
    "backbone": "its name",
    "dataset": "its name",
    "data": "the first of the dataset's `data` paths; empty where it has none",
    "seed": "the seed",
    "epochs": "`epochs` of the recipe, or of a tuning trial",
    "cell": "a JSON file with all of these, and with the parameters of loss, backbone and dataset",
    "out": "where to write the scores; the ending is `.parquet`, `.csv` or `.npz`, as in `{out}.csv`",
    "progress": 'where to append a line of JSON per epoch, such as `{"epoch": 1, "train_loss": 0.3}`',
    "checkpoint": "a folder that the next attempt finds as this one left it",
    "model": "where a model may be left, as ONNX",
    "cpus": "CPU cores of the cell, as many as threads should be used",
    "gpus": "GPUs of the cell",
}
"""What stands for what in a command."""


def placeholders(text: str) -> list[str]:
    """The placeholders in a word of a command.

    Raises:
        ValueError: It has a brace too many, or a conversion or a format behind a name.

    Examples:
        >>> from trainers.commands import placeholders
        >>> placeholders("--rate={loss.rate}/{seed}")
        ['loss.rate', 'seed']
    """
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        raise ValueError(f"'{text}' has a brace without its other half: write {{{{ and }}}} for braces") from None
    if odd := next((name for _, name, form, conversion in parts if form or conversion), None):
        raise ValueError(f"'{text}': a placeholder is a name alone, as in {{{odd}}}")
    return [name for _, name, _, _ in parts if name is not None]


def filled(text: str, values: Mapping[str, str]) -> str:
    """A word of a command with its placeholders replaced."""
    parts = string.Formatter().parse(text)
    return "".join(before + ("" if name is None else values[name]) for before, name, _, _ in parts)


class Trainer(Frozen):
    """The command that trains and tests one cell, instead of the program's own training loop."""

    command: tuple[str, ...] = Field(min_length=1)
    """The program and its arguments, one word each, with placeholders such as `{loss}`, `{seed}` and `{out}`. It runs
    in the experiment file's folder; `python` is the Python that runs the orchestrator. The words are part of the
    cell's id, as the recipe is."""
    environment: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], ...] = ()
    """Names of environment variables that it gets beside the usual ones (`PATH`, `HOME` and the like)."""
    disk: float = Field(default=20.0, gt=0)
    """GiB that a cell may write, temporary files and checkpoint together; a command that writes more is ended."""

    _folder: Path | None = PrivateAttr(default=None)
    _lines: tuple[str, ...] = PrivateAttr(default=())

    @field_validator("command")
    @classmethod
    def _placeholders_are_known(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        found = [(place, text) for place, word in enumerate(command) for text in _complaints(word)]
        if found:
            problems = [((place,), text) for place, text in found]
            text = " ".join(text for _, text in found)
            raise PydanticCustomError("nested", "{text}", {"text": text, "problems": problems})
        if not {"out", "cell"} & set(_names(command)):
            raise ValueError("'command' must say where the scores go: use {out}, or {cell}, whose JSON says it")
        return command

    @property
    def names(self) -> tuple[str, ...]:
        """The placeholders that the command uses."""
        return tuple(dict.fromkeys(_names(self.command)))

    @property
    def folder(self) -> Path:
        """Where the command runs: the folder of the experiment file."""
        return self._folder or Path.cwd()

    @property
    def relative_to(self) -> Path | None:
        """The folder of the experiment file, where it is known."""
        return self._folder

    def beside(self, folder: Path) -> Self:
        """This command, run in a folder. The folder is no part of a cell's identity."""
        placed = self.model_copy()
        placed._folder = folder  # noqa: SLF001  # a copy of itself
        return placed

    def written(self, lines: Sequence[str]) -> Self:
        """This command, of which each word is written at a `FILE:LINE`."""
        placed = self.model_copy()
        placed._lines = tuple(lines)  # noqa: SLF001  # a copy of itself
        return placed

    def line(self, place: int) -> str:
        """`FILE:LINE: ` of a word; empty where it is not known."""
        return f"{self._lines[place]}: " if self._lines else ""


def _names(command: Collection[str]) -> Iterator[str]:
    for word in command:
        yield from placeholders(word)


def _complaints(word: str) -> Iterator[str]:
    try:
        names = placeholders(word)
    except ValueError as error:
        yield f"{error}."
        return
    for name in names:
        axis, dot, parameter = name.partition(".")
        if name in PLACEHOLDERS or (dot and parameter and axis in AXES):
            continue
        known = ", ".join([*PLACEHOLDERS, *(f"{axis}.PARAMETER" for axis in AXES)])
        yield f"No placeholder is called '{name}'.{nearest(name, [*PLACEHOLDERS])} Known: {known}."


OPEN = ConfigDict(extra="allow")
"""Any parameter may be given; stated in each class, because the base that is named last decides."""


class _Named(Plugin):
    """A name with any parameters, of which only the command knows what they mean."""

    called: str = Field(alias="name", min_length=1)
    """The name in the experiment file."""

    @property
    def key(self) -> str:
        """The name in the experiment file."""
        return self.called

    @property
    def parameters(self) -> dict[str, Any]:
        """What the file gives: what the base class has by default means nothing to a command."""
        fields = type(self).model_fields
        given = {name: getattr(self, name) for name, field in fields.items() if getattr(self, name) != field.default}
        return {"name": given.pop("called"), **given, **(self.model_extra or {})}

    @model_validator(mode="before")
    @classmethod
    def _are_json(cls, values: Any) -> Any:
        for name, value in values.items() if isinstance(values, dict) else ():
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError):
                raise ValueError(f"'{name}' must be a value that JSON has too, and a finite number") from None
        return values

    @model_serializer(mode="wrap")
    def _with_key(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        known = fields(self)
        return {name: known.get(name, value) for name, value in self.parameters.items()}


class NamedLoss(_Named, Loss):
    """A loss, or whatever is compared, by its name."""

    model_config = OPEN

    name = "named"

    def per_sample(self, logits: Tensor, labels: Tensor) -> NoReturn:
        """Only the command computes it."""
        del logits, labels
        raise NotImplementedError


class NamedBackbone(_Named, Backbone):
    """A network by its name."""

    model_config = OPEN

    name = "named"

    def build(self, shape: InputShape) -> Extractor:
        """Only the command builds it."""
        del shape
        raise NotImplementedError


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class NamedDataset(_Named, Dataset):
    """Data by their name; files that are stated as `data` are part of a cell's id by what they hold."""

    model_config = OPEN

    name = "named"

    data: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = ()
    """Files and folders that the command reads, relative to the experiment file. Without them, nobody knows whether two
    cells were trained on the same data."""

    _folder: Path | None = PrivateAttr(default=None)

    @field_validator("unknowns", mode="before")
    @classmethod
    def _nothing_is_unknown(cls, value: Any) -> Any:
        if value is not None:
            raise ValueError("only the program's own training loop knows 'unknowns': call the parameter something else")
        return value

    @property
    def relative_to(self) -> Path | None:
        """Where relative paths are looked for first."""
        return self._folder if self.data else None

    def beside(self, folder: Path) -> Self:
        """These data, with relative paths looked for in this folder first."""
        placed = self.model_copy()
        placed._folder = folder  # noqa: SLF001  # a copy of itself
        return placed

    @property
    def is_published(self) -> bool:
        """Whether there is nothing to look at."""
        return not self.data

    @property
    def published_digest(self) -> None:
        """Nothing is known of data of which only the command knows."""
        return

    def load(self, data_dir: Path) -> TrainTest:
        """Only the command reads them.

        Raises:
            MissingDataError: Always.
        """
        del data_dir
        raise MissingDataError(f"Only the command knows what the data of '{self.called}' are.")

    def prepare(self, data_dir: Path) -> None:
        """Check that the files exist.

        Raises:
            MissingDataError: One does not.
        """
        self.places(data_dir)

    def find(self, data_dir: Path) -> None:
        """As `prepare`."""
        self.places(data_dir)

    def places(self, data_dir: Path) -> list[Path]:
        """Where the files and folders are.

        Raises:
            MissingDataError: One is missing.
        """
        roots = [root for root in (self._folder, data_dir) if root is not None]
        found = list[Path]()
        for path in self.data:
            places = [root / Path(path).expanduser() for root in roots]
            there = next((place for place in places if place.exists()), None)
            if there is None:
                looked = " or ".join(map(str, dict.fromkeys(places)))
                raise MissingDataError(f"No data for '{self.called}': there is neither file nor folder {looked}.")
            found.append(there)
        return found

    def manifest(self, data_dir: Path) -> dict[str, str]:
        """SHA-256 of each file.

        Raises:
            MissingDataError: A file is missing.
        """
        found = dict[str, str]()
        for path, place in zip(self.data, self.places(data_dir), strict=True):
            if place.is_dir():
                names = sorted(file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file())
                found |= {f"{path}/{name}": sha for name, sha in hashes(place, names, data_dir).items()}
            else:
                found[path] = hashes(place.parent, [place.name], data_dir)[place.name]
        return found


NAMED: Mapping[Axis, type[NamedLoss | NamedBackbone | NamedDataset]] = {
    "losses": NamedLoss,
    "backbones": NamedBackbone,
    "datasets": NamedDataset,
}
"""What stands in place of the catalogue's plug-ins where a command trains."""


def named(axis: Axis, value: Any) -> Any:
    """An entry of an axis as a name with parameters; what is none already is left to the field's own check."""
    if isinstance(value, Plugin):
        return value
    return NAMED[axis].model_validate({"name": value} if isinstance(value, str) else value)
