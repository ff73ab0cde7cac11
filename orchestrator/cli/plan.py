"""Show what a launch would do, and start nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.options import (
    ALL,
    RUNS,
    Axes,
    DataDir,
    File,
    Json,
    RegistryURL,
    Rehash,
    Root,
    launch_command,
    with_axes,
)
from orchestrator.report.terminal.console import console
from orchestrator.stores import Stores

if TYPE_CHECKING:
    from orchestrator.decision.evidence import Evidence
    from orchestrator.execution.queue import CellKind
    from orchestrator.experiment.checks import LabelSource
    from orchestrator.experiment.plan import Cell, Plan
    from orchestrator.pricing.price import Price
    from orchestrator.records.files.earlier import Data
    from orchestrator.reproduction.anchors import Outlook
    from orchestrator.study import Study


@with_axes
def show_plan(
    context: typer.Context,
    file: File,
    *,
    workspace: Root = RUNS,
    registry: RegistryURL = None,
    data_dir: DataDir = None,
    rehash: Rehash = False,
    axes: Axes = ALL,
    on: Annotated[
        str | None,
        typer.Option("--on", metavar="CLUSTER", help="Time on a cluster, such as '8 x a100 + 2 x l4'. Default: here."),
    ] = None,
    price: Annotated[
        float | None, typer.Option("--price", min=0, help="The price of a GPU hour, to print the cost.")
    ] = None,
    register: Annotated[
        bool, typer.Option("--register", help="Print a hash of the file's claims and seed rule, to publish beforehand.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the grid, what of it is done and what the rest costs; start nothing."""
    from orchestrator.experiment.stated import register as register_of
    from trainers.datasets.hashes import forget

    study = axes.study(file, Stores.at(workspace, registry), data_dir)
    if rehash:
        forget(study.data_dir)
    forecast = _forecast(study, on)
    registered = register_of(study.filed) if register else None
    if as_json:
        told = _as_json(study, forecast, price)
        upcoming = study.next_cells
        told["next"] = upcoming and {**upcoming.to_json(), "command": launch_command(context, file)}
        if registered:
            told["register"] = registered
        print(json.dumps(told))
        return
    _show(study, forecast, price)
    if upcoming := study.next_cells:
        print(upcoming.sentence)
    if registered:
        print(f"{registered}  claims and seed rule of {file}")


@dataclass(frozen=True)
class _Forecast:
    """What there is to say of a launch before it starts."""

    plan: Plan
    """What it would train: the trials, as long as recipes are sought, since nobody knows the final cells then."""
    states: Mapping[str, str]
    """Of every cell, by id."""
    data: Data
    images: Sequence[str]
    """What the user's own images are like."""
    promises: Sequence[Evidence]
    cautions: Sequence[str]
    changed: Sequence[str]
    """Which finished cells it would train otherwise."""
    outlook: Outlook | None
    """What it would do about old cells."""
    replicas: Sequence[Cell]
    why: str
    """What makes replicas needed."""
    cost: Price
    """Of what is left, with the replicas."""


def _forecast(study: Study, on: str | None) -> _Forecast:
    """What a launch would do here, or on a cluster that is named.

    Raises:
        RequestError: Some cells cannot be trained.
    """
    from orchestrator.decision.evidence import evidence
    from orchestrator.experiment import checks
    from orchestrator.launching import old_cells
    from orchestrator.launching.run_plan import take_stock
    from orchestrator.outcome import is_done
    from orchestrator.report.wording.decision import provable

    trials = study.trials if study.trials and not study.trials.over else None
    plan = trials.plan if trials else study.plan
    data = study.data(plan)
    with study.stores.registry_if_any() as records:
        states = take_stock(plan, study.stores.evaluations, records)
        durations = records.durations(plan.experiment.name) if records else {}
    left = plan.pending({cell for cell, state in states.items() if is_done(state)})
    labels_of = checks.labels_here(study.data_dir)
    checks.check(left, labels_of)
    cautions = [*checks.absent(left, study.data_dir), *study.stores.unread(), *checks.cautions(left, labels_of)]
    promises = evidence(plan, labels_of)
    cautions += [provable(each) for each in promises if not each.suffices]
    replicas, why = ([], "") if trials else old_cells.replicas(study, plan, states)
    pending = [cell for cell in left.cells if states[cell.id] != "failed"]
    return _Forecast(
        plan=plan,
        states=states,
        data=data,
        images=checks.facts(left, labels_of),
        promises=promises,
        cautions=cautions,
        changed=old_cells.changed(study, plan),
        outlook=old_cells.outlook(study, plan, [*pending, *replicas]),
        replicas=replicas,
        why=why,
        cost=_price(study, left, replicas, on=on, durations=durations, labels_of=labels_of),
    )


def _price(
    study: Study,
    left: Plan,
    replicas: Sequence[Cell],
    *,
    on: str | None,
    durations: Mapping[CellKind, Sequence[float]],
    labels_of: LabelSource,
) -> Price:
    """The price of what is left of a plan, with the replicas, here or on a cluster that is named."""
    from orchestrator.pricing.devices import cluster
    from orchestrator.pricing.features import features
    from orchestrator.pricing.price import elsewhere, estimator, here, price

    place = elsewhere(cluster(on)) if on else here()
    waiting = [*left.cells, *replicas]
    estimates = estimator(waiting, study.stores.evaluations, study.stores.rates.read(), labels_of)
    before = features(waiting, labels_of, study.data_dir)
    return price(waiting, left.experiment, estimates, place, durations, features=before)


def _as_json(study: Study, forecast: _Forecast, per_gpu_hour: float | None) -> dict[str, Any]:
    from orchestrator.report.terminal import plan as plans
    from orchestrator.report.terminal import price as prices

    outlook = forecast.outlook
    told = plans.as_json(study.experiment, forecast.plan, forecast.states, forecast.replicas)
    told["data"] = forecast.data.to_json()
    told["changed"] = forecast.changed
    told["anchors"] = [{"id": cell.id, "name": cell.name} for cell in outlook.anchors] if outlook else []
    told["refusals"] = outlook.refusals if outlook else []
    if forecast.promises:
        told["promises"] = [each._asdict() for each in forecast.promises]
    told["cautions"] = forecast.cautions
    told["images"] = forecast.images
    told["additions"] = study.added and study.added.to_json()
    told["price"] = prices.as_json(forecast.cost, per_gpu_hour)
    return told


def _show(study: Study, forecast: _Forecast, per_gpu_hour: float | None) -> None:
    from orchestrator.records.files.results import read_all
    from orchestrator.report.terminal.plan import grid
    from orchestrator.report.wording.decision import provable

    console().print(
        grid(
            forecast.plan,
            forecast.states,
            forecast.cost,
            read_all(study.place.results(study.experiment.name)),
            [*forecast.images, *forecast.data.told()],
            promises=[provable(each) for each in forecast.promises if each.suffices],
            added=[*(study.added.told() if study.added else ()), *study.changes],
            cautions=forecast.cautions,
            older=[*forecast.changed, *(forecast.outlook.sentences() if forecast.outlook else ())],
            replicas=forecast.replicas,
            why=forecast.why,
            per_gpu_hour=per_gpu_hour,
        )
    )
