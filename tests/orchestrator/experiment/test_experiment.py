"""Experiment files: what is asked, and what is told when the asking is wrong."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ExperimentError
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import plan
from orchestrator.experiment.reading import load
from orchestrator.experiment.revision import revise
from trainers import catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trainers.losses import Loss

    Written = Callable[[str | bytes], Path]


def complaints(path: Path) -> list[str]:
    """Every problem, as `LINE: sentence`."""
    with pytest.raises(ExperimentError) as caught:
        load(path)
    problems = caught.value.problems
    assert all(problem.startswith(f"{path}:") for problem in problems)
    assert not any("\n" in problem for problem in problems)
    return [problem.removeprefix(f"{path}:") for problem in problems]


# What is right


def test_what_is_not_given_has_a_default(written: Written, tiny: str) -> None:
    experiment = load(written(tiny))
    assert experiment.seeds == (0, 1, 2, 3, 4)
    assert (experiment.recipe.epochs, experiment.resources.cpus, experiment.resources.gpus) == (100, 1, 0)
    assert [choice.label for choice in experiment.losses] == ["softmax", "bce_unified"]


@pytest.mark.parametrize(
    ("seeds", "meant"), [("3", (0, 1, 2)), ("1", (0,)), ("[3]", (3,)), ("[7, 0, 3]", (0, 3, 7)), ("[0]", (0,))]
)
def test_seeds_are_a_number_or_a_list(written: Written, tiny: str, seeds: str, meant: tuple[int, ...]) -> None:
    assert load(written(f"{tiny}seeds: {seeds}\n")).seeds == meant


DECIDING = """\
claims: [{id: a, metric: uniformity, challenger: bce_unified, baseline: softmax, direction: higher}]
seeds: {min: 5, max: 30, until: decided}
"""


@pytest.mark.parametrize("scope", ["over: mean, than: {metric: nc2}", "than: {metric: nc2}", "family: secondary"])
def test_until_needs_one_claim_that_seeds_can_be_added_for(written: Written, tiny: str, scope: str) -> None:
    only = DECIDING.replace("higher}", f"higher, {scope}}}")
    (complaint,) = complaints(written(tiny + only))
    assert "'until' needs a primary claim without 'than', 'trend' and 'population'" in complaint
    beside = only.replace("claims: [", "claims: [{id: b, metric: nc2, challenger: bce_unified, within: 1}, ")
    assert [claim.is_followed for claim in load(written(tiny + beside)).claims] == [True, False]


def test_seeds_may_be_left_to_the_claims(written: Written, tiny: str) -> None:
    experiment = load(written(tiny + DECIDING))
    assert experiment.seeds == tuple(range(30))
    assert experiment.sequence is not None
    assert (experiment.sequence.min, experiment.sequence.max) == (5, 30)
    assert {cell.seed for cell in plan(experiment).cells} == set(range(30))


def test_a_given_number_of_seeds_is_no_sequence(written: Written, tiny: str) -> None:
    assert load(written(f"{tiny}seeds: 30\n")).sequence is None


@pytest.mark.parametrize("line", ["seeds: 3\n", DECIDING])
def test_seeds_are_written_as_they_may_be_read(written: Written, tiny: str, line: str) -> None:
    experiment = load(written(tiny + line))
    again = Experiment.model_validate(
        experiment.model_dump(mode="json", include={"seeds", "claims"}) | yaml.safe_load(tiny)
    )
    assert (again.seeds, again.sequence) == (experiment.seeds, experiment.sequence)


def test_one_loss_may_be_asked_for_twice_under_labels(written: Written, tiny: str) -> None:
    ours = "{name: bce_unified, as: from prior, bias_init: prior}, {name: bce_unified, as: from 1, bias_init: 1}"
    experiment = load(written(tiny.replace("bce_unified", ours)))
    assert [choice.label for choice in experiment.losses] == ["softmax", "from prior", "from 1"]
    assert [choice.plugin.key for choice in experiment.losses] == ["softmax", "bce_unified", "bce_unified"]


def test_an_override_may_give_parameters_to_a_loss(written: Written, tiny: str) -> None:
    override = "overrides:\n  - {where: {loss: bce_unified}, loss: {bias_init: 2.5}}\n"
    experiment = load(written(tiny + override))
    assert getattr(experiment.settled("bce_unified", "resnet8", "digits").loss, "bias_init", None) == 2.5
    assert {getattr(cell.recipe.loss, "bias_init", None) for cell in plan(experiment).cells} == {None, 2.5}


def test_a_parameter_that_a_loss_does_not_have_is_told_with_those_it_has(written: Written, tiny: str) -> None:
    override = "overrides:\n  - {where: {loss: bce_unified}, loss: {bias_int: 2.5}}\n"
    with pytest.raises(ExperimentError, match=r"Unknown key 'bias_int'. Did you mean 'bias_init'"):
        load(written(tiny + override))


def test_of_several_overrides_the_last_wins(written: Written, tiny: str) -> None:
    overrides = """\
