"""What features of frozen data sets take before the first cell: counted by hand, said beside the cells."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import program
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Plan, plan
from orchestrator.pricing.devices import DEVICES, FORWARD, STREAMED
from orchestrator.pricing.estimate import Estimator
from orchestrator.pricing.features import FeatureCost, features
from orchestrator.pricing.images import images_of
from orchestrator.pricing.price import HOUR, here, price
from orchestrator.pricing.work import counts
from orchestrator.report.terminal import price as shown

if TYPE_CHECKING:
    from pathlib import Path

ONE: dict[str, Any] = {
    "name": "frozen", "as": "one", "of": "digits", "by": "resnet18", "weights": "made.safetensors", "size": 64,
}  # fmt: skip
IMAGES = 1797  # of digits


def asked(*datasets: dict[str, Any]) -> Plan:
    return plan(
        Experiment.model_validate(
            {
                "name": "x", "losses": ["softmax", "bce"], "backbones": ["identity"], "datasets": list(datasets),
                "seeds": 2, "recipe": {"epochs": 2, "batch_size": 64}, "baseline": "softmax",
            }
        )
    )  # fmt: skip


def nowhere(dataset: object) -> None:
    """No labels are here."""


def found(folder: Path, *datasets: dict[str, Any]) -> FeatureCost | None:
    return features(asked(*datasets).cells, nowhere, folder)


def test_features_take_the_forward_passes_of_all_images_at_the_rate_of_a_core(tmp_path: Path) -> None:
    cost = found(tmp_path, ONE)
    assert cost is not None
    each = counts()["resnet18"][3, 64, 64]
    assert (cost.images, cost.flops) == (IMAGES, IMAGES * each.forward_flops)
    core = DEVICES["cpu"]
    quickest = max(
        IMAGES * each.forward_flops / (FORWARD[1] * core.peak("float32")),
        IMAGES * each.forward_bytes / (STREAMED[1] * core.bandwidth),
    )
    assert cost.core_hours.low == pytest.approx(quickest / HOUR)
    assert cost.core_hours.low < cost.core_hours.middle < cost.core_hours.high
    assert cost.networks == ("resnet18",)
    assert "not measured" in cost.source


def test_a_single_layer_takes_the_work_that_a_person_counts(tmp_path: Path) -> None:
    cost = found(tmp_path, {**ONE, "by": {"name": "mlp", "width": 4}, "size": 8})
    assert cost is not None
    assert cost.flops == 1797 * 2 * (3 * 8 * 8) * 4  # a product and a sum for each of 192 numbers and 4 units
    # 70 GFLOP/s of a core, of which a forward pass reaches 80 % at best; or 8 GB/s, of which it moves 130 % at best.
    moved = 1797 * 4 * (2 * 192 + 5 * 4)  # read and flattened; then layer, normalisation and ReLU, each in and out
    assert cost.core_hours.low * 3600 == pytest.approx(max(cost.flops / 56e9, moved / 10.4e9))
    assert cost.core_hours.high * 3600 == pytest.approx(max(cost.flops / 7e9, moved / 2.8e9))


def test_what_is_computed_twice_counts_twice_and_what_is_shared_counts_once(tmp_path: Path) -> None:
    alone = found(tmp_path, ONE)
    shared = found(tmp_path, ONE, {**ONE, "as": "open", "hold_out": [3]})
    twice = found(tmp_path, ONE, {**ONE, "as": "small", "size": 32})
    assert alone is not None
    assert shared == alone
    assert twice is not None
    assert twice.images == 2 * IMAGES
    assert twice.flops == alone.flops + IMAGES * counts()["resnet18"][3, 32, 32].forward_flops


def test_test_images_of_unknown_classes_pass_through_the_network_too(tmp_path: Path) -> None:
    cost = found(tmp_path, {**ONE, "unknowns": "fashion_mnist"})
    assert cost is not None
    assert cost.images == IMAGES + 10_000


def test_images_that_two_data_sets_share_pass_once_whatever_else_one_of_them_has(tmp_path: Path) -> None:
    cost = found(tmp_path, ONE, {**ONE, "as": "open", "unknowns": "fashion_mnist"})
    assert cost is not None
    assert cost.images == IMAGES + 10_000
    assert cost == found(tmp_path, {**ONE, "unknowns": "fashion_mnist"})


def test_a_network_that_was_not_counted_and_a_size_that_weights_must_tell_are_named(tmp_path: Path) -> None:
    cost = found(tmp_path, {**ONE, "by": "timm:resnet34"}, {**ONE, "as": "two", "size": None})
    assert cost is not None
    assert cost.unknown == ("timm:resnet34", "resnet18")
    assert (cost.images, cost.networks) == (0, ())
    lines = [*shown.lines(_priced(asked(ONE), cost), None)]
    assert any("not known and not included: features by timm:resnet34, resnet18" in line for line in lines)


def _priced(plan: Plan, cost: FeatureCost | None) -> Any:
    return price(plan.cells, plan.experiment, Estimator((), images_of(nowhere)), here(), features=cost)


def test_features_are_a_line_of_their_own_and_in_no_figure_of_the_cells(tmp_path: Path) -> None:
    cost = found(tmp_path, ONE)
    without = _priced(asked(ONE), None)
    priced = _priced(asked(ONE), cost)
    assert replace(priced, features=None) == without
    assert [line for line in shown.lines(priced, None) if "features by" in line] == [
        line for line in shown.lines(priced, None) if line not in [*shown.lines(without, None)]
    ]
    assert cost is not None
    assert shown.as_json(priced, None)["features"]["flops"] == cost.flops  # pyright: ignore[reportIndexIssue]
    assert shown.as_json(without, None)["features"] is None


def test_cells_on_features_are_priced_by_the_width_of_the_network_and_disk_has_the_features(tmp_path: Path) -> None:
    priced = _priced(asked(ONE), found(tmp_path, ONE))
    assert priced.unknown == ()
    assert priced.core_hours.middle > 0
    assert priced.disk.decoded == IMAGES * 512 * 4


def test_experiments_without_features_wait_for_none(tmp_path: Path) -> None:
    plan_ = asked({"name": "digits"})
    assert features(plan_.cells, nowhere, tmp_path) is None
    assert features((), nowhere, tmp_path) is None


FILE = """\
name: frozen
losses: [softmax, bce]
backbones: [identity]
datasets:
  - {name: frozen, as: small, of: digits, by: resnet8, weights: made.safetensors, size: 8}
seeds: 1
recipe: {epochs: 1, batch_size: 64}
baseline: softmax
"""


def test_plan_says_it_before_the_launch_and_not_after(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from trainers import catalogue
    from trainers.backbones import InputShape

    (tmp_path / "data").mkdir()
    network, _ = catalogue.chosen("backbones", "resnet8").build(InputShape(3, 8, 8))
    save_file(network.state_dict(), tmp_path / "data" / "made.safetensors")
    (tmp_path / "frozen.yaml").write_text(FILE)

    def priced() -> dict[str, Any]:
        done = program.run("plan", "frozen.yaml", "--json", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["price"]

    before = priced()["features"]
    assert before["images"] == IMAGES
    assert before["unknown"] == []
    told = program.run("plan", "frozen.yaml", folder=tmp_path).stdout
    assert "features by resnet8: 1,797 images passed through a network, " in " ".join(told.split())
    done = program.run("launch", "frozen.yaml", "--executor", "inline", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "frozen.yaml").write_text(FILE.replace("seeds: 1", "seeds: 2"))
    after = priced()
    assert (after["cells"], after["features"]) == (2, None)
