"""How losses stand over all settings, from rows written by hand, and how tables say it."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from orchestrator.experiment import Experiment
from orchestrator.report import across, tables
from orchestrator.report.across import Overall, overall
from orchestrator.report.comparison import compare
from orchestrator.statistics import ranks
from orchestrator.statistics.aggregates import interquartile_mean, optimality_gap
from orchestrator.statistics.mixed import loss_effect

UNIFORM = "uniform_accuracy"


def asked(settings: int = 4, losses: str = "abc", seeds: Any = 3, **fields: Any) -> Experiment:
    """Losses named by single letters, of which the first is the baseline."""
    document = {
        "name": "x",
        "losses": [{"name": "bce_unified", "as": label, "bias_init": number} for number, label in enumerate(losses)],
        "backbones": ["resnet8"],
        "datasets": ["digits"],
        "seeds": seeds,
        "baseline": losses[0],
    }
    experiment = Experiment.model_validate({**document, **fields})
    datasets = [experiment.datasets[0].model_copy(update={"label": f"d{number}"}) for number in range(settings)]
    return experiment.model_copy(update={"datasets": tuple(datasets)})


def rows(experiment: Experiment, score: Callable[[int, int, int], float | None]) -> list[dict[str, Any]]:
    """A cell for each score of (loss, seed, setting), or one that diverged where it is None; missing where NaN."""
    found = []
    for place, dataset in enumerate(experiment.datasets):
        for number, loss in enumerate(experiment.losses):
            for seed in experiment.seeds:
                value = score(number, seed, place)
                state = "diverged" if value is None else "finished"
                about = {"dataset": dataset.label, "backbone": "resnet8", "loss": loss.label, "seed": seed}
                measures = dict.fromkeys(("sample_wise_accuracy", UNIFORM, "accuracy_at_validation_threshold"), value)
                if value is None or not math.isnan(value):
                    found.append({**about, "state": state, **measures})
    return found


def drawn(losses: int, seeds: int, settings: int) -> np.ndarray:
    """Scores (losses, seeds, settings): later losses are better, more or less."""
    rng = np.random.default_rng(0)
    level = rng.uniform(0.5, 0.9, settings)
    return level + 0.02 * np.arange(losses)[:, None, None] + rng.normal(0, 0.01, (losses, seeds, settings))


def standing(found: Overall, loss: str, metric: str = UNIFORM) -> across.Standing:
    (measure,) = (each for each in found.standings if each.metric == metric)
    (one,) = (each for each in measure.losses if each.loss == loss)
    return one


def test_each_number_is_that_of_the_statistics() -> None:
    values = drawn(3, 3, 4)
    experiment = asked()
    found = overall(experiment, rows(experiment, lambda k, s, d: float(values[k, s, d])))
    means = values.mean(axis=1).T
    measure = found.standings[1]
    assert measure.friedman == ranks.friedman(means)
    assert measure.critical_difference == ranks.nemenyi_difference(3, 4)
    np.testing.assert_allclose([each.rank for each in measure.losses], ranks.average_ranks(means))
    np.testing.assert_allclose([each.wilcoxon for each in measure.losses], ranks.holm_wilcoxon(means, 0))
    last = standing(found, "c")
    assert last.effect == loss_effect((values[2] - values[0]).T)
    assert last.middle[0] == pytest.approx(interquartile_mean(values[2]))
    assert last.middle[1] < last.middle[0] < last.middle[2]
    assert last.gap == pytest.approx(optimality_gap(values[2]))
    assert last.posterior is not None
    assert sum(last.posterior) == pytest.approx(1)
    assert standing(found, "a").effect is None


def test_swapping_loss_and_baseline_flips_the_sign() -> None:
    values = drawn(2, 3, 5)
    forth = asked(5, "ab")
    back = forth.model_copy(update={"baseline": "b"})
    table = rows(forth, lambda k, s, d: float(values[k, s, d]))
    one, other = standing(overall(forth, table), "b"), standing(overall(back, table), "a")
    assert one.effect is not None
    assert other.effect is not None
    assert one.effect.estimate == pytest.approx(-other.effect.estimate)
    assert one.wilcoxon == other.wilcoxon
    assert one.posterior is not None
    assert other.posterior is not None
    assert one.posterior.higher == pytest.approx(other.posterior.lower, abs=0.01)


def test_a_setting_with_a_missing_cell_is_left_out_and_named() -> None:
    values = drawn(3, 3, 4)
    values[1, 2, 3] = math.nan
    experiment = asked()
    found = overall(experiment, rows(experiment, lambda k, s, d: float(values[k, s, d])))
    assert (found.settings, found.left_out) == (3, ("resnet8 on d3",))
    np.testing.assert_allclose(standing(found, "c").rank, ranks.average_ranks(values[:, :, :3].mean(axis=1).T)[2])
    assert "Left out for a missing cell: resnet8 on d3." in tables.across_caption(found)


def test_fewer_than_two_whole_settings_say_nothing_and_that() -> None:
    experiment = asked(2)
    found = overall(experiment, rows(experiment, lambda k, s, d: math.nan if k == d == 1 else 0.5))
    assert found.standings == ()
    assert "Nothing is said across settings" in tables.across_caption(found)


@pytest.mark.parametrize(("settings", "losses"), [(1, "abc"), (3, "a")])
def test_with_one_setting_or_one_loss_there_is_no_across(settings: int, losses: str) -> None:
    experiment = asked(settings, losses)
    found = overall(experiment, rows(experiment, lambda *_: 0.5))
    assert found.standings == ()
    assert tables.across_caption(found) == ""


def test_a_loss_that_diverged_everywhere_is_last_and_got_nothing_right() -> None:
    experiment = asked()
    found = overall(experiment, rows(experiment, lambda k, s, d: None if k == 2 else 0.5 + 0.01 * s + 0.1 * k))
    last = standing(found, "c")
    assert last.rank == 3
    assert (last.middle[0], last.gap) == (0, 1)
    assert last.effect is not None
    assert math.isnan(last.effect.estimate)
    assert "–" in tables.across_cells(last)
    assert json.dumps(tables.document(compare(experiment, []), found), allow_nan=False)


def test_the_region_of_equivalence_is_the_claims_margin() -> None:
    claim = {"id": "x", "metric": UNIFORM, "challenger": "b", "baseline": "a", "direction": "higher", "margin": 0.03}
    experiment = asked(claims=[claim])
    found = overall(experiment, rows(experiment, lambda k, s, d: 0.5 + 0.025 * (k == 1) + 0.001 * s))
    sample_wise, uniform, _ = found.standings
    assert (sample_wise.rope, uniform.rope) == (across.ROPE, 0.03)
    assert standing(found, "b").posterior.equivalent > 0.9
    assert standing(found, "b", "sample_wise_accuracy").posterior.higher > 0.9


def test_beyond_fifty_settings_the_normal_distribution_is_as_good() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(size=(across.EXACT_UP_TO + 1, 4)) + 0.2 * np.arange(4)
    means[:, 3] = means[:, 0]
    np.testing.assert_allclose(across._wilcoxon(means, 0), ranks.holm_wilcoxon(means, 0), atol=0.01)


def test_where_claims_decide_the_seeds_the_first_ones_count() -> None:
    claim = {"id": "x", "metric": UNIFORM, "challenger": "b", "baseline": "a", "direction": "higher"}
    experiment = asked(3, "ab", seeds={"min": 3, "max": 8, "until": "decided"}, claims=[claim])
    few = overall(experiment, rows(experiment, lambda k, s, d: 0.5 + 0.1 * k + 0.01 * s if s < 3 else math.nan))
    more = overall(
        experiment,
        rows(experiment, lambda k, s, d: 0.5 + 0.1 * k + 0.01 * s if s < 3 else 0.1 if s < 5 and d else math.nan),
    )
    assert few.settings == 3
    assert standing(few, "b") == standing(more, "b")


def test_leaders_are_the_best_and_those_not_significantly_worse() -> None:
    experiment = asked(1, "abc", seeds=6)
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 6))
    found = overall(experiment, rows(experiment, lambda k, s, d: 0.5 + 0.2 * (k > 0) + float(noise[k, s])))
    leaders = found.leaders["d0", "resnet8", UNIFORM]
    assert {leaders.best, *leaders.level} == {"b", "c"}


def test_one_seed_leads_without_company() -> None:
    experiment = asked(1, seeds=1)
    found = overall(experiment, rows(experiment, lambda k, s, d: 0.5 + 0.1 * k))
    assert found.leaders["d0", "resnet8", UNIFORM] == across.Leaders("c", ())


def shown(experiment: Experiment, table: list[dict[str, Any]], width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(tables.terminal(compare(experiment, table), overall(experiment, table)))
    return console.file.getvalue()


def test_the_terminal_shows_it_in_80_columns() -> None:
    values = drawn(3, 3, 4)
    experiment = asked(losses=("softmax", "bce_unified", "bce_diverse"))
    text = shown(experiment, rows(experiment, lambda k, s, d: float(values[k, s, d])), 80)
    assert "Across 4 settings" in text
    assert "With 4 settings no p of Wilcoxon's can be below 0.125" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    assert not any("…" in line for line in text.splitlines())


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_the_texts_show_it(form: Any) -> None:
    values = drawn(3, 3, 4)
    experiment = asked()
    table = rows(experiment, lambda k, s, d: float(values[k, s, d]))
    found = overall(experiment, table)
    text = tables.text(compare(experiment, table), form, found)
    assert "Across" in text
    assert f"{standing(found, 'c').rank:.2f}" in text
    assert "Iman--Davenport" in text or "Iman–Davenport" in text


def test_json_is_complete_and_finite() -> None:
    experiment = asked()
    table = rows(experiment, lambda k, s, d: 0.5 + 0.1 * k)  # equal differences have infinite effects
    document = json.loads(
        json.dumps(tables.document(compare(experiment, table), overall(experiment, table)), allow_nan=False)
    )
    measures = [each["metric"] for each in document["across"]["measures"]]
    assert measures == ["sample_wise_accuracy", UNIFORM, "accuracy_at_validation_threshold"]
    assert document["across"]["measures"][1]["losses"][2].keys() >= {
        "rank",
        "wilcoxon",
        "effect",
        "posterior",
        "middle",
        "gap",
    }
    assert document["across"]["leaders"][0]["best"] == "c"
    assert len(document["lines"]) == 12
