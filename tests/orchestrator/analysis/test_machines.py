"""A comparison of cells from several environments: pairs within one, and what another machine would have said."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from orchestrator.analysis import across_settings, prospects
from orchestrator.analysis.comparison import compare
from orchestrator.analysis.machines import ALONE, HEARD, NOISE, OTHERWISE, SAME, UNTOLD
from orchestrator.experiment.looks import Looked
from orchestrator.experiment.model import Experiment
from orchestrator.pairing.blocks import POOLS
from orchestrator.report import paragraphs
from orchestrator.report.markdown import markdown
from orchestrator.report.web.translations import words

if TYPE_CHECKING:
    from orchestrator.analysis.comparison import Comparison

CLAIM = {
    "id": "better",
    "metric": "uniform_accuracy",
    "challenger": "b",
    "baseline": "a",
    "direction": "higher",
    "margin": 0.01,
}


def asked(*losses: str, seeds: Any = 3, **fields: Any) -> Experiment:
    entries = [{"name": "bce_unified", "as": label, "bias_init": number} for number, label in enumerate(losses)]
    axes = {"losses": entries, "backbones": ["resnet8"], "datasets": ["digits"], "seeds": seeds}
    return Experiment.model_validate({"name": "x", **axes, "baseline": losses[0], "claims": [CLAIM], **fields})


def row(loss: str, seed: int, uniform: float, block: str = "old", **more: Any) -> dict[str, Any]:
    """A result; that of a replica where `of` names another block."""
    where = {"dataset": "digits", "backbone": "resnet8", "loss": loss, "seed": seed, "state": "finished"}
    measures = {"uniform_accuracy": uniform, "sample_wise_accuracy": uniform, "samples": 10_000}
    made = {"cell_id": f"{loss}{seed}", "environment": block, "started": 9.0 if block == "new" else 1.0}
    return {**where, **measures, **made, "instruction_set": "AVX512" if block == "new" else "AVX2", **more}


def replica(loss: str, seed: int, uniform: float, block: str = "new") -> dict[str, Any]:
    return row(loss, seed, uniform, block, cell_id=f"{loss}{seed}@{block}")


CELLS = [row("a", seed, 0.50 + seed / 100) for seed in range(3)]
LATE = [row("b", seed, 0.60 + seed / 100 + 0.001 * seed, "new") for seed in range(3)]
AGAIN = [replica("a", seed, 0.58 + seed / 100) for seed in range(3)]


def difference(found: Comparison, loss: str = "b") -> Any:
    (line,) = [line for line in found.lines if line.loss == loss]
    return (line.differences or {})["uniform_accuracy"]


def test_a_difference_across_environments_counts_nowhere() -> None:
    found = compare(asked("a", "b"), [*CELLS, *LATE], owed=3)
    assert difference(found).n == 0
    assert (found.findings[0].difference.n, found.findings[0].verdict) == (0, "undecided")
    assert (found.unpaired, found.lines[1].finished, found.missing) == (3, 3, 0)
    assert found.lines[1].tests
    assert math.isnan(found.lines[1].tests["uniform_accuracy"].t)
    caption = paragraphs.caption(found)
    assert "from one that is not pooled with that of most pairs: 3. Replicas that launch will train: 3." in caption
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["unpaired"] == 3


def test_with_replicas_the_difference_is_that_of_one_environment() -> None:
    found = compare(asked("a", "b"), [*CELLS, *LATE], replicas=AGAIN)
    assert difference(found).n == 3
    assert difference(found).estimate == pytest.approx(0.021), "and 0.101 across"
    assert found.findings[0].difference == difference(found)
    assert (found.unpaired, found.findings[0].alone) == (0, "supported")
    assert found.lines[0].means["uniform_accuracy"].estimate == pytest.approx(0.51), "a replica is in no mean"
    assert found.lines[0].finished == 3


@pytest.mark.parametrize(("pools", "pairs"), [([], 3), (["old", "new"], 4)])
def test_seeds_of_several_environments_pair_each_in_its_own_where_these_may_be_pooled(
    pools: list[str], pairs: int
) -> None:
    rows = [*CELLS, row("a", 3, 0.1, "new"), *(row("b", seed, 0.52 + seed / 100) for seed in range(3))]
    found = compare(asked("a", "b", seeds=4), [{**each, POOLS: pools} for each in (*rows, row("b", 3, 0.12, "new"))])
    assert (difference(found).n, found.unpaired) == (pairs, 4 - pairs)
    assert difference(found).estimate == pytest.approx(0.02)


def test_a_claim_about_one_loss_rests_on_its_cells() -> None:
    claim = {"id": "near", "metric": "uniform_accuracy", "challenger": "a", "within": 0.9}
    found = compare(asked("a", "b", claims=[claim]), [*CELLS, *LATE], replicas=AGAIN)
    assert found.findings[0].difference.n == 3
    assert found.findings[0].difference.estimate == pytest.approx(0.51)


def test_a_sequence_looks_at_pairs_of_one_environment() -> None:
    rule = {"min": 2, "max": 5, "until": "decided"}
    apart = compare(asked("a", "b", seeds=rule), [*CELLS, *LATE])
    assert apart.findings[0].difference.n == 0
    met = compare(asked("a", "b", seeds=rule), [*CELLS, *LATE], replicas=AGAIN)
    assert met.findings[0].difference.estimate == pytest.approx(0.021)


def test_ranks_and_leaders_are_of_one_environment() -> None:
    settings = {"backbones": ["resnet8", "resnet20"]}
    both = asked("a", "b", seeds=3, **settings)
    there = [{**each, "backbone": name} for name in ("resnet8", "resnet20") for each in (*CELLS, *LATE)]
    assert across_settings.overall(both, there).left_out == ("resnet8 on digits", "resnet20 on digits")
    better = [replica("a", seed, 0.70 + seed / 100) for seed in range(3)]
    again = [{**each, "backbone": name} for name in ("resnet8", "resnet20") for each in better]
    found = across_settings.overall(both, [*there, *again])
    assert found.settings == 2
    assert found.leaders["digits", "resnet8", "uniform_accuracy"].best == "a", "its cells alone are behind"


def test_prospects_rest_on_pairs_of_one_environment() -> None:
    (apart,) = prospects.prospects(asked("a", "b"), [*CELLS, *LATE])
    assert apart.noise is None or "pairs here" not in apart.noise.basis
    (found,) = prospects.prospects(asked("a", "b"), [*CELLS, *LATE, *AGAIN])
    assert found.noise
    assert found.noise.basis == "3 pairs here"


# Would another machine have said otherwise?


def test_cells_of_one_environment_say_nothing_of_machines() -> None:
    assert compare(asked("a", "b"), CELLS).machines is None
    assert compare(asked("a", "b"), [*CELLS, *LATE]).machines is None


def test_machine_noise_stands_beside_that_of_seeds_and_test_set() -> None:
    found = compare(asked("a", "b"), [*CELLS, *LATE], replicas=AGAIN).machines
    assert found
    noise = {each.metric: each for each in found.noise}["uniform_accuracy"]
    moved = np.array(
        [again["uniform_accuracy"] - cell["uniform_accuracy"] for cell, again in zip(CELLS, AGAIN, strict=True)]
    )
    assert noise.machine == pytest.approx(np.sqrt((moved**2).mean() / 2))
    spread = [np.var([each["uniform_accuracy"] for each in rows], ddof=1) for rows in (CELLS, LATE)]
    assert noise.seeds == pytest.approx(np.sqrt(np.mean(spread)))
    accuracies = np.array([each["uniform_accuracy"] for each in (*CELLS, *LATE)])
    assert noise.samples == pytest.approx(np.sqrt((accuracies * (1 - accuracies) / 10_000).mean()))
    assert (noise.cells, noise.runs, noise.size) == (3, 6, 10_000)


def both(again: float) -> Comparison:
    """Both losses trained in both environments; in the second, b is ahead by so much."""
    cells = [*CELLS, *(row("b", seed, 0.60 + seed / 100 + 0.001 * seed) for seed in range(3))]
    shifted = [replica("b", seed, 0.58 + seed / 100 + again + 0.001 * seed) for seed in range(3)]
    return compare(asked("a", "b"), cells, replicas=[*AGAIN, *shifted], looked=Looked("3"))


@pytest.mark.parametrize(("again", "verdicts"), [(0.1, ("supported", "supported")), (-0.1, ("supported", "refuted"))])
def test_each_environment_answers_by_itself(again: float, verdicts: tuple[str, str]) -> None:
    found = both(again)
    assert found.findings[0].alone == "supported", "of equally many pairs the older ones count"
    assert found.machines
    (answer,) = found.machines.answers
    assert tuple(each.verdict for each in answer.heard) == verdicts
    assert [each.difference.n for each in answer.heard] == [3, 3]
    assert answer.agrees is (len({*verdicts}) == 1)


def test_every_form_of_the_comparison_tells_it() -> None:
    found = both(-0.1)
    sentence = (
        r"Another machine says otherwise of better, resnet8 on digits: supported with instruction set AVX2 "
        r"\(\+10\.10 \[\+9\.85, \+10\.35\] points, n = 3\), refuted with instruction set AVX512 "
        r"\(-9\.90 \[-10\.15, -9\.65\] points, n = 3\)\."
    )
    for text in (markdown(found), "\n".join(paragraphs.conditions(found))):
        assert re.search(sentence, text), text
        assert "without correction for other questions" in text
    (answer,) = json.loads(json.dumps(found.to_json(), allow_nan=False))["machines"]["answers"]
    assert (answer["agrees"], len(answer["heard"])) == (False, 2)


def test_a_machine_that_is_undecided_says_neither_the_same_nor_otherwise() -> None:
    cells = [*CELLS, *(row("b", seed, 0.60 + seed / 100 + 0.001 * seed) for seed in range(3))]
    few = [*AGAIN[:2], *(replica("b", seed, 0.9 + seed / 100) for seed in range(2))]
    found = compare(asked("a", "b"), cells, replicas=few).machines
    assert found
    (answer,) = found.answers
    assert ([each.verdict for each in answer.heard], answer.agrees) == (["supported", "undecided"], None)
    assert "It is not known whether another machine says the same of better, resnet8 on digits: supported" in (
        " ".join(found.told())
    )


@pytest.mark.parametrize("over", ["mean", "all", "some"])
def test_a_claim_over_settings_rests_on_pairs_of_one_environment_each(over: str) -> None:
    """The challenger of one setting is from another environment; across, it would be ahead by 30 points there."""
    experiment = asked("a", "b", backbones=["resnet8", "resnet20"], claims=[{**CLAIM, "over": over}])
    first = [*CELLS, *(row("b", seed, 0.52 + seed / 100 + 0.001 * seed) for seed in range(3))]
    apart = [row("a", seed, 0.50 + seed / 100) for seed in range(3)] + [
        row("b", seed, 0.80 + seed / 100, "new") for seed in range(3)
    ]
    rows = [*first, *({**each, "backbone": "resnet20", "cell_id": f"{each['cell_id']}-20"} for each in apart)]
    (finding,) = compare(experiment, rows).findings
    assert (finding.verdict, finding.withheld) == ("undecided", "missing")
    again = [
        {**replica("a", seed, 0.785 + seed / 100 - 0.001 * seed), "backbone": "resnet20", "cell_id": f"a{seed}-20@new"}
        for seed in range(3)
    ]
    (finding,) = compare(experiment, rows, replicas=again).findings
    expected = {"mean": (0.021 + 0.016) / 2, "all": 0.016, "some": 0.021}[over]
    assert finding.difference.estimate == pytest.approx(expected)
    assert finding.difference.n == 3


def test_the_page_can_say_it_in_japanese() -> None:
    assert {NOISE, SAME, OTHERWISE, UNTOLD, HEARD, ALONE} <= words().keys()
