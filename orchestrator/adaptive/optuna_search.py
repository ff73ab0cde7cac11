"""Trials that learn from earlier ones: Optuna's sampler (a tree-structured Parzen estimator, Bergstra et al. 2011).

Ray Tune's OptunaSearch wraps the same sampler; it is used directly, because planning must not import ray.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.errors import RequestError
from orchestrator.experiment.space import Domain, Value
from orchestrator.experiment.tuning import Search, Trial, Tuning

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ROUND = 5
"""Trials per round. The number is fixed, so that the trials do not depend on how many cells run at once."""

LOWEST = -1e9
"""The score reported for a recipe without one. Optuna would take -inf for a failed trial and try similar ones again."""


def learning(space: Mapping[str, Domain], tuning: Tuning, epochs: int) -> Search:
    """Rounds of trials, each chosen from the scores of all earlier rounds.

    Raises:
        RequestError: Optuna is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise RequestError("'searcher: optuna' needs Optuna: pip install 'loss-orchestrator[optuna]'.")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=tuning.seeds[0]))
    ranges = {name: _distribution(domain) for name, domain in space.items()}
    for start in range(0, tuning.trials, ROUND):
        tried = [study.ask(ranges) for _ in range(start, min(start + ROUND, tuning.trials))]
        scores = yield [Trial(trial.number, _point(space, trial.params), epochs) for trial in tried]
        for trial, score in zip(tried, scores, strict=True):
            study.tell(trial, max(score, LOWEST))


def _distribution(domain: Domain) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match domain.kind:
        case "choice":
            return CategoricalDistribution(domain.options)
        case "randint":
            return IntDistribution(int(domain.low), int(domain.high) - 1)
        case "uniform" | "loguniform":
            return FloatDistribution(domain.low, domain.high, log=domain.kind == "loguniform")


def _point(space: Mapping[str, Domain], suggested: Mapping[str, Value]) -> dict[str, Value]:
    """The suggested values, rounded in the same way as drawn ones."""
    return {name: domain.near(suggested[name]) for name, domain in space.items()}
