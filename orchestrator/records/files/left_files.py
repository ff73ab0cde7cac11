"""What commands leave beside a cell's file: what they printed, and a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.records.files import cell_file
from orchestrator.records.files.checksums import SUMS, sha256
from orchestrator.records.files.command_logs import ENDING as LOG
from orchestrator.records.files.models import LEFT_BY_COMMAND
from orchestrator.records.files.storage import Storage


def log_of(name: str) -> str:
    """Where a workspace has what a cell's command printed, by the name of the cell's file."""
    return f"logs/{cell_file.cell_in(name)}{LOG}"


def model_of(name: str) -> str:
    """Where a workspace has the model that a cell's command left, by the name of the cell's file."""
    return f"models/{name.rpartition('/')[0]}/{cell_file.cell_in(name)}{LEFT_BY_COMMAND}"


def copy(name: str, source: Storage, target: Storage) -> None:
    """Copy what the command of a cell left, where it left anything."""
    for left in (log_of(name), model_of(name)):
        if (content := source.read(left)) is not None:
            target.write(left, content)


def take(name: str, model: str | None, source: Storage, sums: Mapping[str, str], target: Storage) -> Iterator[str]:
    """Take over what the command of a colleague's cell left; nothing that is there is overwritten.

    Args:
        name: Of the cell's file.
        model: The SHA-256 of the model that the cell's file says its command left.
        source: The exported folder.
        sums: Its checksums.
        target: The workspace.

    Yields:
        A sentence for each file that is not taken; those that were altered are named already.
    """
    for left in (log_of(name), model_of(name)):
        if (content := source.read(left)) is None:
            continue
        digest = sha256(source, left)
        if left not in sums:
            yield f"{left} is not in {SUMS} and is left out."
        elif digest != sums[left]:
            continue
        elif left == model_of(name) and digest != model:
            yield f"{left} is not the model that the cell's file names, and is left out."
        elif (own := target.read(left)) != content:
            if own is None:
                target.write(left, content)
            else:
                yield f"{left} is there already, with other content, and stays as it is."
