"""A trained model in files: its weights as a launch keeps them, and the graph that is deployed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainers.backbones import InputShape
from trainers.classifier import Classifier
from trainers.evaluation import DecideBy
from trainers.observation import known_bias
from trainers.recipe import Recipe

if TYPE_CHECKING:
    from onnx import ModelProto

INPUT = "images"
SETTINGS = ("threshold", "temperature")
"""Inputs with defaults, float32 (1,)."""
OUTPUTS = ("scores", "probabilities", "decision")

_MEAN = "normalisation.mean"
_DEVIATION = "normalisation.deviation"


class Trained(NamedTuple):
    """A model and the normalisation of its images, both (C,)."""

    model: Classifier
    mean: Tensor
    deviation: Tensor
    shape: InputShape


def packed(model: Classifier, mean: NDArray[np.float32], deviation: NDArray[np.float32], shape: Sequence[int]) -> bytes:
    """The weights as a safetensors file, which holds numbers only: reading it runs nothing.

    Args:
        model: The trained model.
        mean: Of the training pixels, (C,).
        deviation: Of the training pixels, (C,).
        shape: Of one image, C, H, W.
    """
    from safetensors.torch import save

    held = {
        f"model.{name}": weights.detach().cpu().contiguous().clone() for name, weights in model.state_dict().items()
    }
    held |= {_MEAN: torch.from_numpy(mean.copy()), _DEVIATION: torch.from_numpy(deviation.copy())}
    return save(held, {"shape": json.dumps(list(shape)), "classes": str(model.classes)})


def unpacked(content: bytes, recipe: Recipe) -> Trained:
    """The model of a file that `packed` wrote.

    Args:
        content: The file.
        recipe: Of the cell whose model it is.

    Raises:
        ValueError: It is no such file, or holds the weights of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        held = load(content)
        length = int.from_bytes(content[:8], "little")
        about = json.loads(content[8 : 8 + length])["__metadata__"]
        shape = InputShape(*json.loads(about["shape"]))
        model = Classifier(recipe.backbone, recipe.loss, shape, int(about["classes"]))
        weights = {name.removeprefix("model."): held[name] for name in held if name.startswith("model.")}
        model.load_state_dict(weights)
        return Trained(model.eval(), held[_MEAN], held[_DEVIATION], shape)
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(str(error).partition("\n")[0] or type(error).__name__) from error


class Deployed(nn.Module):
    """Images as bytes to scores, probabilities and decisions.

    Args:
        trained: The model.
        recipe: Of the model; its loss says what is compared with a threshold.
    """

    def __init__(self, trained: Trained, recipe: Recipe) -> None:
        super().__init__()
        self.model = trained.model
        self.by: DecideBy = recipe.loss.decide_by
        self.mean: Tensor
        self.deviation: Tensor
        self.bias: Tensor
        self.register_buffer("mean", trained.mean.reshape(1, -1, 1, 1))
        self.register_buffer("deviation", trained.deviation.reshape(1, -1, 1, 1))
        bias = known_bias(trained.model, recipe) if self.by == "sigmoid" else [0.0]
        self.register_buffer("bias", torch.tensor(bias, dtype=torch.float64))

    def forward(self, images: Tensor, threshold: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the model says of images.

        Args:
            images: uint8 (n, C, H, W).
            threshold: float32 (1,).
            temperature: float32 (1,).

        Returns:
            The scores (n, K) that are compared with the threshold; the softmax probabilities (n, K) at the temperature;
            and the class whose score alone lies above the threshold, int64 (n,), -1 if there is none or more than one.
        """
        pixels = (images.float() - self.mean) / self.deviation
        raw = self.model.scores(self.model.features(pixels)).double() - self.bias
        scores = raw
        if self.by == "probability":
            scores = raw.log_softmax(dim=1)
        elif self.by == "calibrated":
            scores = (raw / temperature.double()).log_softmax(dim=1)
        probabilities = (raw / temperature.double()).softmax(dim=1)
        scores = scores.float()
        highest, classes = scores.topk(2, dim=1)
        is_one = (highest[:, 0] > threshold) & (highest[:, 1] < threshold)
        return scores, probabilities.float(), torch.where(is_one, classes[:, 0], -1)


def exported(
    trained: Trained, recipe: Recipe, *, threshold: float, temperature: float, about: Mapping[str, str]
) -> bytes:
    """The model as an ONNX file, which gives what `Deployed` gives.

    Args:
        trained: The model.
        recipe: Of the model.
        threshold: The default of this input.
        temperature: The default of this input.
        about: Metadata of the file.

    Raises:
        ValueError: Some part of the network cannot be written as ONNX.
    """
    from onnx import checker, helper, numpy_helper

    file = _graph(Deployed(trained, recipe).eval(), trained.shape)
    # An input that is an initialiser, too, has that value unless another is given.
    for name, value in zip(SETTINGS, (threshold, temperature), strict=True):
        file.graph.initializer.append(numpy_helper.from_array(np.array([value], np.float32), name))
    helper.set_model_props(file, dict(about))
    checker.check_model(file)
    return file.SerializeToString()


def _graph(module: Deployed, shape: InputShape) -> ModelProto:
    from torch.onnx import export

    examples = (torch.zeros(2, *shape, dtype=torch.uint8), torch.zeros(1), torch.ones(1))
    try:
        program = export(
            module,
            examples,
            input_names=[INPUT, *SETTINGS],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim("n", min=1)}, None, None),
            external_data=False,
            verbose=False,
        )
    except Exception as error:  # torch has many errors for what it cannot export
        raise ValueError(f"the network cannot be written as ONNX: {str(error).partition(chr(10))[0]}") from error
    assert program is not None  # noqa: S101 - it is None only without dynamo
    return program.model_proto