recipe: {epochs: 10, batch_size: 32}
overrides:
  - {where: {loss: softmax}, recipe: {epochs: 20, learning_rate: 0.5}, resources: {cpus: 2}}
  - {where: {loss: softmax, dataset: digits}, recipe: {epochs: 30}}
  - {where: {loss: bce_unified}, recipe: {batch_size: 64}}
"""
    experiment = load(written(tiny + overrides))
    _, training, resources, _ = experiment.settled("softmax", "resnet8", "digits")
    assert (training.epochs, training.batch_size, training.learning_rate, resources.cpus) == (30, 32, 0.5, 2)
    _, training, resources, _ = experiment.settled("bce_unified", "resnet8", "digits")
    assert (training.epochs, training.batch_size, training.learning_rate, resources.cpus) == (10, 64, 0.01, 1)


# What is wrong


@pytest.mark.parametrize(
    ("content", "found"),
    [("", "nothing"), ("# only a comment\n", "nothing"), ("- a\n", "a list"), ("hello\n", "a str")],
)
def test_what_is_no_mapping_is_told(written: Written, content: str, found: str) -> None:
    sentence = "1: An experiment is a mapping with at least name, losses, backbones, datasets, baseline; found"
    assert complaints(written(content)) == [f"{sentence} {found}."]


def test_everything_that_is_missing_is_told(written: Written) -> None:
    assert complaints(written("name: x\n")) == [
        f"1: '{field}' is missing." for field in ("backbones", "baseline", "datasets", "losses")
    ]


WRONG = {
    "loss": (
        "losses: [softmax, bce_unifed]",
        2,
        "No loss named 'bce_unifed'. Did you mean 'bce_unified'? Known: arcface,",
    ),
    "backbone": ("backbones: [resnet9]", 3, "No backbone named 'resnet9'. Did you mean 'resnet"),
    "dataset": ("datasets: [digit]", 4, "No dataset named 'digit'. Did you mean 'digits'? Known: "),
    "variant": ('backbones: ["torchvision:resnet43"]', 3, "cannot be 'resnet43'. Did you mean 'resnet34'?"),
    "parameter": (
        "losses: [softmax, {name: bce_unified, bias_int: 1}]",
        2,
        "Unknown key 'bias_int'. Did you mean 'bias_init'? Known: bias_init, bias_learning_rate, bias_weight_decay",
    ),
    "parameter's value": (
        "losses: [softmax, {name: bce_unified, bias_init: priro}]",
        2,
        "'bias_init' must be float or 'prior' (found: 'priro').",
    ),
    "parameter that starts like a type": (
        "losses: [softmax, {name: bce_unified, strength: 1}]",
        2,
        "Unknown key 'strength'. Known: bias_init,",
    ),
    "entry": ("losses: [softmax, 3]", 2, "An entry of 'losses' is a name, or a mapping with a 'name'"),
    "entry without name": ("losses: [{bias_init: 1}]", 2, "An entry of 'losses' is a name, or a mapping"),
    "repeated loss": ("losses: [softmax, bce, softmax]", 2, "The entry 'softmax' is given 2 times."),
    "repeated label": ("losses: [softmax, {name: bce, as: softmax}]", 2, "The entry 'softmax' is given 2 times."),
    "repeated backbone": ("backbones: [resnet8, resnet8]", 3, "The entry 'resnet8' is given 2 times."),
    "no losses": ("losses: []", 2, "'losses'"),
    "losses as text": ("losses: softmax", 2, "'losses'"),
    "losses as mapping": ("losses: {softmax: 1}", 2, "'losses'"),
    "empty losses": ("losses:", 2, "'losses'"),
    "label of the only entry": ("losses: [{name: softmax, as: a/b}]", 2, "'label' cannot be 'a/b'"),
    "empty label": ("losses: [softmax, {name: bce, as: ''}]", 2, "'label' cannot be ''"),
    "label with a slash": ("losses: [softmax, {name: bce, as: a/b}]", 2, "'label' cannot be 'a/b'"),
    "label as number": (
        "losses: [softmax, {name: bce, as: 5}]",
        2,
        "must be a text, but YAML reads 5: put it in quotes.",
    ),
    "name": ("name: ../elsewhere", 1, "'name' cannot be '../elsewhere'"),
    "name as number": ("name: 3", 1, "'name' must be a text, but YAML reads 3: put it in quotes."),
    "baseline": ("baseline: softmx", 5, "No loss in this experiment is named 'softmx'. Did you mean 'softmax'?"),
}


@pytest.mark.parametrize(("line", "number", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_entry_is_told_at_its_line(written: Written, tiny: str, line: str, number: int, sentence: str) -> None:
    lines = tiny.splitlines()
    lines[number - 1] = line
    (complaint,) = complaints(written("\n".join(lines)))
    assert complaint.startswith(f"{number}: ")
    assert sentence in complaint


CLAIMED = "claims: [{{id: a, metric: uniformity, challenger: bce_unified, baseline: softmax, direction: higher, {}}}]"

ADDED_WRONG = {
    "key": ("sedes: 3", "Unknown key 'sedes'. Did you mean 'seeds'? Known: backbones, baseline, checkpoint, claims,"),
    "key that starts like a type": ("strategy: 2", "Unknown key 'strategy'."),
    "another": ("interval: 2", "Unknown key 'interval'."),
    "number as key": ("1: 2", "Unknown key '1'."),
    "seeds given twice": ("seeds: [1, 2, 1]", "The seed '1' is given 2 times."),
    "no seeds": ("seeds: []", "'seeds'"),
    "0 seeds": ("seeds: 0", "seed"),
    "fewer than 0 seeds": ("seeds: -3", "seed"),
    "seeds as text": ("seeds: five", "'seeds'"),
    "yes as seeds": ("seeds: yes", "YAML reads 'yes' as true"),
    "true as seeds": ("seeds: true", "'seeds' needs a number (found: True)."),
    "seeds without a most": ("seeds: {min: 5, until: decided}", "'max' is missing."),
    "seeds until something else": ("seeds: {min: 5, max: 9, until: done}", "'until' cannot be 'done'. Known: decided."),
    "seeds with another key": (
        "seeds: {min: 5, max: 9, until: decided, most: 9}",
        "Unknown key 'most'. Known: allocation, max, min, until.",
    ),
    "fewest seeds of one": ("seeds: {min: 1, max: 9, until: decided}", "'min' should be greater than or equal to 2"),
    "half a seed at least": ("seeds: {min: 2.5, max: 9, until: decided}", "'min' should be a valid integer"),
    "more seeds than memory holds": ("seeds: {min: 2, max: 1000000000000, until: decided}", "'max' should be less"),
    "seeds that leave no choice": (
        "seeds: {min: 5, max: 5, until: decided}",
        "'max' must be above 'min'; write a fixed",
    ),
    "seeds that decide nothing": (
        "seeds: {min: 5, max: 9, until: decided}",
        "No claim can decide the number of seeds: 'until' needs a primary claim without 'than'",
    ),
    "negative seed": ("seeds: [0, -1]", "should be greater than or equal to 0 (found: -1)"),
    "half a seed": ("seeds: [0, 0.5]", "should be a valid integer (found: 0.5)"),
    "huge seed": (f"seeds: [{2**31}]", f"should be less than {2**31}"),
    "negative epochs": ("recipe: {epochs: -1}", "'recipe.epochs' should be greater than or equal to 1 (found: -1)."),
    "epochs as text": ("recipe: {epochs: many}", "'recipe.epochs' should be a valid integer"),
    "recipe field": (
        "recipe: {epoch: 3}",
        "Unknown key 'epoch'. Did you mean 'epochs'? Known: accumulation, augmentation,",
    ),
    "recipe field that starts like a type": ("recipe: {strength: 3}", "Unknown key 'strength'."),
    "recipe as list": ("recipe: [epochs]", "'recipe'"),
    "optimizer": (
        "recipe: {optimizer: sdg}",
        "'recipe.optimizer' cannot be 'sdg'. Did you mean 'sgd'? Known: sgd, adamw.",
    ),
    "learning rate": (
        "recipe: {learning_rate: .nan}",
        "'.nan' is not a finite number.",
    ),
    "warm-up": ("recipe: {epochs: 2, warmup_epochs: 3}", "warmup_epochs (3) must be below epochs (2)."),
    "augmentation": ("recipe: {augmentation: [crop, flop]}", "cannot be 'flop'. Did you mean 'flip'?"),
    "resources": ("resources: {cpu: 1}", "Unknown key 'cpu'. Did you mean 'cpus'? Known: cpus, devices, gpus."),
    "no cores": ("resources: {cpus: 0}", "'resources.cpus' should be greater than or equal to 1 (found: 0)."),
    "where's key": ("overrides: [{where: {los: softmax}}]", "Unknown key 'los'. Did you mean 'loss'?"),
    "where's value": (
        "overrides: [{where: {loss: softmx}}]",
        "No loss in this experiment is named 'softmx'. Did you mean 'softmax'? Known: softmax, bce_unified.",
    ),
    "where of another experiment": (
        "overrides: [{where: {dataset: cifar10}}]",
        "No dataset in this experiment is named 'cifar10'. Known: digits.",
    ),
    "override's field": ("overrides: [{where: {}, recipe: {epoch: 1}}]", "Unknown key 'epoch'. Did you mean 'epochs'?"),
    "override's value": ("overrides: [{where: {}, recipe: {epochs: -1}}]", "greater than or equal to 1 (found: -1)"),
    "override without where": ("overrides: [{recipe: {epochs: 1}}]", "where' is missing."),
    "override that fits no recipe": (
        "overrides: [{where: {loss: softmax}, recipe: {warmup_epochs: 300}}]",
        "For softmax/resnet8/digits: warmup_epochs (300) must be below epochs (100).",
    ),
    "plug-in module": ("plugins: [nosuch]", "The plug-in module 'nosuch' cannot be imported: No module named 'nosuch'"),
    "relative plug-in module": ("plugins: [.nosuch]", "'.nosuch'"),
    "plug-ins as text": ("plugins: nosuch", "'plugins'"),
    "claim's measure": (
        "claims: [{id: a, metric: uniform_acuracy, challenger: bce_unified, baseline: softmax, direction: higher}]",
        "No measure named 'uniform_acuracy'. Did you mean 'uniform_accuracy'? Known: sample_wise_accuracy,",
    ),
    "claim's loss": (
        "claims: [{id: a, metric: uniform_accuracy, challenger: bce_unifed, baseline: softmax, direction: higher}]",
        "No loss in this experiment is named 'bce_unifed'. Did you mean 'bce_unified'?",
    ),
    "claim's direction": (
        "claims: [{id: a, metric: uniform_accuracy, challenger: bce_unified, baseline: softmax, direction: up}]",
        "'direction' cannot be 'up'. Known: higher, lower, equal.",
    ),
    "claim's scope": (CLAIMED.format("over: every"), "'over' cannot be 'every'. Known: each, mean, all, some."),
    "claim's family": (CLAIMED.format("family: third"), "'family' cannot be 'third'. Known: primary, secondary."),
    "population of each": (CLAIMED.format("population: true"), "it needs 'over: mean'."),
    "population of one data set": (
        CLAIMED.format("over: mean, population: true"),
        "A claim about a population needs at least 5 data sets; this claim has 1. Entries with the same images",
    ),
    "than nothing": (CLAIMED.format("than: {}"), "'than' must say how the other effect differs, as in"),
    "than's key": (CLAIMED.format("than: {data: digits}"), "Unknown key 'data'. Did you mean 'dataset'?"),
    "than's measure": (
        CLAIMED.format("than: {metric: uniform}"),
        "No measure named 'uniform'. Did you mean 'uniformity'?",
    ),
    "than's data set": (
        CLAIMED.format("than: {dataset: digit}"),
        "No dataset in this experiment is named 'digit'. Did",
    ),
    "than's loss": (CLAIMED.format("than: {challenger: bce}"), "No loss in this experiment is named 'bce'."),
    "trend along nothing": (CLAIMED.format("trend: {}"), "'trend' is either {dataset: {NAME: POSITION, …}} or"),
    "trend of one": (CLAIMED.format("trend: {dataset: {digits: 1}}"), "needs at least two different positions"),
    "trend's label": (
        CLAIMED.format("trend: {backbone: {resnet8: 1, resnet80: 2}}"),
        "No backbone in this experiment is named 'resnet80'. Did you mean 'resnet8'?",
    ),
    "trend along what 'than' changes": (
        CLAIMED.format("trend: {dataset: {digits: 1, x: 2}}, than: {dataset: digits}"),
        "'trend' covers all of its datasets: leave 'dataset' out of 'than'",
    ),
    "trend of what 'where' holds": (
        CLAIMED.format("trend: {dataset: {digits: 1, x: 2}}, where: {dataset: digits}"),
        "'trend' already names its datasets: leave 'dataset' out of 'where'.",
    ),
    "contrast of one loss": (
        "claims: [{id: a, metric: bias_gap, challenger: bce_unified, within: 1, than: {backbone: resnet8}}]",
        "A claim with 'within' is about one measure: leave out 'than' and 'trend'.",
    ),
    "expectation without a source": (CLAIMED.format("expect: {effect: 0.1}"), "'expect.source' is missing."),
    "claim against itself": (
        "claims: [{id: a, metric: uniform_accuracy, challenger: softmax, baseline: softmax, direction: higher}]",
        "Claim 'a' compares a loss with itself.",
    ),
    "claim of equality": (
        "claims: [{id: a, metric: uniform_accuracy, challenger: bce_unified, baseline: softmax, direction: equal}]",
        "A claim of equality needs a margin above 0",
    ),
    "claims that share an id": (
        "claims: [&a {id: a, metric: uniformity, challenger: bce_unified, baseline: softmax, direction: lower}, *a]",
        "The claim 'a' is given 2 times.",
    ),
}


@pytest.mark.parametrize(("line", "sentence"), ADDED_WRONG.values(), ids=ADDED_WRONG)
def test_a_wrong_line_is_told(written: Written, tiny: str, line: str, sentence: str) -> None:
    (complaint,) = complaints(written(f"{tiny}{line}\n"))
    assert sentence in complaint


@pytest.mark.parametrize("line", [line for line, _ in ADDED_WRONG.values()], ids=ADDED_WRONG)
def test_it_is_told_at_its_line(written: Written, tiny: str, line: str) -> None:
    (complaint,) = complaints(written(f"{tiny}{line}\n"))
    assert complaint.startswith("6: ")


def test_all_problems_of_a_file_are_told_at_once_in_the_order_of_its_lines(written: Written) -> None:
    told = complaints(
        written("""\
