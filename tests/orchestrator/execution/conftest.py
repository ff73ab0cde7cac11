"""Plug-ins that break, importable here and in worker processes, and a recorder that notes its process."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from trainers import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

MISFITS = '''
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.datasets.digits import Digits
from trainers.losses.softmax import Softmax


class Absent(Digits):
    """Digits that cannot be read."""

    name = "absent"

    def load(self, data_dir):
        raise OSError("the images [of] the 3rd floor are gone\\nand so is the lift")


class Deadly(Softmax):
    """A loss that kills its process."""

    name = "deadly"

    def per_sample(self, logits, labels):
        os._exit(3)


class Unreduced(Softmax):
    """A loss of a number per sample and class."""

    name = "unreduced"

    def per_sample(self, logits, labels):
        return -logits.log_softmax(1)


@dataclass(frozen=True)
class Witness:
    """Opens the logs of another recorder, and notes which process asked for which cell."""

    recorder: Any
    folder: Path

    def open(self, cell):
        (self.folder / cell.id).write_text(str(os.getpid()))
        return self.recorder.open(cell)
'''


@pytest.fixture(scope="module")
def misfits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module above."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "misfits.py").write_text(MISFITS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
        modules = list(catalogue._modules)
        catalogue.add("misfits")
        yield sys.modules["misfits"]
        catalogue._modules[:] = modules
        catalogue.plugins.cache_clear()
        del sys.modules["misfits"]
