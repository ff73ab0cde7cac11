"""Our losses and the published code's, on the same features, weights and labels: `python -m benchmarks.public FOLDER`.

FOLDER holds clones of the repositories in `SOURCES`. The results of their code are stored in `public.json`, so that
tests need no network; the table of differences is written into docs/theory.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from benchmarks.page import filled
from trainers.backbones import Backbone, Extractor, InputShape
from trainers.catalogue import resolve
from trainers.classifier import Classifier
from trainers.losses import Loss

KEPT = Path(__file__).with_name("public.json")
PAGE = Path(__file__).parents[1] / "docs" / "theory.md"

SOURCES = {
    "UniFace": ("https://github.com/CVI-SZU/UniFace", "head.py"),
    "insightface": ("https://github.com/deepinsight/insightface", "recognition/arcface_torch/losses.py"),
    "BvC": ("https://github.com/Xiao-hb/BCE-vs.-CE", "utils.py"),
}
"""By name: the repository, cloned into FOLDER/NAME, and the file."""

CLASSES = 5
WIDTH = 8
SAMPLES = 6
BIAS = 1.25
DIVERSE = [0.5, 1.0, 1.5, 2.0, 2.5]


class Given(NamedTuple):
    """Features (n, d), class weights (K, d), float64, and labels (n,)."""

    features: Tensor
    weights: Tensor
    labels: Tensor


def given(*, opposite: bool = False) -> Given:
    """Features close to the weights of their classes, or almost opposite to them."""
    draw = np.random.RandomState(0)
    weights = torch.from_numpy(draw.standard_normal((CLASSES, WIDTH)))
    noise = torch.from_numpy(draw.standard_normal((SAMPLES, WIDTH)))
    labels = torch.arange(SAMPLES) % CLASSES
    sign = -1 if opposite else 1
    return Given(sign * weights[labels] + (0.05 if opposite else 0.6) * noise, weights, labels)


class Result(NamedTuple):
    """The loss of each sample, and the gradients of the mean loss."""

    losses: list[float]
    features: list[list[float]]
    weights: list[list[float]]
    biases: list[float]


class Case(NamedTuple):
    """One of our losses and its published counterpart."""

    loss: dict[str, Any]
    source: str
    theirs: str
    """The class in the source."""
    settings: dict[str, float] = {}  # noqa: RUF012 - never changed
    """Its constructor arguments."""
    note: str = ""
    opposite: bool = False
    bias: float | list[float] | None = None

    @property
    def ours(self) -> str:
        """Our loss with its settings, for the table."""
        first, *rest = self.loss.items()
        return ", ".join([f"`{first[1]}`", *(f"{name} {value}" for name, value in rest)]) + self._where

    @property
    def published(self) -> str:
        """The published loss, for the table."""
        return f"{self.theirs}({', '.join(f'{name}={value}' for name, value in self.settings.items())})"

    @property
    def key(self) -> str:
        """The key in `public.json`."""
        return f"{self.ours}: {self.source} {self.published}"

    @property
    def _where(self) -> str:
        return ", own class opposite" if self.opposite else ""


CLAMP = "theirs clamps logits to ±64: from there on its loss stands still and its gradient is 0"
CASES = (
    Case({"name": "softmax"}, "BvC", "LabelSmoothingCrossEntropy", {"smoothing": 0}),
    Case({"name": "softmax", "smoothing": 0.1}, "BvC", "LabelSmoothingCrossEntropy", {"smoothing": 0.1}),
    Case({"name": "softmax_diverse"}, "BvC", "LabelSmoothingCrossEntropy", {"smoothing": 0}, bias=DIVERSE),
    Case({"name": "bce"}, "BvC", "BCE_Loss", {"smoothing": 0}),
    Case({"name": "bce_unified"}, "BvC", "BCE_Loss", {"smoothing": 0}, bias=BIAS),
    Case({"name": "bce_diverse"}, "BvC", "BCE_Loss", {"smoothing": 0}, bias=DIVERSE),
    Case({"name": "bce_diverse", "smoothing": 0.1}, "BvC", "BCE_Loss", {"smoothing": 0.1}, bias=DIVERSE),
    Case({"name": "normface"}, "UniFace", "Normalized_Softmax_Loss", {"m": 0}),
    Case({"name": "cosface"}, "UniFace", "Normalized_Softmax_Loss"),
    Case({"name": "cosface"}, "insightface", "CosFace"),
    Case(
        {"name": "arcface"},
        "insightface",
        "ArcFace",
        note="theirs takes no gradient through the margin: the own cosine's lacks sin(θ + m) / sin θ",
    ),
    Case(
        {"name": "arcface"},
        "insightface",
        "ArcFace",
        note="beyond π - m ours goes on along a line, as its first code did, where theirs rises again",
        opposite=True,
    ),
    Case({"name": "uniface"}, "UniFace", "Unified_Cross_Entropy_Loss"),
    Case({"name": "uniface"}, "UniFace", "Unified_Cross_Entropy_Loss", note=CLAMP, opposite=True),
)


class _Features(Backbone):
    """A backbone for images that already are features."""

    name = "features"

    def build(self, shape: InputShape) -> Extractor:
        """Flatten the images."""
        return Extractor(nn.Flatten(), width=shape.channels)


def ours(case: Case) -> Result:
    """The result of our code."""
    found = resolve("losses", case.loss["name"], {name: each for name, each in case.loss.items() if name != "name"})
    assert isinstance(found, Loss)
    loss = found
    at = given(opposite=case.opposite)
    model = Classifier(_Features(), loss, InputShape(WIDTH, 1, 1), CLASSES).double()
    with torch.no_grad():
        model.linear.weight.copy_(at.weights)
        if model.bias is not None and case.bias is not None:
            model.bias.copy_(torch.tensor(case.bias))
    features = at.features.clone().requires_grad_()
    losses = loss.per_sample(model.logits(features, at.labels), at.labels)
    losses.mean().backward()
    return _result(losses, features, model.linear.weight, model.bias)


def _result(losses: Tensor, features: Tensor, weights: Tensor, bias: Tensor | None) -> Result:
    gradients = [
        torch.zeros(0) if each is None or each.grad is None else each.grad for each in (features, weights, bias)
    ]
    return Result(losses.detach().tolist(), *(gradient.squeeze(0).tolist() for gradient in gradients))


def public(case: Case, module: ModuleType) -> Result:
    """The result of the published code."""
    at = given(opposite=case.opposite)
    run = {"BvC": _of_bvc, "UniFace": _of_uniface, "insightface": _of_insightface}[case.source]
    leaves = run(case, module, at)
    # It returns the mean over samples, so each sample's loss needs its own batch.
    losses = torch.stack([leaves.loss(slice(row, row + 1)) for row in range(SAMPLES)])
    leaves.loss(slice(None)).backward()
    return _result(losses, leaves.features, leaves.weights, leaves.bias)


class _Leaves(NamedTuple):
    loss: Callable[[slice], Tensor]
    features: Tensor
    weights: Tensor
    bias: Tensor | None


def _of_bvc(case: Case, module: ModuleType, at: Given) -> _Leaves:
    criterion = getattr(module, case.theirs)(**case.settings)
    features = at.features.requires_grad_()
    weights = at.weights.requires_grad_()
    bias = None if case.bias is None else torch.tensor(case.bias, dtype=torch.float64, requires_grad=True)

    def loss(rows: slice) -> Tensor:
        scores = linear(features[rows], weights)  # as in its `inner_product`
        return criterion(scores if bias is None else scores - bias, at.labels[rows])

    return _Leaves(loss, features, weights, bias)


def _of_uniface(case: Case, module: ModuleType, at: Given) -> _Leaves:
    head = getattr(module, case.theirs)(WIDTH, CLASSES, **case.settings).double()
    with torch.no_grad():
        head.weight.copy_(at.weights)
    features = at.features.requires_grad_()

    def loss(rows: slice) -> Tensor:
        return head(features[rows], at.labels[rows], torch.arange(CLASSES))

    return _Leaves(loss, features, head.weight, getattr(head, "bias", None))


def _of_insightface(case: Case, module: ModuleType, at: Given) -> _Leaves:
    margin = getattr(module, case.theirs)(**case.settings)
    features = at.features.requires_grad_()
    weights = at.weights.requires_grad_()

    def loss(rows: slice) -> Tensor:
        # As in its `partial_fc_v2.py`, on a copy because it writes the margin into the cosines.
        cosines = linear(normalize(features[rows]), normalize(weights)).clamp(-1, 1).clone()
        return nn.functional.cross_entropy(margin(cosines, at.labels[rows]), at.labels[rows])

    return _Leaves(loss, features, weights, None)


def difference(one: Any, other: Any) -> float:
    """The largest difference, relative to the largest value of the second."""
    first = np.asarray(one, np.float64)
    second = np.asarray(other, np.float64)
    return float(np.abs(first - second).max() / np.abs(second).max()) if second.size else 0.0


def table(kept: dict[str, Any]) -> str:
    """The table of docs/theory.md."""
    lines = ["| Ours | Published | Loss | Gradient | |", "|---|---|---|---|---|"]
    for case in CASES:
        mine = ours(case)
        theirs = Result(**kept[case.key])
        gradient = max(difference(getattr(mine, each), getattr(theirs, each)) for each in Result._fields[1:])
        repository, file = SOURCES[case.source]
        link = f"[{case.source}]({repository}/blob/{kept['commits'][case.source][:12]}/{file})"
        loss = difference(mine.losses, theirs.losses)
        cells = (case.ours, f"{link} `{case.published}`", said(loss), said(gradient), case.note)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def said(found: float) -> str:
    """A difference rounded so coarsely that it is the same on every machine."""
    for bound in (1e-12, 1e-6):
        if found < bound:
            return f"below {bound:.0e}"
    return f"{found:.2g}"


def page(text: str, kept: dict[str, Any]) -> str:
    """The page with an updated table."""
    return filled(text, "public", table(kept))


def _module(folder: Path, source: str) -> ModuleType:
    """The published file as a module, without imports from its own repository."""
    text = _git(folder / source, "show", f"HEAD:{SOURCES[source][1]}")
    module = ModuleType(source)
    wanted = [line for line in text.splitlines() if not line.startswith("from scheduler")]
    exec(compile("\n".join(wanted), source, "exec"), module.__dict__)  # noqa: S102 - a clone that the user names
    return module


def _git(clone: Path, *arguments: str) -> str:
    run = subprocess.run(["git", "-C", str(clone), *arguments], check=True, capture_output=True, text=True)
    return run.stdout.strip()


def main(folder: Path) -> None:
    """Run the published code, store its results, and write the table."""
    modules = {source: _module(folder, source) for source in SOURCES}
    kept: dict[str, Any] = {"commits": {source: _git(folder / source, "rev-parse", "HEAD") for source in SOURCES}}
    kept |= {case.key: public(case, modules[case.source])._asdict() for case in CASES}
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    PAGE.write_text(page(PAGE.read_text(), kept))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
