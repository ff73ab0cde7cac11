"""The quickstart's cells by Hydra: `python grid_hydra.py --multirun hydra/launcher=joblib number=0,1 folder=F`."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from benchmarks.grid_cell import train


@hydra.main(version_base=None, config_path=None)
def main(settings: DictConfig) -> None:
    """Train one cell."""
    train(settings["number"], settings["folder"])


if __name__ == "__main__":
    main()
