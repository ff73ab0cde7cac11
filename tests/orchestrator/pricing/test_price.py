"""The price of a plan: what it rests on, what it adds up to, and how it is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Plan, plan
from orchestrator.pricing.devices import DEVICES, FIXED, STREAMED, UTILISATION, cluster
from orchestrator.pricing.estimate import CellDevice, Estimator, Range
from orchestrator.pricing.images import images_of
from orchestrator.pricing.measured import Observation, kind_of, rehearsed
from orchestrator.pricing.price import HOUR, START, Hardware, Price, elsewhere, price
from orchestrator.pricing.rates import CellRate
from orchestrator.pricing.simulation import Machine
from orchestrator.pricing.work import work_of
from orchestrator.report.terminal import price as shown

PROCESSOR = "a processor"

ASKED: dict[str, Any] = {
    "name": "asked", "losses": ["softmax", "bce", "bce_unified"], "backbones": ["resnet8"], "datasets": ["digits"],
    "seeds": 4, "recipe": {"epochs": 2}, "baseline": "softmax",
    "claims": [
        {"id": "A", "metric": "uniform_accuracy", "challenger": "bce", "baseline": "softmax", "direction": "higher"},
        {"id": "B", "metric": "compactness", "challenger": "bce_unified", "baseline": "softmax", "direction": "higher"},
        {"id": "C", "metric": "bias_gap", "challenger": "bce_unified", "within": 0.1},
    ],
}  # fmt: skip


def asked(**changes: Any) -> Plan:
    return plan(Experiment.model_validate({**ASKED, **changes}))


def nowhere(dataset: object) -> None:
    """No labels are here."""


def estimates(*seen: Observation) -> Estimator:
    return Estimator(seen, images_of(nowhere))


def place(cores: int = 2) -> Hardware:
    processor = CellDevice(PROCESSOR, DEVICES["cpu"])
    return Hardware((Machine("here", cores, 0, ""),), {"": processor}, processor, "this machine", is_here=True)


def seen(**changes: Any) -> Observation:
    known = {
        "backbone": "resnet8", "dataset": "digits", "device": PROCESSOR, "cpus": 1, "gpus": 0.0,
        "precision": "float32", "flops_per_second": 1e9, "fixed_seconds": 3.0, "source": "finished cells",
    }  # fmt: skip
    return Observation(**{**known, **changes})


def equal(plan: Plan, *seconds: float) -> list[Observation]:
    kind = kind_of(plan.cells[0].recipe.model_dump(mode="json"), 1)
    return [seen(kind=kind, seconds=each) for each in seconds]


def priced(plan: Plan, *found: Observation, at: Hardware | None = None) -> Price:
    return price(plan.cells, plan.experiment, estimates(*found), at or place())


def test_equal_cells_that_ran_here_tell_hours_and_wall_time() -> None:
    plan = asked()
    found = priced(plan, *equal(plan, 90.0, 110.0))
    assert found.core_hours.middle == pytest.approx(12 * 100 / HOUR)
    assert found.wall_seconds is not None
    assert found.wall_seconds.middle == START + 6 * 100.0
    assert found.core_hours.low == pytest.approx(12 * 90 / HOUR)
    assert found.core_hours.high == pytest.approx(12 * 110 / HOUR)
    assert found.is_measured
    assert found.sources == (("the time of equal cells here (n = 2)", 12),)


def test_a_single_equal_cell_leaves_a_wider_range_than_two() -> None:
    plan = asked()
    once = priced(plan, *equal(plan, 100.0)).core_hours
    twice = priced(plan, *equal(plan, 100.0, 100.0)).core_hours
    assert once.middle == twice.middle
    assert once.low < twice.low < twice.high < once.high


def test_cells_of_other_epochs_tell_by_their_work_beside_what_a_cell_always_takes() -> None:
    plan = asked()
    cell = plan.cells[0]
    images = images_of(nowhere)(cell)
    work = images and work_of(cell.recipe, images)
    assert work is not None
    found = estimates(seen(kind="another")).estimate(cell, CellDevice(PROCESSOR, None))
    assert found is not None
    assert found.seconds.middle == pytest.approx(3.0 + work.flops / 1e9)
    assert found.source == "finished cells, same backbone and data (n = 1)"


def test_the_nearer_a_measurement_the_narrower_the_range_and_it_is_the_one_that_counts() -> None:
    cell = asked().cells[0]
    far = seen(backbone="resnet18", flops_per_second=7e9)
    other = seen(dataset="mnist", flops_per_second=5e9)
    near = seen(kind="another")
    widths = list[float]()
    for known in ([far], [far, other], [far, other, near], [far, other, near, *equal(asked(), 50.0)]):
        found = estimates(*known).estimate(cell, CellDevice(PROCESSOR, DEVICES["cpu"]))
        assert found is not None
        widths.append(found.seconds.high / found.seconds.low)
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 4


@pytest.mark.parametrize(
    "stranger", [{"device": "another"}, {"precision": "bfloat16"}, {"gpus": 1.0, "device": "NVIDIA A100-SXM4-40GB"}]
)
def test_what_ran_on_another_device_or_at_another_precision_tells_nothing(stranger: dict[str, Any]) -> None:
    found = estimates(seen(**stranger)).estimate(asked().cells[0], CellDevice(PROCESSOR, None))
    assert found is None


def test_a_rehearsal_gives_a_rate_that_finished_cells_replace() -> None:
    rate = CellRate("resnet8", "digits", (1, 8, 8), 10, PROCESSOR, 1, 0, "float32", 128, 500.0, 4.0)
    plan = asked()
    known = rehearsed([replace(rate, images_per_second=1.0), rate], {"resnet8": plan.cells[0]})
    assert [each.fixed_seconds for each in known] == [4.0]  # the later of two
    first = estimates(*known).estimate(plan.cells[0], CellDevice(PROCESSOR, None))
    later = estimates(*known, seen(kind="another")).estimate(plan.cells[0], CellDevice(PROCESSOR, None))
    assert first is not None
    assert later is not None
    assert first.source.startswith("rehearsal")
    assert later.source.startswith("finished cells")
    # 2 epochs of 7 batches at 500 images per second, and evaluations beside them
    assert first.seconds.middle == pytest.approx(4 + 2 * 7 * 128 / 500, rel=0.3)


def test_a_gpu_that_nobody_measured_is_priced_by_its_data_sheet_and_that_is_said() -> None:
    plan = asked(resources={"gpus": 1}, backbones=["resnet18"], datasets=["cifar10"], recipe={"epochs": 100})
    cell = plan.cells[0]
    images = images_of(nowhere)(cell)
    work = images and work_of(cell.recipe, images)
    assert work is not None
    found = priced(plan, at=elsewhere(cluster("4 x a100")))
    slowest = FIXED[1] + max(work.flops / (19.5e12 * UTILISATION[0]), work.moved_bytes / (1555e9 * STREAMED[0]))
    quickest = FIXED[0] + max(work.flops / (19.5e12 * UTILISATION[1]), work.moved_bytes / (1555e9 * STREAMED[1]))
    assert found.gpu_hours.high == pytest.approx(12 * slowest / HOUR)
    assert found.gpu_hours.low == pytest.approx(12 * quickest / HOUR)
    assert found.sources == (("NVIDIA's data sheet of the A100 (not measured)", 12),)
    assert not found.is_measured
    assert found.wall_seconds is not None
    assert found.wall_seconds.middle == pytest.approx(START + found.gpu_hours.middle * HOUR / 4, rel=0.01)


def test_half_a_gpu_takes_twice_as_long_and_as_many_gpu_hours() -> None:
    cells = asked(resources={"gpus": 1}, backbones=["resnet18"], datasets=["cifar10"], recipe={"epochs": 100})
    halves = asked(resources={"gpus": 0.5}, backbones=["resnet18"], datasets=["cifar10"], recipe={"epochs": 100})
    at = elsewhere(cluster("4 x a100"))
    assert priced(halves, at=at).gpu_hours.middle == pytest.approx(priced(cells, at=at).gpu_hours.middle, rel=0.02)


def test_what_nobody_knows_is_named_and_in_no_figure() -> None:
    both = asked(backbones=["resnet8", "torchvision:resnet34"])
    found = priced(both, *equal(asked(), 100.0))
    assert found.unknown == (("torchvision:resnet34", 12),)
    assert found.core_hours.middle == pytest.approx(12 * 100 / HOUR)
    assert any("torchvision:resnet34 (12 cells)" in line for line in shown.lines(found, None))


def test_a_claim_costs_the_cells_it_needs_and_alone_those_that_no_other_needs() -> None:
    plan = asked()
    found = priced(plan, *equal(plan, 3600.0, 3600.0))
    told = {cost.claim: (round(cost.needed.middle, 6), round(cost.alone.middle, 6)) for cost in found.claims}
    assert told == {"A": (8.0, 4.0), "B": (8.0, 0.0), "C": (4.0, 0.0)}


def test_money_is_for_all_gpus_of_a_cluster_until_the_last_cell_ends() -> None:
    plan = asked(resources={"gpus": 1}, seeds=1)
    at = elsewhere(cluster("8 x a100"))
    found = replace(priced(plan, at=at), wall_seconds=Range(1800.0, 3600.0, 7200.0))
    assert found.money(2.5) == Range(10.0, 20.0, 40.0)
    assert "20 (10 – 40) at 2.5 per GPU hour, for 8 GPUs until the last cell ends" in shown.lines(found, 2.5)


@pytest.mark.parametrize(
    ("resources", "on", "sentence"),
    [
        ({"gpus": 1}, "64 x cpu", "cells ask for a GPU, and 64 x cpu has none"),
        ({"gpus": 0}, "8 x a100", "cells ask for no GPU"),
        ({"gpus": 16}, "8 x a100", "a cell asks for 1 cores and 16 GPUs, more than a machine of 8 x a100 has"),
    ],
)
def test_a_cluster_that_cannot_run_the_cells_gets_no_wall_time_and_the_reason(
    resources: dict[str, Any], on: str, sentence: str
) -> None:
    found = priced(asked(resources=resources), at=elsewhere(cluster(on)))
    assert found.wall_seconds is None
    assert sentence in found.problem


def test_cells_that_ask_for_a_gpu_are_priced_on_a_usual_one_where_none_is_here() -> None:
    found = priced(asked(resources={"gpus": 1}))
    assert found.wall_seconds is None
    assert found.on == "an A100"
    assert any("on an A100" in line for line in shown.lines(found, None))


def test_disk_grows_with_test_images_and_classes_and_has_decoded_images_once() -> None:
    few = priced(asked(datasets=["cifar10"])).disk.results
    many = priced(asked(datasets=["cifar100"])).disk.results
    rows = 10_000 + 5_000
    assert few == pytest.approx(12 * (rows * 68 + 150_000), rel=0.02)  # docs/records.md: 68 bytes a row at 10 classes
    assert many == pytest.approx(12 * (rows * 404 + 150_000), rel=0.02)
    two = priced(asked(datasets=["imagenet"], losses=["softmax", "bce"], claims=[]))
    assert two.disk.decoded == (1_281_167 + 50_000) * 3 * 224 * 224


def test_nothing_left_costs_nothing() -> None:
    plan = asked()
    found = price([], plan.experiment, estimates(), place())
    assert list(shown.lines(found, 2.0)) == ["nothing left to run"]


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        ((0.2, 0.25, 0.3), "15 min (12 – 18)"),
        ((1, 2.25, 3), "2.2 h (1.0 – 3.0)"),
        ((900, 1234, 2000), "1,234 h (900 – 2,000)"),
    ],
)
def test_hours_read_well(hours: Sequence[float], text: str) -> None:
    assert shown.hours(Range(*hours)) == text
