"""Our measures and those of public code, on the same numbers: `python -m benchmarks.public_measures FOLDER`.

FOLDER holds clones of the repositories in `SOURCES`; scikit-learn, torchmetrics and pytorch-ood must be importable.
Their results are stored in `public_measures.json`, so that tests do not need them; the table of differences is written
into docs/theory.md.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.page import filled
from benchmarks.public import said
from trainers.evaluation import Evaluation
from trainers.metrics import Observed, measure
from trainers.metrics.collapse import Moments

KEPT = Path(__file__).with_name("public_measures.json")
PAGE = Path(__file__).parents[1] / "docs" / "theory.md"

SOURCES = {
    "Neural-Collapse": ("https://github.com/tding1/Neural-Collapse", "validate_NC.py"),
    "ARPL": ("https://github.com/iCGY96/ARPL", "core/evaluation.py"),
}
"""By name: the repository, cloned into FOLDER/NAME, and the file."""

CLASSES = 6
WIDTH = 9
KNOWN = 400
UNKNOWN = 150
PAIRS = 1000

Floats = NDArray[np.float64]


class Given(NamedTuple):
    """Inputs in float64; scores and bias are representable in float32, so that no code rounds them."""

    scores: Floats
    """Of known samples (n, K)."""
    label: NDArray[np.int64]
    unknown: Floats
    """Scores of unknown samples (m, K)."""
    bias: Floats
    """(K,)."""
    features: Floats
    """Of training images (t, d)."""
    trained: NDArray[np.int64]
    """Their labels."""
    weight: Floats
    """(K, d)."""
    similarity: Floats
    """Of pairs (p,)."""
    genuine: NDArray[np.bool_]


@cache
def given() -> Given:
    """A mediocre model: two thirds of the samples are right, and classes have different sizes."""
    draw = np.random.RandomState(0)
    label = np.arange(KNOWN) % CLASSES
    trained = np.repeat(np.arange(CLASSES), [40, 30, 20, 15, 10, 5])
    genuine = draw.standard_normal(PAIRS) > 0

    def single(values: Floats) -> Floats:
        return values.astype(np.float32).astype(np.float64)

    return Given(
        scores=single(2 * draw.standard_normal((KNOWN, CLASSES)) + 3 * np.eye(CLASSES)[label]),
        label=label,
        unknown=single(2 * draw.standard_normal((UNKNOWN, CLASSES))),
        bias=single(draw.standard_normal(CLASSES)),
        features=draw.standard_normal((len(trained), WIDTH)) + 2 * draw.standard_normal((CLASSES, WIDTH))[trained],
        trained=trained,
        weight=draw.standard_normal((CLASSES, WIDTH)),
        similarity=draw.standard_normal(PAIRS) + 2 * genuine,
        genuine=genuine,
    )


def ours() -> dict[str, float | None]:
    """The results of our code."""
    at = given()
    moments = Moments(CLASSES, WIDTH)
    moments.add(at.features, at.trained)
    bias = at.bias.tolist()
    observed = Observed(
        test=_rows(at.scores, at.label),
        learned_bias=bias,
        bias=bias,
        sigmoid=True,
        trained=moments,
        weight=at.weight,
        unknown=_rows(at.unknown, np.zeros(UNKNOWN, np.int64)),
        similarity=at.similarity,
        genuine=at.genuine,
    )
    return measure(observed)


def _rows(scores: Floats, label: NDArray[np.int64]) -> Evaluation:
    each = np.arange(len(label))
    highest = scores.argmax(axis=1)
    own = label[:, None] == np.arange(CLASSES)
    others = np.where(highest[:, None] == np.arange(CLASSES), -np.inf, scores)
    level = np.logaddexp.reduce(scores, axis=1).astype(np.float32)
    return Evaluation(
        sample=each.astype(np.int32),
        label=label.astype(np.int32),
        prediction=highest.astype(np.int32),
        positive=scores[own].astype(np.float32),
        rival=np.where(own, -np.inf, scores).max(axis=1).astype(np.float32),
        logsumexp=level,
        logsumexp_tuned=level,
        log_odds=scores[each, highest] - np.logaddexp.reduce(others, axis=1),
        scores=scores.astype(np.float32),
    )


class Case(NamedTuple):
    """One of our measures and its published counterpart."""

    name: str
    source: str
    theirs: str
    """The name of the published measure."""
    ask: Callable[[Any], float]
    """Computes the measure, given the source's module."""
    note: str = ""

    @property
    def key(self) -> str:
        """The key in `public_measures.json`."""
        return f"{self.name}: {self.source} {self.theirs}"