name: a b
losses: [softmx, {name: bce_unified, bias_int: 1}]
backbones:
  - resnet8
  - resnet9
datasets: [digit]
seeds: [1, 1]
recipe:
  epochs: 0
  optimizer: sdg
baseline: softmax
sedes: 3
claims:
  - {id: a, metric: unifrom, challenger: softmax, baseline: bce_unified, direction: higher}
""")
    )
    assert [int(complaint.partition(":")[0]) for complaint in told] == [1, 2, 2, 5, 6, 7, 9, 10, 12, 14]


def test_all_problems_of_overrides_are_told_at_once(written: Written, tiny: str) -> None:
    overrides = """\
overrides:
  - {where: {los: softmax}}
  - {where: {loss: softmx}}
  - {where: {}, recipe: {epoch: 1}}
"""
    assert [complaint[:2] for complaint in complaints(written(tiny + overrides))] == ["7:", "8:", "9:"]


def test_a_wrong_axis_does_not_bring_complaints_about_those_who_name_it(written: Written, tiny: str) -> None:
    (complaint,) = complaints(written(tiny.replace("softmax, bce_unified", "softmax, bce_unifed")))
    assert "bce_unifed" in complaint


def test_the_same_recipe_under_two_labels_is_refused(written: Written, tiny: str) -> None:
    (complaint,) = complaints(written(tiny.replace("[softmax,", "[softmax, {name: softmax, as: again},")))
    assert complaint.startswith("2: ")


@pytest.mark.timeout(20)
def test_more_seeds_than_memory_holds_are_refused(written: Written, tiny: str) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, before[1]))
    try:
        (complaint,) = complaints(written(f"{tiny}seeds: 1000000000000\n"))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert complaint.startswith("6: ")


# Plug-ins


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Write a module that can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = list(catalogue._modules)
    yield lambda name, content: (tmp_path / f"{name}.py").write_text(content) and None
    catalogue._modules[:] = modules
    catalogue.plugins.cache_clear()


def test_a_module_of_ones_own_adds_plug_ins(written: Written, tiny: str, module: Any) -> None:
    module("mine_a", "from trainers.losses.softmax import Softmax\nclass Mine(Softmax):\n    name = 'mine'\n")
    experiment = load(written(tiny.replace("bce_unified", "mine") + "plugins: [mine_a]\n"))
    assert [choice.plugin.key for choice in experiment.losses] == ["softmax", "mine"]


@pytest.mark.parametrize("content", ["1 / 0\n", "def (\n", "raise SystemError('no')\n"])
def test_a_module_that_cannot_be_run_is_told(written: Written, tiny: str, module: Any, content: str) -> None:
    module("mine_b", content)
    (complaint,) = complaints(written(f"{tiny}plugins: [mine_b]\n"))
    assert complaint.startswith("6: The plug-in module 'mine_b' cannot be imported")


def test_a_module_that_takes_a_name_that_is_taken_is_told(written: Written, tiny: str, module: Any) -> None:
    module("mine_c", "from trainers.losses.softmax import Softmax\nclass Mine(Softmax):\n    name = 'softmax'\n")
    assert any("softmax" in complaint for complaint in complaints(written(f"{tiny}plugins: [mine_c]\n")))


# Revising


@pytest.fixture
def experiment(written: Written, tiny: str) -> Experiment:
    return load(written(tiny))


def test_axis_values_are_added(experiment: Experiment) -> None:
    revised = revise(experiment, {"loss": ["bce"], "backbone": ["torchvision:resnet34", "resnet8"]}, seeds=2)
    assert [choice.label for choice in revised.losses] == ["softmax", "bce_unified", "bce"]
    assert [choice.label for choice in revised.backbones] == ["resnet8", "torchvision:resnet34"]
    assert revised.seeds == (0, 1)


def test_an_axis_is_narrowed_to_what_is_named(experiment: Experiment) -> None:
    revised = revise(experiment, {"loss": ["softmax"], "backbone": [], "dataset": []}, only=True)
    assert [choice.label for choice in revised.losses] == ["softmax"]
    assert [choice.label for choice in revised.backbones] == ["resnet8"]


def test_nothing_named_changes_nothing(experiment: Experiment) -> None:
    assert revise(experiment, {"loss": [], "backbone": [], "dataset": []}) == experiment


def test_an_unknown_name_is_told_with_its_option(experiment: Experiment) -> None:
    with pytest.raises(ExperimentError) as caught:
        revise(experiment, {"loss": ["bce_unifed"], "dataset": ["digit"]})
    first, second = caught.value.problems
    assert first.startswith("--loss: No loss named 'bce_unifed'. Did you mean 'bce_unified'?")
    assert second.startswith("--dataset: No dataset named 'digit'. Did you mean 'digits'?")


def test_narrowing_to_what_is_not_there_is_told(experiment: Experiment) -> None:
    with pytest.raises(ExperimentError, match="--loss: No loss in this experiment is named 'bce'"):
        revise(experiment, {"loss": ["bce"]}, only=True)


@pytest.mark.parametrize("seeds", [0, -1, [1, 1], [-1]])
def test_wrong_seeds_are_told(experiment: Experiment, seeds: Any) -> None:
    with pytest.raises(ExperimentError, match="seed"):
        revise(experiment, {}, seeds=seeds)


def test_a_revision_keeps_the_rule_for_seeds_unless_it_gives_their_number(written: Written, tiny: str) -> None:
    experiment = load(written(tiny + DECIDING))
    assert revise(experiment, {"backbone": ["resnet20"]}).sequence == experiment.sequence
    fixed = revise(experiment, {}, seeds=7)
    assert (fixed.seeds, fixed.sequence) == (tuple(range(7)), None)


def test_narrowing_to_losses_without_a_claim_needs_a_number_of_seeds(written: Written, tiny: str) -> None:
    experiment = load(written(tiny + DECIDING))
    with pytest.raises(ExperimentError, match="No claim can decide the number of seeds"):
        revise(experiment, {"loss": ["softmax"]}, only=True)
    assert revise(experiment, {"loss": ["softmax"]}, only=True, seeds=2).seeds == (0, 1)


def test_narrowing_leaves_out_the_overrides_and_claims_of_what_is_gone(written: Written, tiny: str) -> None:
    experiment = load(
        written(f"""{tiny.replace("[softmax,", "[softmax, bce,")}\
