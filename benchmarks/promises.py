"""How often the truth lies above a bound that `decide` promises: `python -m benchmarks.promises [DRAWS]`.

In each draw there are three models, one of them worse. Model and threshold are chosen on 60 validation parts, and 150
test parts say what is promised. The truth comes from 120 000 images. Writes a table between two comments in
docs/statistics.md. Everything is seeded.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from benchmarks.page import fill
from orchestrator.decision.promise import RATES, Promise, promise
from orchestrator.experiment.operation import Operation
from orchestrator.thresholds.choice import choose
from orchestrator.thresholds.consequences import Samples, Use, consequences

DRAWS = 10_000
ERROR = 0.05
CLASSES = ("bolt", "nut", "dented")
SHARES = (0.5, 0.3, 0.2)
SKILLS = (2.3, 2.5, 2.5)
"""How much higher the own class scores on average, in each of the three models."""

TOLERANCE = 0.004
"""The truth is known to about this."""


class Case(NamedTuple):
    """An operation, and how many images there are of each part."""

    name: str
    fields: dict[str, Any]
    images: int = 1

    @property
    def use(self) -> Use:
        """The operation in numbers of classes."""
        return Use.of(Operation.model_validate(self.fields), CLASSES)


CASES = (
    Case("prices and reviews", {"good": ["bolt", "nut"], "review": 0.3}),
    Case("stated classes, one limit", {"limits": {"false_accept_rate": 0.15}}),
    Case(
        "stated classes, two limits, a share of its own",
        {"limits": {"false_accept_rate": 0.3, "false_reject_rate": 0.35}, "shares": {"dented": 0.05}},
    ),
    Case(
        "three images per part, a limit, reviews",
        {"good": ["bolt", "nut"], "review": 0.6, "limits": {"false_accept_rate": 0.05}},
        3,
    ),
)


def drawn(rng: np.random.Generator, parts: int, skill: float = 2.5, images: int = 1) -> Samples:
    """Images of parts, whose own class scores higher on average; images of one part resemble each other."""
    truth = rng.choice(len(CLASSES), parts, p=SHARES)
    label = np.repeat(truth, images).astype(np.int32)
    each = np.arange(label.size)
    scores = rng.normal(size=(label.size, len(CLASSES)))
    if images > 1:
        scores += np.repeat(rng.normal(0, 0.7, (parts, len(CLASSES))), images, axis=0)
    scores[each, label] += skill
    ordered = np.sort(scores, axis=1)
    rivals = scores.copy()
    rivals[each, label] = -np.inf
    return Samples(
        label,
        scores.argmax(1).astype(np.int32),
        ordered[:, -1],
        ordered[:, -2],
        scores[each, label],
        rivals.max(1),
        np.repeat(np.arange(parts), images) if images > 1 else None,
    )


class Truth:
    """The rates and the cost of a model on a grid of thresholds, read linearly between."""

    def __init__(self, case: Case, skill: float) -> None:
        """Draw very many parts."""
        self.grid = np.linspace(-2, 6, 161)
        parts = drawn(np.random.default_rng(99), 120_000 // case.images, skill, case.images)
        seen = consequences(parts, case.use, self.grid)
        self.values = {"cost": seen.costs()} | {name: seen.estimates(name) for name in RATES}

    def missed(self, told: Promise) -> list[str]:
        """What lies above its bound, of all that is promised."""
        bounds = {rate.name: rate.bound for rate in told.rates if rate.is_kept is not False} | {"cost": told.cost_bound}
        true = {name: np.interp(told.threshold, self.grid, self.values[name]) for name in bounds}
        return [name for name, bound in bounds.items() if true[name] > bound + TOLERANCE]


def miss_rates(case: Case, draws: int, seed: int = 5) -> dict[str, float]:
    """The share of draws in which the truth lies above each bound."""
    rng = np.random.default_rng(seed)
    use = case.use
    truths = {skill: Truth(case, skill) for skill in set(SKILLS)}
    counts = Counter[str]()
    for _ in range(draws):
        models = [(skill, choose(drawn(rng, 60, skill, case.images), use)) for skill in SKILLS]
        known = [(skill, choice) for skill, choice in models if choice is not None]
        skill, choice = min(known, key=lambda model: model[1].rank)
        told = promise(drawn(rng, 150, skill, case.images), use, choice)
        names = [*(rate.name for rate in told.rates), "cost"]
        counts.update(dict.fromkeys(names, 0))
        counts.update(truths[skill].missed(told))
    return {name: count / draws for name, count in counts.items()}


def allowed(draws: int) -> float:
    """5 %, and three standard errors of the simulation."""
    return ERROR + 3 * math.sqrt(ERROR * (1 - ERROR) / draws)


def main(draws: int = DRAWS) -> None:
    """Write the table."""
    names = (*RATES, "cost")
    lines = [
        "| operation | false accepts | false rejects | reviews | cost | draws |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for case in CASES:
        found = miss_rates(case, draws)
        cells = [_shown(found[name], draws) if name in found else "–" for name in names]
        lines.append(f"| {case.name} | {' | '.join(cells)} | {draws:,} |")
        print(lines[-1], flush=True)
    fill("promises", "\n".join(lines))


def _shown(rate: float, draws: int) -> str:
    text = f"{100 * rate:.1f} %"
    return text if rate <= allowed(draws) else f"**{text}**"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
