"""A trained model as MLflow keeps it: a graph by torch.export, without pickle, so that loading it runs nothing."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the driver does without torch
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from trainers.classifier import Classifier


def save(model: Classifier, example: NDArray[np.float32], folder: Path) -> None:
    """Write an MLflow model that gives the scores of images, from `mlflow.pytorch` and `mlflow.pyfunc` alike.

    The scores (n, K) are raw, without the learnt bias, whatever the loss decides by. It runs on
    CPUs, whatever the model was trained on.

    Args:
        model: The trained model, which is moved to the CPU.
        example: Images (m, C, H, W) as the model sees them. At least two, lest torch takes the
            number of images for a constant.
        folder: Where to write; not there, or empty.
    """
    import torch
    from mlflow.models import infer_signature
    from mlflow.pytorch import save_model

    class ScoringModel(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Tensor:
            return self.model.scores(self.model.features(images))

    # Plainly in memory, because torch complains of saving anything else.
    scoring = ScoringModel().cpu().to(memory_format=torch.contiguous_format).eval()  # pyright: ignore[reportCallIssue]
    with torch.inference_mode():
        scores = scoring(torch.from_numpy(example)).numpy()
    save_model(
        scoring,
        folder,
        signature=infer_signature(example, scores),
        input_example=example,
        serialization_format="pt2",
        # Said here, because MLflow would find them out by loading the model in another process.
        pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow", "numpy", "torch")],
    )