def _softmax() -> Floats:
    scores = given().scores
    return np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))


def _sigmoids() -> Floats:
    return 1 / (1 + np.exp(given().bias - given().scores))


def _tensor(values: NDArray[Any]) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(values))


def _known_first(known: NDArray[Any], unknown: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Both arrays concatenated, with label 1 for the first and 0 for the second."""
    return np.concatenate([known, unknown]), np.repeat([1, 0], [len(known), len(unknown)])


def _tops() -> tuple[Floats, NDArray[np.int64]]:
    return _known_first(given().scores.max(axis=1), given().unknown.max(axis=1))


def _within(curve: tuple[Floats, Floats, Floats], rate: float) -> float:
    """The highest true accept rate within the limit on false accepts."""
    false, true, _ = curve
    return float(true[false <= rate].max())


def _rivals() -> tuple[Floats, Floats]:
    """Scores of the true class, and the highest other scores."""
    own = given().label[:, None] == np.arange(CLASSES)
    return given().scores[own], np.where(own, -np.inf, given().scores).max(axis=1)


def _accepted(sklearn: Any) -> float:
    scores, is_own = _known_first(*_rivals())
    return _within(sklearn.roc_curve(is_own, scores, drop_intermediate=False), 0.01)


def _verified(sklearn: Any) -> float:
    return _within(sklearn.roc_curve(given().genuine, given().similarity, drop_intermediate=False), 0.01)


def _by_class(metric: Callable[[Any, Any], float]) -> float:
    """A binary measure, summed over classes."""
    wanted = given().label[:, None] == np.arange(CLASSES)
    return sum(float(metric(wanted[:, k], _sigmoids()[:, k])) for k in range(CLASSES))


def _top_sigmoid(torchmetrics: Any) -> float:
    logits = given().scores - given().bias
    right = logits.argmax(axis=1) == given().label
    confidence = (1 / (1 + np.exp(-logits))).max(axis=1)
    return float(
        torchmetrics.binary_calibration_error(_tensor(confidence), _tensor(right.astype(np.int64)), 15, norm="l1")
    )


def _outliers() -> tuple[Any, Any, Any]:
    """Outlier scores, predictions and labels of known and unknown samples; unknown ones have label -1."""
    top, is_known = _tops()
    predicted = np.concatenate([given().scores, given().unknown]).argmax(axis=1)
    label = np.concatenate([given().label, np.full(UNKNOWN, -1)])
    del is_known
    return _tensor(-top), _tensor(predicted), _tensor(label)


def _oscr(arpl: Any) -> float:
    return float(arpl["compute_oscr"](given().scores.copy(), given().unknown.copy(), given().label))


def _variability(functions: Any) -> float:
    import torch
    from scipy.linalg import pinv

    at = given()
    means, centre = _means()
    residuals = at.features - torch.stack([means[k] for k in range(CLASSES)]).numpy()[at.trained]
    between = functions["compute_Sigma_B"](means, centre)
    return float(np.trace(residuals.T @ residuals / len(residuals) @ pinv(between)) / CLASSES)


def _means() -> tuple[Mapping[int, Any], Any]:
    at = given()
    return (
        {k: _tensor(at.features[at.trained == k].mean(axis=0)) for k in range(CLASSES)},
        _tensor(at.features.mean(axis=0)),
    )


SKLEARN = "sklearn.metrics"
TORCHMETRICS = "torchmetrics.functional.classification"
OOD = "pytorch_ood.metrics.functional"
CASES = (
    Case("nc1", "Neural-Collapse", "compute_Sigma_B, pinv, trace", _variability),
    Case("nc2", "Neural-Collapse", "compute_ETF", lambda code: code["compute_ETF"](_tensor(given().weight.copy()))),
    Case(
        "nc3",
        "Neural-Collapse",
        "compute_W_H_relation",
        lambda code: code["compute_W_H_relation"](_tensor(given().weight.copy()), *_means())[0],
    ),
    Case(
        "calibration_error",
        TORCHMETRICS,
        "multiclass_calibration_error",
        lambda code: float(
            code.multiclass_calibration_error(_tensor(_softmax()), _tensor(given().label), CLASSES, 15, norm="l1")
        ),
    ),
    Case("calibration_error_sigmoid", TORCHMETRICS, "binary_calibration_error", _top_sigmoid),
    Case("negative_log_likelihood", SKLEARN, "log_loss", lambda code: float(code.log_loss(given().label, _softmax()))),
    Case(
        "negative_log_likelihood_sigmoid",
        SKLEARN,
        "log_loss, summed over classes",
        lambda code: _by_class(code.log_loss),
    ),
    Case(
        "brier_score",
        SKLEARN,
        "brier_score_loss",
        lambda code: float(code.brier_score_loss(given().label, _softmax(), scale_by_half=False)),
    ),
    Case(
        "brier_score_sigmoid",
        SKLEARN,
        "brier_score_loss, summed over classes",
        lambda code: _by_class(code.brier_score_loss),
    ),
    Case(
        "macro_accuracy",
        SKLEARN,
        "balanced_accuracy_score",
        lambda code: float(code.balanced_accuracy_score(given().label, given().scores.argmax(axis=1))),
    ),
    Case("open_auroc", SKLEARN, "roc_auc_score", lambda code: float(code.roc_auc_score(*reversed(_tops())))),
    Case("open_auroc", OOD, "auroc", lambda code: float(code.auroc(*_outliers()[::2]))),
    Case(
        "open_fpr95",
        OOD,
        "fpr_at_tpr",
        lambda code: float(code.fpr_at_tpr(_tensor(_tops()[0]), _tensor(-_tops()[1]), 0.95)),
    ),
    Case("open_oscr", OOD, "oscr_score", lambda code: float(code.oscr_score(*_outliers()))),
    Case(
        "open_oscr",
        "ARPL",
        "compute_oscr",
        _oscr,
        note="theirs counts hits above each cutoff, but false positives at it as well",
    ),
    Case("true_accept_rate_1", SKLEARN, "roc_curve", _accepted),
    Case("verification_tar_1", SKLEARN, "roc_curve", _verified),
)


def table(kept: Mapping[str, Any]) -> str:
    """The table of docs/theory.md."""
    lines = ["| Ours | Public code | Difference | |", "|---|---|---|---|"]
    mine = ours()
    for case in CASES:
        value = mine[case.name]
        assert value is not None
        cells = (f"`{case.name}`", _linked(case, kept), said(abs(value - kept[case.key])), case.note)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _linked(case: Case, kept: Mapping[str, Any]) -> str:
    if case.source in SOURCES:
        repository, file = SOURCES[case.source]
        return f"[{case.source}]({repository}/blob/{kept['versions'][case.source][:12]}/{file}) `{case.theirs}`"
    return f"`{case.source}` {kept['versions'][case.source]}: `{case.theirs}`"


def page(text: str, kept: Mapping[str, Any]) -> str:
    """The page with an updated table."""
    return filled(text, "public_measures", table(kept))


def _functions(clone: Path, file: str) -> dict[str, Any]:
    """The functions of a published file, without imports from its own repository."""
    import torch

    text = _git(clone, "show", f"HEAD:{file}")
    kept = ast.Module([node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)], [])
    # The published code moves everything to a GPU.
    torch.Tensor.cuda = lambda self: self  # pyright: ignore[reportAttributeAccessIssue]
    torch.set_default_dtype(torch.float64)
    found: dict[str, Any] = {"torch": torch, "np": np}
    exec(compile(kept, file, "exec"), found)  # noqa: S102 - a clone that the user names
    return found


def _git(clone: Path, *arguments: str) -> str:
    run = subprocess.run(["git", "-C", str(clone), *arguments], check=True, capture_output=True, text=True)
    return run.stdout.strip()


PACKAGES = {SKLEARN: "scikit-learn", TORCHMETRICS: "torchmetrics", OOD: "pytorch-ood"}


def main(folder: Path) -> None:
    """Run the public code, store its results, and write the table."""
    modules: dict[str, Any] = {name: import_module(name) for name in PACKAGES}
    modules |= {name: _functions(folder / name, file) for name, (_, file) in SOURCES.items()}
    versions = {name: version(package) for name, package in PACKAGES.items()}
    versions |= {name: _git(folder / name, "rev-parse", "HEAD") for name in SOURCES}
    kept = {"versions": versions, **{case.key: float(case.ask(modules[case.source])) for case in CASES}}
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    PAGE.write_text(page(PAGE.read_text(), kept))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
