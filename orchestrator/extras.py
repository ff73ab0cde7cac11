"""What a light install leaves out, and the line that adds it."""

from __future__ import annotations

from importlib.util import find_spec

from orchestrator.errors import RequestError

TRAIN = ("alembic", "mlflow", "ray", "sqlalchemy", "torch", "torchvision")
"""The packages of the extra `train` without which no cell runs and neither registry nor MLflow can be opened."""

SQL = ("alembic", "sqlalchemy")
"""Those without which there is no registry."""

DEPLOY = ("onnx", "onnxruntime", "onnxscript")
"""The packages of the extra `deploy` that write a model's file; onnxruntime and Pillow run it."""

INSTALL = "pip install 'loss-orchestrator[train]'"
INSTALL_DEPLOY = "pip install 'loss-orchestrator[train,deploy]'"
INSTALL_CHECK = "pip install 'loss-orchestrator[deploy]'"


class NotInstalledError(RequestError):
    """What was asked needs packages that are not installed."""


def missing(*packages: str) -> list[str]:
    """Which of the packages are not installed; of those of `train` if none is named. Imports nothing."""
    return [package for package in packages or TRAIN if find_spec(package) is None]


def need(what: str, *packages: str, install: str = INSTALL) -> None:
    """Refuse what cannot be done without the packages, or those of `train` if none is named.

    Args:
        what: Who needs them, to begin the message.
        packages: Their names as imported.
        install: The line that installs them.

    Raises:
        NotInstalledError: Some are not installed.
    """
    if found := missing(*packages):
        *others, last = found
        names = f"{', '.join(others)} and {last}, which are" if others else f"{last}, which is"
        raise NotInstalledError(f"{what} needs {names} not installed: {install}")


def told(error: BaseException) -> NotInstalledError | None:
    """What to say of an import that failed because a package of `train` is not installed; None of any other error."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    if name is None or name.partition(".")[0] not in TRAIN:
        return None
    return NotInstalledError(f"This needs {name.partition('.')[0]}, which is not installed: {INSTALL}")
