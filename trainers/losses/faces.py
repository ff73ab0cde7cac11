"""Losses of face recognition by name: softmax or BCE on scaled cosines, most with a margin.

Each is `softmax` or `bce_unified` with other default `scores`: those of the published code.
"""

# Plug-ins are frozen, so that a field may have a narrower type than its base's.
# pyright: reportIncompatibleVariableOverride=false

from __future__ import annotations

import math
from typing import Literal

from trainers.losses import Scores
from trainers.losses.bce import BCEUnified
from trainers.losses.softmax import Softmax


class Cosines(Scores):
    """Features and weights normalised, and the scale of face recognition."""

    normalise_features: bool = True
    normalise_weights: bool = True
    scale: float = 64.0


class CosineMargin(Cosines):
    """`64 (cos θ - 0.4)` for the true class."""

    margin: float = 0.4


class AngularMargin(Cosines):
    """`64 cos(θ + 0.5)` for the true class."""

    margin: float = 0.5
    margin_kind: Literal["cosine", "angular"] = "angular"


class NormFace(Softmax):
    """Softmax cross-entropy on scaled cosines (Wang 2017, arXiv 1704.06369)."""

    name = "normface"
    scores: Cosines = Cosines()


class CosFace(Softmax):
    """Softmax cross-entropy on scaled cosines, with a margin on the true class (Wang 2018, arXiv 1801.09414)."""

    name = "cosface"
    scores: CosineMargin = CosineMargin()


class ArcFace(Softmax):
    """Softmax cross-entropy on scaled cosines, with a margin on the true class's angle (arXiv 1801.07698)."""

    name = "arcface"
    scores: AngularMargin = AngularMargin()


class UniFace(BCEUnified):
    """Binary cross-entropy with one bias on scaled cosines, with a margin on the true class (Zhou, ICCV 2023)."""

    name = "uniface"
    scores: CosineMargin = CosineMargin()
    bias_init: float | Literal["prior", "published"] = "published"
    """Initial value; `published` is log(10 K), for a scale of 64; `prior` is log(K - 1)."""

    def initial_bias(self, classes: int) -> float:
        """The bias before the first step."""
        return math.log(10 * classes) if self.bias_init == "published" else super().initial_bias(classes)
