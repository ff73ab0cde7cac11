"""Make every number in the repository anew: `python docs/results/make.py [WORKSPACE]`, some twelve core hours.

Each shipped experiment whose data are here is launched into a folder below WORKSPACE (`runs/results-made`); what can be
drawn is drawn first. The quickstart's grid with ten seeds runs twice more: as this machine is, and limited to AVX2, as
are a few cells of each experiment. A second call trains only what is missing and writes the same pages.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from kept import ROOT, keep
from write import FURTHER, RUNS

from orchestrator.workspace import Workspace

ALONE = ("quickstart", *FURTHER, "mixing", "drops")
"""Experiments that run on two cores; `full`, `fashion` and `few-epochs` need more."""

LIMITS: Mapping[str, Mapping[str, str]] = {
    RUNS[0]: {},
    RUNS[1]: {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}
"""What each run of the quickstart's grid tells torch and oneDNN."""

SEEDS = 10
DATA = ROOT / "data"


def launch(name: str, workspace: Path, *flags: str, limits: Mapping[str, str] | None = None) -> Workspace:
    """Train what is missing of an experiment."""
    asked = ["launch", f"experiments/{name}.yaml", *flags, "--workspace", str(workspace)]
    command = [sys.executable, "-m", "orchestrator", *asked]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **(limits or {})}, check=True)
    return Workspace.at(str(workspace))


def bring_data() -> None:
    """Draw the vectors of `classes`, and read the tables of `tables` out of their package, unless that is done."""
    scripts = [["draw_classes.py", str(DATA)], ["draw_parts.py", str(DATA / "parts")]]
    if not (DATA / "satellite.npz").exists():
        scripts.append(["read_mlbench.py", str(ROOT / "build/mlbench"), str(DATA)])
    for name, *arguments in scripts:
        done = subprocess.run([sys.executable, f"experiments/{name}", *arguments], cwd=ROOT, check=False)
        if done.returncode:
            sys.exit(done.returncode)


def main(folder: Path) -> None:
    """Launch, keep, and write what follows: spreads, pages, pictures."""
    bring_data()
    for name in ALONE:
        keep(name, launch(name, folder / name), DATA)
    for name, limits in LIMITS.items():
        made = launch("quickstart", folder / name, "--seeds", str(SEEDS), limits=limits)
        keep("quickstart", made, DATA, table=name, seeds=SEEDS)
    again = [sys.executable, "docs/results/again.py"]
    subprocess.run(again, cwd=ROOT, env={**os.environ, **LIMITS[RUNS[1]]}, check=True)
    made = str(folder / "quickstart")
    for script, *arguments in (("results/write.py",), ("figures.py", made), ("screenshots.py", made)):
        subprocess.run([sys.executable, f"docs/{script}", *arguments], cwd=ROOT, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/results-made").resolve())
