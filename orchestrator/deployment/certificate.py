"""The certificate of a deployed model: what is promised, on what evidence, and what certified images look like."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from orchestrator.errors import RequestError
from orchestrator.experiment.operation import Operation
from trainers.plugin import Frozen

FORMAT = 1
"""Raise this when an older program would misread a certificate."""

VALID = timedelta(days=365)
"""After this time a certificate expires, whatever the checks said: cameras, light and parts age."""

MODEL = "model.onnx"
CERTIFICATE = "certificate.json"
PAGE = "certificate.html"
CARD = "README.md"
EXAMPLE = "serve.py"
CHECKS = "checks.jsonl"
PICTURE = "checks.svg"


class ClassGroup(Frozen):
    """Classes whose units stand for each other."""

    share: float
    """Of the units that a rate is about, in production."""
    classes: tuple[int, ...]


class CertifiedRate(Frozen):
    """One rate, and what it is promised not to exceed."""

    name: str
    errors: int
    n: int
    estimate: float
    """In production, in 0 ... 1."""
    bound: float
    """The promise: the rate is at most this."""
    limit: float | None = None
    """What was asked; None if nothing was."""
    is_kept: bool | None = None
    """Whether the limit is promised; None without a limit."""
    needed: int | None = None
    """Units that would show it; None if it is shown, has no limit, or no number suffices."""
    parts: tuple[ClassGroup, ...]
    """Of which classes the rate is made up."""


class ScoreHistogram(Frozen):
    """What the certified images of some classes look like: how many fell into each bin."""

    share: float
    """Of the images in production."""
    classes: tuple[int, ...]
    top: tuple[int, ...]
    """By their highest score."""
    second: tuple[int, ...]
    """By their second highest score."""
    outcomes: tuple[int, ...]
    """Accepted, rejected, looked at."""


class Reference(Frozen):
    """What certified images look like, as bins of scores."""

    top: tuple[float, ...]
    """The edges between the bins of the highest score, in ascending order."""
    second: tuple[float, ...]
    """The edges between the bins of the second highest score."""
    kinds: tuple[ScoreHistogram, ...]


class PixelRule(Frozen):
    """How an encoded image becomes what the model sees."""

    size: int
    """Side of the square in pixels: the shorter side is scaled to it, and the centre cropped."""
    channels: Annotated[int, Field(ge=1)]
    levels: tuple[float, float] | None = None
    """The levels that become 0 and 255 in images with more than 8 bits per pixel; None keeps the upper 8 of 16 bits."""
    upright: bool = False
    """Whether images are turned as their EXIF data say."""
    image: str = "image"
    """The column of images in Parquet files."""
    label: str = "label"
    """The column of labels in Parquet files."""
    group: str = "group"
    """The column in Parquet files that says which images belong together."""
    has_groups: bool = True
    """Whether a lot has to say which images belong together, if the certificate promises per group; otherwise equal
    files alone do."""


class Agreement(Frozen):
    """How the file's scores agree with those that the promise rests on."""

    images: int
    largest: float
    """The largest difference, as a share of the image's largest score or of 1."""
    near: int
    """Images with a score so near to the threshold that the decision may differ."""
    differing: int
    """Images whose decision differs; they are among those."""


class Certificate(Frozen):
    """All that is known of a deployed model."""

    format: int = FORMAT
    experiment: str
    question: str = ""
    issued: date
    version: str
    """Of the program that issued it."""
    commit: str | None = None
    """Of its source."""
    cell_id: str
    loss: str
    backbone: str
    seed: int
    parameters: int | None = None
    retrained: bool
    """Whether the cell was trained again for this file; otherwise the launch kept its model."""
    reading: PixelRule
    classes: tuple[str, ...]
    operation: Operation
    threshold: float
    temperature: float
    cost: float
    cost_bound: float
    rates: tuple[CertifiedRate, ...]
    candidates: int
    looked: int
    units: int
    grouped: bool = False
    """Whether several images may be one unit, such as those of one part."""
    dataset: str
    data: str
    """What the data set is called and where it was, as in the experiment file."""
    digests: dict[str, str]
    """SHA-256 of the model's file, of the data (without one, that of their arrays), of the cell's file, and of that of
    the images that were kept apart, if any were."""
    agreement: Agreement
    reference: Reference

    @property
    def expires(self) -> date:
        """The day from which it is no longer valid."""
        return self.issued + VALID

    @property
    def is_kept(self) -> bool:
        """Whether all limits that were asked for are promised."""
        return all(rate.is_kept is not False for rate in self.rates)


def read(folder: Path) -> Certificate:
    """The certificate in a folder that `deploy` wrote.

    Raises:
        RequestError: There is none, or it cannot be read.
    """
    file = folder / CERTIFICATE
    try:
        return Certificate.model_validate_json(file.read_text("utf-8"))
    except OSError as error:
        raise RequestError(f"{folder} is no folder that deploy wrote: {CERTIFICATE}: {error.strerror}.") from None
    except (ValidationError, ValueError) as error:
        raise RequestError(
            f"{file} cannot be read: it is damaged, or was written by another version ({_first(error)})."
        ) from None


def _first(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        found = error.errors()[0]
        return f"{'.'.join(map(str, found['loc']))}: {found['msg']}"
    return str(error).partition("\n")[0]
