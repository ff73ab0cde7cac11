"""What tests need beside Python packages: where it is on this machine, and how one gets it.

A test that lacks such a part is skipped, and the end of the run says so; where ORCHESTRATOR_TEST_PARTS is `required`,
as in CI, it fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

REQUIRED = os.environ.get("ORCHESTRATOR_TEST_PARTS") == "required"


class Part(NamedTuple):
    """Something of the system that tests use."""

    name: str
    package: str
    """Debian's."""

    find: Callable[[], Path | None]
    """Where it is; None where it is not here."""

    @property
    def absence(self) -> str:
        """Why a test is skipped."""
        return f"NOT TESTED: {self.name} is not here (apt-get install {self.package})"


def _program(*names: str) -> Callable[[], Path | None]:
    def find() -> Path | None:
        return next((Path(found) for name in names if (found := shutil.which(name))), None)

    return find


def _postgresql() -> Path | None:
    """The folder of initdb and pg_ctl, which distributions keep out of PATH."""
    if not shutil.which("psql"):
        return None
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if config := shutil.which("pg_config"):
        said = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True)
        folders.insert(0, Path(said.stdout.strip()))
    return next((each for each in folders if (each / "initdb").exists() and (each / "pg_ctl").exists()), None)


def _fashion_mnist() -> Path | None:
    folder = Path("/usr/share/datasets/fashion-mnist")
    return folder if folder.is_dir() else None


def _japanese_font() -> Path | None:
    """A font's file; fontconfig names one of another language where it has none."""
    if not shutil.which("fc-list"):
        return None
    said = subprocess.run(["fc-list", ":lang=ja", "file"], capture_output=True, text=True, check=True).stdout
    return Path(said.splitlines()[0].rstrip(": ")) if said else None


def _slurm() -> Path | None:
    """The program of its nodes, where all of its parts are here."""
    found = [shutil.which(name) for name in ("munged", "sbatch", "slurmctld", "slurmd")]
    return Path(found[-1]) if found[-1] and all(found) else None


PARTS = {
    part.name: part
    for part in (
        Part("PostgreSQL", "postgresql", _postgresql),
        Part("Chromium", "chromium", _program("chromium", "chromium-browser", "google-chrome")),
        Part("Fashion-MNIST", "dataset-fashion-mnist", _fashion_mnist),
        Part("a Japanese font", "fonts-noto-cjk", _japanese_font),
        Part("TeX", "texlive-latex-recommended", _program("tectonic", "lualatex", "xelatex", "pdflatex")),
        Part("a C++ compiler", "g++", _program("g++")),
        Part("debootstrap", "debootstrap", _program("debootstrap")),
        Part("Slurm", "slurm-wlm munge", _slurm),
    )
}


def need(name: str) -> Path:
    """Where a part is; without it, the test that asks is skipped, or fails where parts are required."""
    part = PARTS[name]
    found = part.find()
    if found is None and REQUIRED:
        pytest.fail(part.absence)
    if found is None:
        pytest.skip(part.absence)
    return found


def said(reasons: list[str]) -> str | None:
    """One line on the parts that were not tested, with the command that brings them; None where all were.

    Args:
        reasons: Why tests were skipped.
    """
    absent = [part for part in PARTS.values() if any(part.absence in reason for reason in reasons)]
    if not absent:
        return None
    names = ", ".join(part.name for part in absent)
    return f"Not tested: {names}. To test them too: apt-get install {' '.join(part.package for part in absent)}"
