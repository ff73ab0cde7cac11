"""The plan: which cells there are, and what makes two of them one."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ExperimentError
from orchestrator.experiment.plan import PROTOCOL, Plan, digest, identity, original, plan
from orchestrator.experiment.reading import load
from trainers.data import drawn_from
from trainers.datasets.content import Content
from trainers.recipe import Recipe, Training

if TYPE_CHECKING:
    from collections.abc import Callable

    Written = Callable[[str | bytes], Path]

ROOT = Path(__file__).parents[3]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "ids.json").read_text())

GRID = """\
name: grid
losses: [softmax, bce, {name: bce_unified, as: ours, bias_init: prior}]
backbones: [resnet8, "torchvision:resnet34"]
datasets: [digits, {name: cifar10, train_size: 100}]
seeds: [3, 1, 2]
recipe: {epochs: 4}
overrides: [{where: {backbone: resnet8}, recipe: {epochs: 2}, resources: {cpus: 2}}]
baseline: softmax
"""


@pytest.fixture
def grid(written: Written) -> Plan:
    return plan(load(written(GRID)))


# Identity


@pytest.mark.parametrize("golden", GOLDEN["recipes"].values(), ids=GOLDEN["recipes"])
def test_the_ids_of_committed_recipes_stay(golden: dict[str, Any]) -> None:
    # Another id means that everything ever trained is trained again. Where that is meant, because the
    # same recipe gives another result now, bump PROTOCOL and write the new ids into tests/golden/ids.json;
    # where it is not, a default, a field or its spelling has changed by accident.
    assert GOLDEN["protocol"] == PROTOCOL
    assert identity(Recipe.model_validate(golden["recipe"])) == golden["id"]


@pytest.mark.parametrize("protocol", [1, 2])
def test_an_id_is_the_sha_256_of_the_canonical_json_of_protocol_and_recipe(protocol: int) -> None:
    canonical = f'{{"protocol":{protocol},"recipe":{{"loss":"\\u00e4","seed":1}}}}'
    assert digest({"seed": 1, "loss": "ä"}, protocol) == hashlib.sha256(canonical.encode()).hexdigest()


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_json_has_no_number_for_has_no_id(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest({"seed": number}, PROTOCOL)


def test_an_id_is_64_hexadecimal_digits(grid: Plan) -> None:
    assert all(len(cell.id) == 64 and set(cell.id) <= set("0123456789abcdef") for cell in grid.cells)


def test_what_is_written_out_and_what_is_left_to_its_default_is_one_recipe() -> None:
    axes = {"backbone": "resnet8", "dataset": "digits", "seed": 0}
    short = Recipe.model_validate({"loss": "bce_unified", **axes})
    loss = {"name": "bce_unified", "bias_init": "prior", "bias_learning_rate": 1, "bias_weight_decay": 0}
    long = Recipe.model_validate({"loss": loss, **axes, "training": Training().model_dump()})
    assert identity(short) == identity(long)


def test_a_recipe_read_back_from_its_json_has_its_id(grid: Plan) -> None:
    for cell in grid.cells:
        assert identity(Recipe.model_validate(json.loads(cell.recipe.model_dump_json()))) == cell.id


def ids(written: Written, content: str) -> set[str]:
    return {cell.id for cell in plan(load(written(content))).cells}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: grid", "name: other"),
        ("as: ours", "as: theirs"),
        ("resources: {cpus: 2}", "resources: {cpus: 3, gpus: 0.5}"),
        ("seeds: [3, 1, 2]", "seeds: [1, 2, 3]"),
        ("baseline: softmax", "baseline: bce"),
        ("{epochs: 4}", "{epochs: 4, learning_rate: 1.0e-2, momentum: 0.9}"),
        ("losses: [softmax, bce,", "losses: [bce, softmax,"),
        ("name: bce_unified, as: ours, bias_init: prior", "bias_init: prior, name: bce_unified"),
    ],
)
def test_labels_resources_and_order_are_no_part_of_identity(written: Written, old: str, new: str) -> None:
    assert old in GRID
    assert ids(written, GRID) == ids(written, GRID.replace(old, new))


def test_the_order_of_keys_is_no_part_of_identity(written: Written) -> None:
    document = yaml.safe_load(GRID)
    assert ids(written, GRID) == ids(written, yaml.safe_dump(document, sort_keys=True))


trainings = st.builds(
    dict,
    epochs=st.integers(20, 400),
    batch_size=st.integers(1, 64).map(lambda eighth: 8 * eighth),
    optimizer=st.sampled_from(["sgd", "adamw"]),
    learning_rate=st.floats(1e-6, 10),
    momentum=st.floats(0, 0.99),
    weight_decay=st.floats(0, 1),
    schedule=st.sampled_from(["cosine", "step", "constant"]),
    warmup_epochs=st.integers(0, 19),
    augmentation=st.sampled_from([(), ("crop",), ("flip",), ("crop", "flip", "cutout", "rand_augment")]),
    milestones=st.sampled_from([(0.5,), (0.5, 0.75)]),
    mixing=st.sampled_from([(), ("mixup",), ("mixup", "cutmix")]),
    label_noise=st.floats(0, 1),
    ema=st.floats(0, 0.99),
    precision=st.sampled_from(["float32", "tf32", "bfloat16"]),
    head_learning_rate=st.floats(0.1, 100),
    gradient_clip=st.none() | st.floats(0.1, 10),
    accumulation=st.sampled_from([1, 2, 4]),
    decay=st.sampled_from(["all", "weights"]),
    validation_fraction=st.floats(0, 0.9),
)
recipes = st.builds(
    dict,
    loss=st.sampled_from(["softmax", "bce"])
    | st.builds(
        dict,
        name=st.sampled_from(["bce_unified", "bce_diverse"]),
        bias_init=st.just("prior") | st.floats(-9, 9),
        bias_learning_rate=st.floats(0, 9),
        bias_weight_decay=st.floats(0, 9),
    ),
    backbone=st.sampled_from(["resnet8", "resnet20", "torchvision:resnet34"])
    | st.builds(dict, name=st.sampled_from(["resnet18", "resnet50"]), stem=st.sampled_from(["auto", "small"])),
    dataset=st.just("digits") | st.builds(dict, name=st.just("mnist"), train_size=st.none() | st.integers(1, 60_000)),
    seed=st.integers(0, 2**31 - 1),
    training=trainings,
    scored_on=st.sampled_from(["test", "validation"]),
    data_digest=st.none() | st.sampled_from(["0" * 64, "1" * 64]),
    weights_digest=st.none() | st.sampled_from(["0" * 64, "1" * 64]),
)


@given(recipes, recipes)
def test_two_recipes_share_an_id_only_if_they_are_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    first = Recipe.model_validate(one)
    second = Recipe.model_validate(other)
    assert (identity(first) == identity(second)) == (first == second)


@given(recipes, recipes, st.data())
def test_every_field_of_a_recipe_is_part_of_its_identity(
    one: dict[str, Any], other: dict[str, Any], data: st.DataObject
) -> None:
    changed = {**one, "training": dict(one["training"])}
    field = data.draw(
        st.sampled_from(
            ["loss", "backbone", "dataset", "seed", "scored_on", "data_digest", "weights_digest", *one["training"]]
        )
    )
    if field in changed:
        changed[field] = other[field]
    else:
        changed["training"][field] = other["training"][field]
    before = Recipe.model_validate(one)
    after = Recipe.model_validate(changed)
    assert (identity(before) == identity(after)) == (before == after)


def test_the_fields_above_are_all_there_are() -> None:
    assert set(Training.model_fields) == {
        "epochs", "batch_size", "optimizer", "learning_rate", "momentum", "weight_decay", "schedule",
        "warmup_epochs", "augmentation", "validation_fraction", "milestones", "mixing", "label_noise", "ema",
        "precision", "step_factor", "head_learning_rate", "gradient_clip", "accumulation", "nesterov", "decay",
    }  # fmt: skip
    assert set(Recipe.model_fields) == {
        "loss", "backbone", "dataset", "seed", "training", "scored_on", "data_digest", "weights_digest", "trainer",
            "certify",
    }  # fmt: skip


def test_images_kept_apart_are_part_of_the_id_and_nothing_else_of_an_operation_is(written: Written) -> None:
    def using(**more: Any) -> set[str]:
        operation = {"dataset": "digits", "good": [0, 1], "limits": {"false_accept_rate": 0.01}, **more}
        return ids(written, GRID + yaml.safe_dump({"operation": operation}))

    plain = ids(written, GRID)
    assert using() == plain
    assert len(using(certify=0.5) & plain) == len(plain) // 2  # cells of the other data set have the same ids
    assert using(certify=0.5) != using(certify=0.25)


@pytest.mark.parametrize("share", [0, 1, -0.5, "half"])
def test_a_share_to_keep_apart_is_between_0_and_1(written: Written, share: Any) -> None:
    text = GRID.replace("digits, {name: cifar10, train_size: 100}", "digits")
    with pytest.raises(ExperimentError, match="certify"):
        ids(written, text + yaml.safe_dump({"operation": {"certify": share}}))


def test_a_command_sees_all_test_images(written: Written) -> None:
    fields = {"losses": ["a"], "backbones": ["b"], "datasets": ["c"], "baseline": "a", "seeds": 1}
    text = {"name": "own", **fields, "trainer": {"command": ["true", "{out}"]}, "operation": {"certify": 0.5}}
    with pytest.raises(ExperimentError, match="'certify' keeps test images apart from training code of your own only"):
        load(written(yaml.safe_dump(text)))


# The grid


def test_the_grid_is_whole_and_each_id_there_once(grid: Plan) -> None:
    assert len(grid) == 3 * 2 * 2 * 3
    assert len({cell.id for cell in grid.cells}) == len(grid)
    assert len({cell.name for cell in grid.cells}) == len(grid)


def test_overrides_reach_their_cells_only(grid: Plan) -> None:
    for cell in grid.cells:
        expected = (2, 2) if cell.backbone == "resnet8" else (4, 1)
        assert (cell.recipe.training.epochs, cell.resources.cpus) == expected


def test_cells_of_equal_resources_are_neighbours_and_seeds_vary_slowest(grid: Plan) -> None:
    order = [(cell.resources.cpus, cell.seed) for cell in grid.cells]
    assert order == sorted(order)


def test_what_data_hold_is_part_of_the_ids_and_seeds_pair_all_the_same(written: Callable[[str], Path]) -> None:
    asked = load(written(GRID.replace("[digits", "[{name: image_folder, path: parts}")))
    label = asked.datasets[0].label
    plans = [plan(asked, {label: Content(digit * 64)}) for digit in "01"]
    first, second = ({cell.name: cell for cell in each.cells if cell.dataset == label} for each in plans)
    assert first.keys() == second.keys()
    for name, cell in first.items():
        assert cell.id != second[name].id
        assert cell.recipe.data_digest == "0" * 64
        assert drawn_from(cell.recipe.dataset) == drawn_from(second[name].recipe.dataset)


def test_what_data_hold_may_be_unknown(written: Callable[[str], Path]) -> None:
    asked = load(written(GRID.replace("[digits", "[{name: image_folder, path: parts}")))
    for contents in (None, {asked.datasets[0].label: Content(None)}):
        known = {(cell.dataset, cell.data_known) for cell in plan(asked, contents).cells}
        assert {(dataset, is_known) for dataset, is_known in known if dataset == "image_folder"} == {
            ("image_folder", False)
        }
        assert all(is_known for dataset, is_known in known if dataset != "image_folder")


def test_a_replica_has_the_id_and_name_of_its_cell_with_the_environment_behind(grid: Plan) -> None:
    cell = grid.cells[0]
    again = cell.again_in("one").again_in("two")
    assert (again.id, again.name, again.environment) == (f"{cell.id}@two", f"{cell.name}@two", "two")
    assert original(again.id) == original(cell.id) == cell.id
    assert cell.environment is None


def test_what_is_done_is_not_pending(grid: Plan) -> None:
    done = [cell.id for cell in grid.cells[::2]]
    assert [cell.id for cell in grid.pending(done).cells] == [cell.id for cell in grid.cells[1::2]]
    assert grid.pending({"another"}).cells == grid.cells


def test_a_finished_plan_has_nothing_pending(grid: Plan) -> None:
    assert len(grid.pending({cell.id for cell in grid.cells})) == 0


def test_a_large_grid_is_planned_without_torch_or_ray(tmp_path: Path) -> None:
    full = ROOT / "experiments" / "full.yaml"
    file = full if full.exists() else full.with_name("quickstart.yaml")
    asked = load(file)
    a_seed = len(asked.losses) * len(asked.backbones) * len(asked.datasets)
    options = ["--seeds", str(-(-540 // a_seed))]
    program = f"""
import sys
from orchestrator.cli import app
app(["plan", {str(file)!r}, "--json", *{options!r}, "--workspace", {str(tmp_path)!r}], standalone_mode=False)
heavy = {{"torch", "torchvision", "ray", "mlflow", "sklearn"}} & set(sys.modules)
print(heavy or "light", file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["total"] >= 540
    assert done.stderr.strip() == "light"
    assert not list(tmp_path.iterdir())
