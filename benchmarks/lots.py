"""How often `check` errs: `python -m benchmarks.lots [DRAWS]`. Writes a table of docs/statistics.md.

The truth is known in all draws, and everything is seeded.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np

from benchmarks.page import fill
from orchestrator.deployment.certificate import Certificate, CertifiedRate, ClassGroup
from orchestrator.deployment.check import FALSE_ALARMS, judged, tested
from orchestrator.deployment.scored import UNKNOWN, reference, samples
from orchestrator.experiment.operation import Operation
from orchestrator.statistics.lots import walk
from orchestrator.thresholds.consequences import Samples, Use

DRAWS = 10_000
ERROR = 0.05
CLASSES = ("bolt", "nut", "dented")
THRESHOLD = 1.2

Wrong = dict[str, int]


def certificate(operation: Operation, certified: Samples, rates: tuple[CertifiedRate, ...] = ()) -> Certificate:
    """What `check` needs of a certificate."""
    held = reference(certified, Use.of(operation, CLASSES), THRESHOLD)
    fields: dict[str, Any] = {"issued": date.max.replace(year=9000), "classes": CLASSES, "threshold": THRESHOLD}
    return Certificate.model_construct(operation=operation, rates=rates, reference=held, **fields)


def drawn(rng: np.random.Generator, label: np.ndarray, *, told: bool = True) -> Samples:
    """Images whose own class scores 2.5 higher on average."""
    scores = rng.normal(size=(label.size, len(CLASSES))).astype(np.float32)
    scores[np.arange(label.size), label] += 2.5
    return samples(scores, label if told else np.full(label.size, UNKNOWN, np.int32))


def labels(rng: np.random.Generator, n: int, shares: tuple[float, ...]) -> np.ndarray:
    """Classes of images."""
    return rng.choice(len(CLASSES), n, p=shares).astype(np.int32)


def at_the_promise(bound: float, n: int) -> Callable[[np.random.Generator], Wrong]:
    """A labelled lot whose true rate is the promise."""

    def draw(rng: np.random.Generator) -> Wrong:
        verdict = walk(rng.random(n) < bound, bound, error_above=ERROR, error_below=ERROR).verdict
        return {"broken": verdict is False, "kept": verdict is True}

    return draw


def of_another_mix() -> Callable[[np.random.Generator], Wrong]:
    """A labelled lot, half of it defects, though production has one in ten: the share looked at is the promise."""
    operation = Operation(good=("bolt", "nut"), review=0.5, defects=0.1)
    truth = drawn(np.random.default_rng(9), labels(np.random.default_rng(8), 2_000_000, (0.45, 0.45, 0.1)))
    looked = float(np.mean(~((truth.top > THRESHOLD) & (truth.second < THRESHOLD))))
    parts = (ClassGroup(share=0.9, classes=(0, 1)), ClassGroup(share=0.1, classes=(2,)))
    rate = CertifiedRate(name="review_share", errors=0, n=1, estimate=looked, bound=looked, parts=parts)
    rng = np.random.default_rng(10)
    told = certificate(operation, drawn(rng, labels(rng, 1_000, (0.45, 0.45, 0.1))), (rate,))
    use = Use.of(operation, CLASSES)

    def draw(rng: np.random.Generator) -> Wrong:
        (found,) = tested(told, drawn(rng, labels(rng, 1_000, (0.25, 0.25, 0.5))), use)
        return {"broken": found.verdict == "broken", "kept": found.verdict == "kept"}

    return draw


def unchanged(certified: int, n: int, defects: float | None) -> Callable[[np.random.Generator], Wrong]:
    """An unlabelled lot like the certified images, which are drawn anew each time."""
    operation = Operation(good=("bolt", "nut"), review=0.5, defects=defects)
    mix = (0.3, 0.3, 0.4)
    usual = mix if defects is None else ((1 - defects) / 2, (1 - defects) / 2, defects)

    def draw(rng: np.random.Generator) -> Wrong:
        told = certificate(operation, drawn(rng, labels(rng, certified, mix)))
        lot = drawn(rng, labels(rng, n, usual), told=False)
        return {"changed": judged(told, lot, "lot", is_labelled=False).verdict == "broken"}

    return draw


CASES = {
    "labelled, 5 % promised, 400 images": at_the_promise(0.05, 400),
    "labelled, 1 % promised, 1,000 images": at_the_promise(0.01, 1_000),
    "labelled, 0.1 % promised, 5,000 images": at_the_promise(0.001, 5_000),
    "labelled, of another mix than production": of_another_mix(),
    "unlabelled, 300 images, 1,000 certified": unchanged(1_000, 300, None),
    "unlabelled, 300 images, 1,000 certified, 1 % defects": unchanged(1_000, 300, 0.01),
}


def rates(case: str, draws: int, seed: int = 7) -> dict[str, float]:
    """The share of draws in which each wrong answer is given."""
    rng = np.random.default_rng(seed)
    found = [CASES[case](rng) for _ in range(draws)]
    return {name: sum(each[name] for each in found) / draws for name in found[0]}


def allowed(stated: float, draws: int) -> float:
    """What is stated, and three standard errors of the simulation."""
    return stated + 3 * math.sqrt(stated * (1 - stated) / draws)


def main(draws: int = DRAWS) -> None:
    """Write the table."""
    lines = ["| lot | wrongly broken | wrongly kept | wrongly changed | draws |", "|---|---:|---:|---:|---:|"]
    for case in CASES:
        found = rates(case, draws)
        stated = {"broken": ERROR, "kept": ERROR, "changed": FALSE_ALARMS}
        cells = [_shown(found[name], stated[name], draws) if name in found else "–" for name in stated]
        lines.append(f"| {case} | {' | '.join(cells)} | {draws:,} |")
        print(lines[-1], flush=True)
    fill("new lots", "\n".join(lines))


def _shown(rate: float, stated: float, draws: int) -> str:
    text = f"{100 * rate:.2f} %"
    return text if rate <= allowed(stated, draws) else f"**{text}**"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