overrides: [{{where: {{loss: bce}}, recipe: {{epochs: 3}}}}]
claims: [{{id: a, metric: uniformity, challenger: bce, baseline: softmax, direction: higher}}]
""")
    )
    revised = revise(experiment, {"loss": ["softmax", "bce_unified"]}, only=True)
    assert [choice.label for choice in revised.losses] == ["softmax", "bce_unified"]


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("recipe: {epochs: true}", "recipe.epochs"),
        ("recipe: {learning_rate: true}", "recipe.learning_rate"),
        ("recipe: {milestones: [0.5, true]}", "recipe.milestones"),
        ("recipe: {label_noise: false}", "recipe.label_noise"),
        ("resources: {cpus: true}", "resources.cpus"),
        ("checkpoint: {minutes: true}", "checkpoint.minutes"),
        ("time_limit: true", "time_limit"),
        ("overrides: [{where: {}, recipe: {epochs: true}}]", "epochs"),
    ],
)
def test_true_is_no_number(written: Written, tiny: str, line: str, field: str) -> None:
    value = "[0.5, True]" if "[0.5" in line else str("true" in line)
    assert complaints(written(f"{tiny}{line}\n")) == [f"6: '{field}' needs a number (found: {value})."]


def test_true_is_no_parameter_that_is_a_number_but_may_be_one_that_is_true(written: Written, tiny: str) -> None:
    ours = "{name: bce_unified, bias_init: true}"
    (complaint,) = complaints(written(tiny.replace("bce_unified", ours)))
    assert "bias_init" in complaint
    (_, loss) = load(written(tiny.replace("bce_unified", "{name: bce, scores: {learn_scale: true}}"))).losses
    assert cast("Loss", loss.plugin).scores.learn_scale is True


@pytest.mark.parametrize(("label", "read"), [("true", "True"), ("10", "10"), ("1e-3", "0.001")])
def test_a_label_that_yaml_reads_as_something_else_is_to_be_quoted(
    written: Written, tiny: str, label: str, read: str
) -> None:
    (complaint,) = complaints(written(tiny.replace("bce_unified", f"{{name: bce_unified, as: {label}}}")))
    assert complaint.endswith(f"must be a text, but YAML reads {read}: put it in quotes.")


@pytest.mark.parametrize("label", ["a\\u202eb", "\\x1b[2J", "a\\x9bb", "\\u2066x"])
def test_a_label_is_nothing_that_a_terminal_would_obey(written: Written, tiny: str, label: str) -> None:
    (complaint,) = complaints(written(tiny.replace("bce_unified", f'{{name: bce_unified, as: "{label}"}}')))
    assert complaint.isprintable()
    assert label in complaint


@pytest.mark.parametrize("gpus", ["1.5", "2.01"])
def test_above_one_gpus_are_whole(written: Written, tiny: str, gpus: str) -> None:
    (complaint,) = complaints(written(f"{tiny}resources: {{gpus: {gpus}}}\n"))
    assert complaint.startswith("6: 'gpus' above 1 must be a whole number")
    assert complaint.endswith(f"found {gpus}.")
    whole = load(written(f"{tiny}resources: {{gpus: 2}}\noverrides: [{{where: {{}}, resources: {{gpus: 0.5}}}}]\n"))
    assert (whole.resources.gpus, whole.settled("softmax", "resnet8", "digits").resources.gpus) == (2, 0.5)


# Anything at all

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**6), 10**6), st.floats(), st.dates(), st.text(max_size=10)
) | st.sampled_from(["softmax", "bce_unified", "resnet8", "digits", "torchvision", "torchvision:resnet34", "string"])
known = st.sampled_from(
    [*Experiment.model_fields, "name", "as", "where", "epochs", "loss", "id", "metric", "bias_init", "int", "1"]
)
keys = known | st.text(max_size=10) | st.integers()
documents = st.recursive(
    scalars, lambda below: st.lists(below, max_size=3) | st.dictionaries(keys, below, max_size=4), max_leaves=12
)
experiments = st.fixed_dictionaries(
    {
        "name": st.just("x") | documents,
        "losses": st.just(["softmax", "bce_unified"]) | documents,
        "backbones": st.just(["resnet8"]) | documents,
        "datasets": st.just(["digits"]) | documents,
        "baseline": st.just("softmax") | documents,
    },
    optional=dict.fromkeys(("question", "seeds", "recipe", "overrides", "resources", "claims", "string"), documents),
)


def load_or_refuse(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.yaml")
        path.write_bytes(content)
        with suppress(ExperimentError):
            load(path)


@settings(max_examples=200, deadline=None)
@given(documents | experiments)
def test_any_document_is_read_or_refused(document: Any) -> None:
    load_or_refuse(yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass"))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab0:-[]{}!&*?|>#%@'\", \n\t.", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    load_or_refuse(text.encode())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    load_or_refuse(content)


# Time limits and checkpoints


def test_a_time_limit_is_for_all_cells_or_for_some(written: Callable[[str], Path], tiny: str) -> None:
    text = tiny + "time_limit: 60\noverrides:\n  - {where: {loss: bce_unified}, time_limit: 7.5}\n"
    limits = {cell.loss: cell.time_limit for cell in plan(load(written(text))).cells}
    assert limits == {"softmax": 60, "bce_unified": 7.5}


def test_neither_limit_nor_checkpoint_is_part_of_a_cells_identity(written: Callable[[str], Path], tiny: str) -> None:
    changed = plan(load(written(tiny + "time_limit: 60\ncheckpoint: {epochs: 2}\n")))
    assert [cell.id for cell in changed.cells] == [cell.id for cell in plan(load(written(tiny))).cells]


@pytest.mark.parametrize("given", ["{}", "{epochs: 1, minutes: 1}"])
def test_checkpoints_are_by_epochs_or_by_time(written: Callable[[str], Path], tiny: str, given: str) -> None:
    with pytest.raises(ExperimentError, match=r":6: 'checkpoint' is either \{epochs: N\} or \{minutes: M\}\."):
        load(written(tiny + f"checkpoint: {given}\n"))


@pytest.mark.parametrize("limit", ["0", "-1", "soon"])
def test_a_time_limit_is_a_number_of_seconds(written: Callable[[str], Path], tiny: str, limit: str) -> None:
    with pytest.raises(ExperimentError, match=r":6: 'time_limit'"):
        load(written(tiny + f"time_limit: {limit}\n"))
