"""A small model that is trained, decided and deployed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from orchestrator.decision.decide import Decision, decide
from orchestrator.deployment import serve_source
from orchestrator.deployment.certificate import CERTIFICATE, EXAMPLE, MODEL, Certificate
from orchestrator.deployment.certify import certify, write
from orchestrator.execution.worker import Worker
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Plan, plan
from orchestrator.outcome import Finished
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.models import Models
from orchestrator.records.recorder import Recorder
from orchestrator.records.tracking.runs import Untracked
from trainers.datasets import TrainTest

ASKED: dict[str, Any] = {
    "name": "figures",
    "question": "Which figure is it?",
    "losses": ["bce_unified"],
    "backbones": ["resnet8"],
    "datasets": ["digits"],
    "seeds": [0],
    "recipe": {"epochs": 6, "batch_size": 64, "learning_rate": 0.1, "validation_fraction": 0.2},
    "baseline": "bce_unified",
    "operation": {
        "good": ["0", "1", "2", "3", "4", "5", "6"],
        "prices": {"false_accept": 20, "false_reject": 2, "review": 1},
        "review": 0.3,
        "defects": 0.1,
    },
}


class Shop(NamedTuple):
    """What a launch left, and what was deployed."""

    asked: Experiment
    plan: Plan
    evaluations: Evaluations
    models: Models
    decision: Decision
    certificate: Certificate
    folder: Path
    data: TrainTest

    def certified(self, **changes: Any) -> Certificate:
        """Deploy again, with other stores or another decision."""
        given: dict[str, Any] = {
            "asked": self.asked,
            "found": self.decision,
            "evaluations": self.evaluations,
            "models": self.models,
            "data_dir": self.folder,
        }
        given.update(changes)
        return certify(**given).certificate


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    root = tmp_path_factory.mktemp("shop")
    asked = Experiment.model_validate(ASKED)
    planned = plan(asked)
    evaluations = Evaluations(root / "runs" / "evaluations")
    models = Models(root / "runs" / "models")
    worker = Worker(Recorder(evaluations, Untracked(), {}, models=models), root)
    (ended,) = [worker.run(cell, lambda _: None) for cell in planned.cells]
    assert isinstance(ended, Finished)
    found = decide(planned, evaluations, {cell.id for cell in planned.cells})
    certificate, model = certify(asked, found, evaluations, models, root)
    texts = {CERTIFICATE: certificate.model_dump_json(), EXAMPLE: serve_source()}
    write(root / "out", {MODEL: model, **{name: text.encode() for name, text in texts.items()}})
    data = planned.cells[0].recipe.dataset.load(root)
    return Shop(asked, planned, evaluations, models, found, certificate, root / "out", data)


def images_in(folder: Path, pixels: NDArray[np.uint8], labels: NDArray[np.int64] | None = None) -> Path:
    """Images (n, 1, 8, 8) as files, in folders of classes if there are labels."""
    for number, image in enumerate(pixels):
        place = folder if labels is None else folder / str(labels[number])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(place / f"{number:05}.png")
    return folder


@pytest.fixture(scope="session")
def lots(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """New lots: as certified, with the labels of others, of the same without labels, and in other light."""
    root = tmp_path_factory.mktemp("lots")
    pixels = shop.data.test.pixels
    labels = shop.data.test.labels
    rng = np.random.default_rng(0)
    is_good = labels < 7
    usual = np.concatenate([rng.choice(np.flatnonzero(is_good), 360), rng.choice(np.flatnonzero(~is_good), 40)])
    return {
        "kept": images_in(root / "kept", np.tile(pixels, (2, 1, 1, 1)), np.tile(labels, 2)),
        "broken": images_in(root / "broken", pixels[:200], (labels[:200] + 3) % 10),
        "few": images_in(root / "few", pixels[:9], labels[:9]),
        "usual": images_in(root / "usual", pixels[usual]),
        "dim": images_in(root / "dim", pixels[usual] // 2),
    }
