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
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

INPUT = "images"
SETTINGS = ("threshold", "temperature")
"""Inputs with defaults, float32 (1,)."""
OUTPUTS = ("scores", "probabilities", "decision")

_MEAN = "normalisation.mean"
_DEVIATION = "normalisation.deviation"


class LoadedModel(NamedTuple):
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


def unpacked(content: bytes, recipe: Recipe) -> LoadedModel:
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
        return LoadedModel(model.eval(), held[_MEAN], held[_DEVIATION], shape)
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(str(error).partition("\n")[0] or type(error).__name__) from error


class Deployed(nn.Module):
    """Images as bytes to scores, probabilities and decisions.

    Args:
        trained: The model.
        recipe: Of the model; its loss says what is compared with a threshold.
    """

    def __init__(self, trained: LoadedModel, recipe: Recipe) -> None:
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
    trained: LoadedModel, recipe: Recipe, *, threshold: float, temperature: float, about: Mapping[str, str]
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


class Completed(NamedTuple):
    """An ONNX file, and which images it takes."""

    content: bytes
    channels: int
    size: int
    """Side of the square in pixels."""
    classes: int


def completed(content: bytes, *, threshold: float, temperature: float, about: Mapping[str, str]) -> Completed:
    """Somebody else's ONNX file, with the inputs and outputs of those that `exported` writes.

    Args:
        content: Its one input is images (n, C, H, H), uint8 or float32 from 0 to 255, with any n; its output `scores`,
            or the only one, is float32 (n, K).
        threshold: The default of this input.
        temperature: The default of this input.
        about: Metadata of the file.

    Raises:
        ValueError: It is no ONNX file, or has other inputs and outputs.
    """
    from onnx import TensorProto, checker, compose, helper, load_from_string, numpy_helper, version_converter

    try:
        file = compose.add_prefix(load_from_string(content), "left/")
        if next(known.version for known in file.opset_import if known.domain in {"", "ai.onnx"}) < _OPSET:
            file = version_converter.convert_version(file, _OPSET)
    except Exception as error:  # of protobuf, of onnx, or of a converter of some operator
        raise ValueError(f"it is not a readable ONNX file: {str(error).partition(chr(10))[0]}") from error
    graph = file.graph
    image = _image_input(graph)
    scores = _scores_output(graph)
    is_bytes = image.type.tensor_type.elem_type == TensorProto.UINT8
    kind = TensorProto.UINT8 if is_bytes else TensorProto.FLOAT
    nodes = [helper.make_node("Cast", [INPUT], [image.name], to=kind), *graph.node, *_decided(scores.name)]
    del graph.node[:]
    graph.node.extend(nodes)
    size = [each.dim_value for each in image.type.tensor_type.shape.dim][1:]
    classes = scores.type.tensor_type.shape.dim[1].dim_value
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["n", *size]))
    graph.input.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in SETTINGS)
    del graph.output[:]
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT64)
    shapes = (["n", classes], ["n", classes], ["n"])
    graph.output.extend(map(helper.make_tensor_value_info, OUTPUTS, kinds, shapes))
    for name, value in zip(SETTINGS, (threshold, temperature), strict=True):
        graph.initializer.append(numpy_helper.from_array(np.array([value], np.float32), name))
    helper.set_model_props(file, dict(about))
    try:
        checker.check_model(file)
    except checker.ValidationError as error:
        raise ValueError(f"it is not a valid ONNX file: {str(error).partition(chr(10))[0]}") from error
    return Completed(file.SerializeToString(), size[0], size[1], classes)


_OPSET = 17
"""Of ONNX's operators, at least: older files are converted."""


def _image_input(graph: GraphProto) -> ValueInfoProto:
    """The input of images.

    Raises:
        ValueError: There is no such input, or another beside it.
    """
    from onnx import TensorProto

    held = {each.name for each in graph.initializer}
    found = [each for each in graph.input if each.name not in held]
    if len(found) == 1:
        kind = found[0].type.tensor_type
        sizes = [each.dim_value for each in kind.shape.dim]
        is_image = len(sizes) == 4 and sizes[0] == 0 and sizes[1] in {1, 3} and sizes[2] == sizes[3] > 0  # noqa: PLR2004
        if is_image and kind.elem_type in {TensorProto.UINT8, TensorProto.FLOAT}:
            return found[0]
    told = ", ".join(map(_described, found)) or "none"
    raise ValueError(f"it takes {told}, not images alone: uint8 or float32 (n, C, H, H), C 1 or 3, n left open")


def _scores_output(graph: GraphProto) -> ValueInfoProto:
    """The output of scores.

    Raises:
        ValueError: There is none.
    """
    from onnx import TensorProto

    named = [each for each in graph.output if each.name == "left/scores"]
    found = named or [*graph.output]
    if len(found) == 1:
        kind = found[0].type.tensor_type
        sizes = [each.dim_value for each in kind.shape.dim]
        if kind.elem_type == TensorProto.FLOAT and len(sizes) == 2 and sizes[1] > 1:  # noqa: PLR2004 - samples, classes
            return found[0]
    told = ", ".join(map(_described, graph.output)) or "nothing"
    raise ValueError(f"it gives {told}, and no float32 (n, K) called 'scores'")


def _described(value: ValueInfoProto) -> str:
    """An input or output as people write it: `x float32 (n, 64)`."""
    from onnx import helper

    kind = value.type.tensor_type
    name = value.name.removeprefix("left/")
    sizes = ", ".join(str(each.dim_value or each.dim_param or "?") for each in kind.shape.dim)
    return f"{name} {helper.tensor_dtype_to_np_dtype(kind.elem_type).name} ({sizes})" if kind.elem_type else name


def _decided(scores: str) -> list[NodeProto]:
    """The nodes from a file's scores to the outputs: what `Deployed` computes."""
    from onnx import helper, numpy_helper

    def constant(name: str, value: NDArray[np.int64]) -> NodeProto:
        return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))

    node = helper.make_node
    return [
        constant("two", np.array([2])),
        constant("first", np.array(0)),
        constant("following", np.array(1)),
        constant("nobody", np.array(-1)),
        node("Identity", [scores], ["scores"]),
        node("Div", ["scores", "temperature"], ["tempered"]),
        node("Softmax", ["tempered"], ["probabilities"], axis=1),
        node("TopK", ["scores", "two"], ["highest", "highest_classes"], axis=1),
        node("Gather", ["highest", "first"], ["top"], axis=1),
        node("Gather", ["highest", "following"], ["second"], axis=1),
        node("Gather", ["highest_classes", "first"], ["best"], axis=1),
        node("Greater", ["top", "threshold"], ["is_above"]),
        node("Less", ["second", "threshold"], ["is_alone"]),
        node("And", ["is_above", "is_alone"], ["is_one"]),
        node("Where", ["is_one", "best", "nobody"], ["decision"]),
    ]


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
