"""Trials that learn from those before, by Ray Tune's OptunaSearch."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.errors import RequestError
from orchestrator.space import Domain
from orchestrator.tuning import Search, Trial, Tuning

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ROUND = 5
"""Trials that are asked for at once. A fixed number: what is tried must not depend on how many run at a time."""

LOWEST = -1e9
"""Told of a recipe that has no score: Optuna passes over infinities, and would try its like again."""


def learning(space: Mapping[str, Domain], tuning: Tuning, epochs: int) -> Search:
    """Rounds of trials, each chosen knowing the scores of all rounds before.

    Raises:
        RequestError: Optuna is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise RequestError("'searcher: optuna' needs Optuna: pip install 'loss-orchestrator[optuna]'.")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ranges = {name: _distribution(domain) for name, domain in space.items()}
    search = OptunaSearch(space=ranges, metric="score", mode="max", seed=tuning.seeds[0])
    for start in range(0, tuning.trials, ROUND):
        numbers = range(start, min(start + ROUND, tuning.trials))
        trials = [Trial(number, _point(space, search.suggest(str(number))), epochs) for number in numbers]
        for trial, score in zip(trials, (yield trials), strict=True):
            search.on_trial_complete(str(trial.number), {"score": max(score, LOWEST)})


def _distribution(domain: Domain) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match domain.kind:
        case "choice":
            return CategoricalDistribution(domain.options)
        case "randint":
            return IntDistribution(int(domain.low), int(domain.high) - 1)
        case "uniform" | "loguniform":
            return FloatDistribution(domain.low, domain.high, log=domain.kind == "loguniform")


def _point(space: Mapping[str, Domain], suggested: Any) -> dict[str, Any]:
    """What was suggested, rounded as values that are drawn are."""
    return {name: domain.near(suggested[name]) for name, domain in space.items()}
