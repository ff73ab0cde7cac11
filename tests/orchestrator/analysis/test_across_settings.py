"""How losses stand over all settings, from rows written by hand, and how tables say it."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from orchestrator.analysis import across_settings
from orchestrator.analysis.across_settings import Overall, overall
from orchestrator.analysis.comparison import compare
from orchestrator.experiment.model import Experiment
from orchestrator.report import paragraphs
from orchestrator.report import rows as texts
from orchestrator.report.document import document
from orchestrator.report.markdown import markdown
from orchestrator.report.paper.latex import latex
from orchestrator.report.terminal import comparison as terminal
from orchestrator.report.wording import across
from orchestrator.sentences import filled
from orchestrator.statistics import ranks
from orchestrator.statistics.aggregates import interquartile_mean, optimality_gap
from orchestrator.statistics.intervals import mean_interval
from orchestrator.statistics.mixed import loss_effect

UNIFORM = "uniform_accuracy"


def asked(settings: int = 6, losses: str = "abc", seeds: Any = 3, **fields: Any) -> Experiment:
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
    for place, (dataset, backbone) in enumerate(itertools.product(experiment.datasets, experiment.backbones)):
        for number, loss in enumerate(experiment.losses):
            for seed in experiment.seeds:
                value = score(number, seed, place)
                state = "diverged" if value is None else "finished"
                about = {"dataset": dataset.label, "backbone": backbone.label, "loss": loss.label, "seed": seed}
                measures = dict.fromkeys(("sample_wise_accuracy", UNIFORM, "accuracy_at_validation_threshold"), value)
                if value is None or not math.isnan(value):
                    found.append({**about, "state": state, **measures})
    return found


def drawn(losses: int, seeds: int, settings: int) -> np.ndarray:
    """Scores (losses, seeds, settings): later losses are better, more or less."""
    rng = np.random.default_rng(0)
    level = rng.uniform(0.5, 0.9, settings)
    return level + 0.02 * np.arange(losses)[:, None, None] + rng.normal(0, 0.01, (losses, seeds, settings))


def standing(found: Overall, loss: str, metric: str = UNIFORM) -> across_settings.Standing:
    (measure,) = (each for each in found.standings if each.metric == metric)
    (one,) = (each for each in measure.losses if each.loss == loss)
    return one


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_each_number_is_that_of_the_statistics() -> None:
    values = drawn(3, 3, 6)
    experiment = asked()
    found = overall(experiment, rows(experiment, lambda k, s, d: float(values[k, s, d])))
    means = values.mean(axis=1).T
    measure = found.standings[1]
    by_chance = ranks.chance(means, rng())
    assert measure.friedman == ranks.friedman(means, by_chance)
    assert measure.critical_difference == ranks.critical_difference(6, by_chance)
    assert (measure.seeds, measure.datasets) == (3, 6)
    np.testing.assert_allclose([each.rank for each in measure.losses], ranks.average_ranks(means))
    np.testing.assert_allclose([each.wilcoxon for each in measure.losses], ranks.holm_wilcoxon(means, 0, rng()))
    last = standing(found, "c")
    assert last.effect == loss_effect((values[2] - values[0]).T)
    assert last.given == mean_interval(list((values[2] - values[0]).mean(axis=1)))
    assert last.middle[0] == pytest.approx(interquartile_mean(values[2]))
    assert last.gap == pytest.approx(optimality_gap(values[2]))
    assert last.posterior is not None
    assert sum(last.posterior) == pytest.approx(1)
    assert standing(found, "a").effect is None
    assert standing(found, "a").given is None


@pytest.mark.parametrize("datasets", [2, 4, 5])
def test_fewer_than_five_data_sets_say_nothing_of_others(datasets: int) -> None:
    values = drawn(3, 3, datasets)
    experiment = asked(datasets)
    table = rows(experiment, lambda k, s, d: float(values[k, s, d]))
    found = overall(experiment, table)
    last = standing(found, "c")
    measure = found.standings[1]
    assert found.says_of_others == (datasets == 5)
    assert (last.effect is None) == (last.posterior is None) == (measure.friedman is None) == (datasets < 5)
    assert math.isnan(last.wilcoxon) == (datasets < 5)
    assert (across_settings.ranking(experiment, table, UNIFORM) is None) == (datasets < 5)
    assert last.given is not None
    assert last.given.n == 3
    assert last.given.low > -1
    assert ("No statement is made about other data sets" in paragraphs.across_caption(found)) == (datasets < 5)
    assert ("Friedman" in filled(across.heading(measure))) == (datasets == 5)


def test_backbones_on_one_data_set_are_one_unit() -> None:
    """They share images and seeds: two backbones on each of five data sets are not ten settings."""
    values = drawn(2, 3, 10)
    experiment = asked(5, "ab", backbones=["resnet8", "resnet20"])
    table = rows(experiment, lambda k, s, d: float(values[k, s, d]))
    found = overall(experiment, table)
    units = values.reshape(2, 3, 5, 2).mean(axis=3)
    assert (found.settings, found.datasets) == (10, 5)
    assert standing(found, "b").effect == pytest.approx(loss_effect((units[1] - units[0]).T))
    assert standing(found, "b").wilcoxon == pytest.approx(
        ranks.holm_wilcoxon(units.mean(axis=1).T, 0, rng())[1]
    )  # fmt: skip
    assert standing(found, "b").rank == pytest.approx(ranks.average_ranks(units.mean(axis=1).T)[1])
    few = asked(1, "ab", backbones=["resnet8", "resnet20"])
    assert overall(few, rows(few, lambda k, s, d: float(values[k, s, d]))).standings[0].friedman is None


@pytest.mark.parametrize("seeds", [across_settings.ENOUGH_SEEDS - 1, across_settings.ENOUGH_SEEDS])
def test_a_bootstrap_interval_that_would_not_hold_is_not_given(seeds: int) -> None:
    values = drawn(2, seeds, 2)
    experiment = asked(2, "ab", seeds=seeds)
    table = rows(experiment, lambda k, s, d: float(values[k, s, d]))
    found = overall(experiment, table)
    estimate, low, high = standing(found, "b").middle
    assert math.isfinite(estimate)
    enough = seeds == across_settings.ENOUGH_SEEDS
    assert (low < estimate < high) == enough
    assert ("[" in texts.across(standing(found, "b"), found)[-2]) == enough
    assert ("a bootstrap interval needs 20 seeds" in paragraphs.across_caption(found)) == (not enough)
    _, profiles = across_settings.profiles(experiment, table, UNIFORM)
    assert (profiles["b"].low != profiles["b"].high) == enough


def test_swapping_loss_and_baseline_flips_the_sign() -> None:
    values = drawn(2, 3, 5)
    forth = asked(5, "ab")
    back = forth.model_copy(update={"baseline": "b"})
    table = rows(forth, lambda k, s, d: float(values[k, s, d]))
    one = standing(overall(forth, table), "b")
    other = standing(overall(back, table), "a")
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
    experiment = asked(4)
    found = overall(experiment, rows(experiment, lambda k, s, d: float(values[k, s, d])))
    assert (found.settings, found.left_out) == (3, ("resnet8 on d3",))
    np.testing.assert_allclose(standing(found, "c").rank, ranks.average_ranks(values[:, :, :3].mean(axis=1).T)[2])
    assert "Left out for a missing cell or replica: resnet8 on d3." in paragraphs.across_caption(found)


def test_fewer_than_two_whole_settings_say_nothing_and_that() -> None:
    experiment = asked(2)
    found = overall(experiment, rows(experiment, lambda k, s, d: math.nan if k == d == 1 else 0.5))
    assert found.standings == ()
    assert "No statement is made across settings" in paragraphs.across_caption(found)


@pytest.mark.parametrize(("settings", "losses"), [(1, "abc"), (3, "a")])
def test_with_one_setting_or_one_loss_there_is_no_across(settings: int, losses: str) -> None:
    experiment = asked(settings, losses)
    found = overall(experiment, rows(experiment, lambda *_: 0.5))
    assert found.standings == ()
    assert paragraphs.across_caption(found) == ""


def test_a_loss_that_diverged_everywhere_is_last_and_got_nothing_right() -> None:
    experiment = asked()
    found = overall(experiment, rows(experiment, lambda k, s, d: None if k == 2 else 0.5 + 0.01 * s + 0.1 * k))
    last = standing(found, "c")
    assert last.rank == 3
    assert (last.middle[0], last.gap) == (0, 1)
    assert last.effect is not None
    assert last.effect.estimate == pytest.approx(-0.51)
    assert last.given is not None
    assert (last.given.estimate, last.given.n) == (pytest.approx(-0.51), 3)
    assert "nan" not in " ".join(texts.across(last, found))
    assert json.dumps(document(compare(experiment, []), found), allow_nan=False)


def test_one_run_that_diverged_is_no_better_than_one_that_got_nothing_right() -> None:
    experiment = asked(2, "ab")
    lost, wrong = (
        overall(
            experiment, rows(experiment, lambda k, s, d, bad=bad: bad if (k, s) == (1, 0) else 0.8 + 0.01 * s + 0.1 * k)
        )
        for bad in (None, 0.0)
    )
    assert repr(standing(lost, "b")) == repr(standing(wrong, "b"))  # NaN is not NaN
    assert standing(lost, "b").given.estimate < 0


def test_the_region_of_equivalence_is_the_claims_margin() -> None:
    claim = {"id": "x", "metric": UNIFORM, "challenger": "b", "baseline": "a", "direction": "higher", "margin": 0.03}
    experiment = asked(claims=[claim])
    found = overall(experiment, rows(experiment, lambda k, s, d: 0.5 + 0.025 * (k == 1) + 0.001 * s))
    sample_wise, uniform, _ = found.standings
    assert (sample_wise.rope, uniform.rope) == (across_settings.ROPE, 0.03)
    assert standing(found, "b").posterior.equivalent > 0.9
    assert standing(found, "b", "sample_wise_accuracy").posterior.higher > 0.9


def test_where_claims_decide_the_seeds_the_first_ones_count() -> None:
    claim = {"id": "x", "metric": UNIFORM, "challenger": "b", "baseline": "a", "direction": "higher"}
    experiment = asked(3, "ab", seeds={"min": 3, "max": 8, "until": "decided"}, claims=[claim])
    few = overall(experiment, rows(experiment, lambda k, s, d: 0.5 + 0.1 * k + 0.01 * s * k if s < 3 else math.nan))
    more = overall(
        experiment,
        rows(experiment, lambda k, s, d: 0.5 + 0.1 * k + 0.01 * s * k if s < 3 else 0.1 if s < 5 and d else math.nan),
    )
    assert few.settings == 3
    assert repr(standing(few, "b")) == repr(standing(more, "b"))
    assert standing(few, "b").given.n == 3


def test_leaders_are_the_best_and_those_not_significantly_worse() -> None:
    experiment = asked(1, "abc", seeds=6)
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 6))
    found = overall(experiment, rows(experiment, lambda k, s, d: 0.5 + 0.2 * (k > 0) + float(noise[k, s])))
    leaders = found.leaders["d0", "resnet8", UNIFORM]
    assert {leaders.best, *leaders.level} == {"b", "c"}


@pytest.mark.parametrize("seeds", [1, 2])
def test_what_cannot_be_tested_is_not_shown_to_be_worse(seeds: int) -> None:
    experiment = asked(1, seeds=seeds)
    found = overall(experiment, rows(experiment, lambda k, s, d: 0.5 + 0.1 * k + 0.01 * s * k))
    assert found.leaders["d0", "resnet8", UNIFORM] == across_settings.Leaders("c", ("a", "b"))
    more = asked(1, seeds=5)
    found = overall(more, rows(more, lambda k, s, d: 0.5 + 0.1 * k + 0.01 * s * k))
    assert found.leaders["d0", "resnet8", UNIFORM] == across_settings.Leaders("c", ())


def test_equal_seeds_of_an_accuracy_lead_by_the_floor_of_its_spread() -> None:
    experiment = asked(1, "ab", seeds=5)
    table = [{**row, "samples": 100} for row in rows(experiment, lambda k, s, d: 0.5 + 0.1 * k)]
    assert overall(experiment, table).leaders["d0", "resnet8", UNIFORM] == across_settings.Leaders("b", ())


def shown(experiment: Experiment, table: list[dict[str, Any]], width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(terminal.table(compare(experiment, table), overall(experiment, table)))
    return console.file.getvalue()


def test_the_terminal_shows_it_in_80_columns() -> None:
    values = drawn(3, 3, 5)
    experiment = asked(5, losses=("softmax", "bce_unified", "bce_diverse"))
    text = shown(experiment, rows(experiment, lambda k, s, d: float(values[k, s, d])), 80)
    assert "Across 5 settings" in text
    assert "With 5 data sets, Wilcoxon's p cannot be below 0.0625" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    assert not any("…" in line for line in text.splitlines())


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_the_texts_show_it(form: Any) -> None:
    values = drawn(3, 3, 6)
    experiment = asked()
    table = rows(experiment, lambda k, s, d: float(values[k, s, d]))
    found = overall(experiment, table)
    text = {"markdown": markdown, "latex": latex}[form](compare(experiment, table), found)
    assert "Across" in text
    assert f"{standing(found, 'c').rank:.2f}" in text
    assert "Friedman" in text
    assert "(exact)" in text


def test_json_is_complete_and_finite() -> None:
    experiment = asked()
    table = rows(experiment, lambda k, s, d: 0.5 + 0.1 * k)  # equal differences have no spread
    told = document(compare(experiment, table), overall(experiment, table))
    content = json.loads(json.dumps(told, allow_nan=False))
    measures = [each["metric"] for each in content["across"]["measures"]]
    assert measures == ["sample_wise_accuracy", UNIFORM, "accuracy_at_validation_threshold"]
    assert content["across"]["measures"][1]["losses"][2].keys() >= {
        "rank",
        "wilcoxon",
        "given",
        "effect",
        "posterior",
        "middle",
        "gap",
    }
    assert content["across"]["leaders"][0]["best"] == "c"
    assert len(content["lines"]) == 18
