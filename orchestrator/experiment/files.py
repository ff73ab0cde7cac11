"""The experiment of a file, as options change it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator import provenance
from orchestrator.errors import ExperimentError
from orchestrator.experiment.claims import Axis
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.reading import load
from orchestrator.experiment.revision import revise, with_recipe


def filed(file: Path) -> Experiment:
    """The experiment as its file has it; where there is no such file, the one of that name that comes with the program.

    Raises:
        ExperimentError: There is neither, or the file is wrong.
    """
    return load(_located(file))


def revised(
    experiment: Experiment,
    *,
    loss: list[str] | None = None,
    backbone: list[str] | None = None,
    dataset: list[str] | None = None,
    only: bool = False,
    seeds: str | None = None,
    settings: Sequence[str] | None = None,
) -> Experiment:
    """An experiment as the options of the axes, and `--set`, change it.

    Raises:
        ExperimentError: An option is wrong.
    """
    named: dict[Axis, list[str]] = {"loss": loss or [], "backbone": backbone or [], "dataset": dataset or []}
    if only and not any(named.values()):
        raise ExperimentError(["--only narrows the axes named by --loss, --backbone or --dataset; none is given."])
    changed = revise(experiment, named, only=only, seeds=None if seeds is None else numbers(seeds))
    return with_recipe(changed, settings or ())


def _located(file: Path) -> Path:
    beside = provenance.ROOT / "experiments"
    installed = Path(__file__).parents[1] / "experiments"
    shipped = (installed if installed.exists() else beside) / file.name
    meant = file.parent in (Path(), Path("experiments"))
    return shipped if meant and not file.exists() and shipped.exists() else file


def numbers(text: str) -> int | list[int]:
    """What `--seeds` says: how many seeds, or which.

    Raises:
        ExperimentError: It is neither.
    """
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise ExperimentError([f"--seeds is a number or a list such as 0,3,7; found '{text}'."]) from None
    return found if "," in text else found[0]
