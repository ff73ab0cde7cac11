"""Scores from anywhere: the same numbers as by plain scipy, and the same verdicts as for cells."""

from __future__ import annotations

import functools
import html
import io
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from rich.console import Console
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.naive_bayes import GaussianNB

from orchestrator import judge
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import plan
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.publication import export
from orchestrator.sentences import filled, of_systems
from orchestrator.stores import Stores
from orchestrator.study import Study
from trainers.metrics.uniform import uniform_accuracy
from trainers.metrics.verification import draw_pairs, equal_error_rate, true_accept_rate_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.analysis.findings import Finding
    from orchestrator.records.files.evaluations import Account
    from trainers.evaluation import Evaluation

SAMPLES = 300
LABEL = np.random.default_rng(5).integers(0, 4, SAMPLES)


def scores(level: float, seed: int) -> np.ndarray:
    """Scores of four classes, the true one higher by a level."""
    found = np.random.default_rng([seed, int(100 * level)]).normal(size=(SAMPLES, 4))
    found[np.arange(SAMPLES), LABEL] += level
    return found


def table(system: str, level: float, seed: int = 0, **more: Any) -> dict[str, Any]:
    scored = scores(level, seed)
    return {"system": system, "seed": seed, "sample": np.arange(SAMPLES), "label": LABEL, "scores": scored, **more}


def right(found: np.ndarray) -> np.ndarray:
    return found.argmax(axis=1) == LABEL


def claim(**changes: Any) -> dict[str, Any]:
    about = {"metric": "sample_wise_accuracy", "challenger": "new", "baseline": "old", "direction": "higher"}
    return {"id": "C", **about, **changes}


def test_a_study_of_scikit_learn_has_the_numbers_of_scipy() -> None:
    images, labels = load_digits(return_X_y=True)
    halves = [np.random.default_rng(seed).permutation(1000) for seed in range(5)]
    test = images[1000:], labels[1000:]
    linear = [
        SGDClassifier(random_state=seed).fit(images[own[:300]], labels[own[:300]]) for seed, own in enumerate(halves)
    ]
    bayes = [GaussianNB(var_smoothing=1e-3).fit(images[own[:300]], labels[own[:300]]) for own in halves]
    margin = 0.01
    about = {"id": "C", "metric": "sample_wise_accuracy", "challenger": "linear", "baseline": "bayes"}
    found = judge(
        estimators={"bayes": bayes, "linear": linear},
        data=test,
        claims=[{**about, "direction": "higher", "margin": margin}],
    )
    difference = np.array([a.score(*test) - b.score(*test) for a, b in zip(linear, bayes, strict=True)])
    low, high = stats.t.interval(0.95, 4, difference.mean(), stats.sem(difference))
    (finding,) = found.findings
    assert finding.difference == pytest.approx((difference.mean(), low, high, 5), abs=1e-9)
    assert finding.p == pytest.approx(
        stats.ttest_1samp(difference, math.copysign(margin, difference.mean())).pvalue, abs=1e-9
    )
    mean = found.comparison.lines[1].means["sample_wise_accuracy"]
    accuracies = [each.score(*test) for each in linear]
    assert mean[1:3] == pytest.approx(stats.t.interval(0.95, 4, np.mean(accuracies), stats.sem(accuracies)), abs=1e-9)


def test_one_run_each_is_paired_over_samples() -> None:
    found = judge(table("old", 0.8), table("new", 1.4))
    gained, lost = (np.sum(right(scores(a, 0)) & ~right(scores(b, 0))) for a, b in ((1.4, 0.8), (0.8, 1.4)))
    # Bonett & Price 2012: one sample more for each
    gain, loss = (gained + 1) / (SAMPLES + 2), (lost + 1) / (SAMPLES + 2)
    half = stats.norm.ppf(0.975) * math.sqrt((gain + loss - (gain - loss) ** 2) / (SAMPLES + 2))
    (finding,) = found.findings
    assert finding.difference == pytest.approx(
        ((gained - lost) / SAMPLES, gain - loss - half, gain - loss + half, SAMPLES), abs=1e-9
    )
    assert (finding.unit, finding.verdict) == ("samples", "supported")
    assert "Training noise is unknown" in " ".join(found.comparison.scored.told() if found.comparison.scored else [])


def test_a_few_samples_on_which_two_systems_differ_are_not_enough() -> None:
    """Five of 300, all for one: the exact p of McNemar's test is 0.0625, the t test's 0.025."""
    better = np.zeros(SAMPLES)
    better[:5] = 1
    found = judge(
        {"system": "old", "sample": np.arange(SAMPLES), "value": np.zeros(SAMPLES)},
        {"system": "new", "sample": np.arange(SAMPLES), "value": better},
    )
    assert [finding.verdict for finding in found.findings] == ["undecided"]
    many = judge(
        {"system": "old", "sample": np.arange(SAMPLES), "value": np.zeros(SAMPLES)},
        {"system": "new", "sample": np.arange(SAMPLES), "value": np.roll(np.repeat([1.0, 0.0], 150), 3)},
    )
    assert [finding.verdict for finding in many.findings] == ["supported"]


def test_values_of_any_unit_are_compared_by_a_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    old, new = rng.normal(3, 2, (2, SAMPLES))
    order = rng.permutation(SAMPLES)  # ids pair samples, not rows
    found = judge(
        {"system": "old", "sample": np.arange(SAMPLES), "value": old},
        {"system": "new", "sample": order, "value": new[order]},
    )
    tested = stats.ttest_rel(new, old)
    (finding,) = found.findings
    assert finding.difference[:3] == pytest.approx((np.mean(new - old), *tested.confidence_interval()), abs=1e-9)
    assert finding.p == pytest.approx(tested.pvalue, abs=1e-9)


def test_groups_are_resampled_together() -> None:
    """With every sample copied four times, four times as many tell no more than before."""
    old, new = np.random.default_rng(0).normal(3, 2, (2, SAMPLES))
    one = judge(
        {"system": "old", "sample": np.arange(SAMPLES), "value": old},
        {"system": "new", "sample": np.arange(SAMPLES), "value": new},
    )
    copies = {"sample": np.arange(4 * SAMPLES), "group": np.repeat(np.arange(SAMPLES), 4)}
    again = judge(
        {"system": "old", "value": np.repeat(old, 4), **copies}, {"system": "new", "value": np.repeat(new, 4), **copies}
    )
    assert again.findings[0].difference == pytest.approx(one.findings[0].difference, abs=1e-9)
    assert (one.findings[0].unit, again.findings[0].unit) == ("samples", "groups")


def test_large_groups_weigh_as_much_as_their_samples() -> None:
    sizes = np.random.default_rng(3).integers(1, 9, 60)
    group = np.repeat(np.arange(60), sizes)
    old, new = np.random.default_rng(0).normal(3, 2, (2, len(group)))
    about = {"sample": np.arange(len(group)), "group": group}
    (finding,) = judge({"system": "old", "value": old, **about}, {"system": "new", "value": new, **about}).findings
    difference = new - old
    sums = np.bincount(group, weights=difference - difference.mean())
    error = math.sqrt(60 / 59 * np.sum(sums**2)) / len(group)  # of a ratio of two sums, linearised
    assert finding.difference.estimate == pytest.approx(difference.mean(), abs=1e-12)
    assert finding.difference.high - difference.mean() == pytest.approx(stats.t.ppf(0.975, 59) * error, abs=1e-9)


def test_all_kinds_of_scores_say_the_same_of_accuracy() -> None:
    def by(kind: str, system: str, level: float) -> dict[str, Any]:
        found = scores(level, 0)
        each = np.arange(SAMPLES)
        others = found.copy()
        others[each, LABEL] = -np.inf
        columns: dict[str, dict[str, Any]] = {
            "list": {"scores": found},
            "columns": {f"score_{k}": found[:, k] for k in range(4)},
            "two": {"positive": found[each, LABEL], "rival": others.max(axis=1)},
            "prediction": {"prediction": found.argmax(axis=1)},
        }
        return {"system": system, "sample": each, "label": LABEL, **columns[kind]}

    kinds = {
        kind: judge(by(kind, "old", 0.8), by(kind, "new", 1.4)) for kind in ("list", "columns", "two", "prediction")
    }
    assert len({found.findings[0].difference for found in kinds.values()}) == 1
    two = by("two", "old", 0.8)
    best = uniform_accuracy(two["positive"], two["rival"]).accuracy
    assert {kinds[kind].rows[0]["uniform_accuracy"] for kind in ("list", "columns", "two")} == {best}
    assert kinds["prediction"].comparison.measures == ("sample_wise_accuracy",)


def test_frames_are_tables() -> None:
    one, two = (table(name, level) for name, level in (("old", 0.8), ("new", 1.4)))
    given = judge(one, two).findings[0].difference
    for frame in (_pandas, _arrow, _polars):
        assert judge(frame(one), frame(two)).findings[0].difference == given


def _pandas(columns: dict[str, Any]) -> pd.DataFrame:
    """With names of categories, and an index that means nothing."""
    found = pd.DataFrame({**columns, "scores": list(columns["scores"])}, index=np.arange(SAMPLES)[::-1])
    return found.astype({"system": "category"})


def _arrow(columns: dict[str, Any]) -> pa.Table:
    system = [columns["system"]] * SAMPLES
    return pa.table({**columns, "seed": [0] * SAMPLES, "system": system, "scores": list(columns["scores"])})


def _polars(columns: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(_arrow(columns).to_pydict())


def test_a_validation_split_chooses_the_threshold() -> None:
    parts = [
        {**table("only", 1.4), "split": "test"},
        {**table("only", 1.4, 0), "scores": scores(1.4, 9), "split": "validation"},
    ]
    found = judge(*parts)
    each = np.arange(SAMPLES)

    def two(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        others = drawn.copy()
        others[each, LABEL] = -np.inf
        return drawn[each, LABEL], others.max(axis=1)

    threshold = uniform_accuracy(*two(scores(1.4, 9))).threshold
    positive, rival = two(scores(1.4, 0))
    assert found.rows[0]["validation_threshold"] == threshold
    assert found.rows[0]["accuracy_at_validation_threshold"] == np.mean((rival < threshold) & (threshold < positive))


@pytest.mark.parametrize("runs", [1, 4])
def test_pairs_to_verify_are_judged_over_identities(runs: int) -> None:
    who = np.repeat(np.arange(40), 4)
    pairs = draw_pairs(who, 2000, np.random.default_rng(1))
    genuine = who[pairs[:, 0]] == who[pairs[:, 1]]
    people = {"genuine": genuine, "identity_a": who[pairs[:, 0]], "identity_b": who[pairs[:, 1]]}

    def cosines(level: float, seed: int) -> np.ndarray:
        return np.random.default_rng([seed, int(10 * level)]).normal(0, 1, len(pairs)) + level * genuine

    tables = [
        {"system": name, "seed": seed, "similarity": cosines(level, seed), **people}
        for name, level in (("old", 1.0), ("new", 2.0))
        for seed in range(runs)
    ]
    found = judge(
        *tables,
        claims=[claim(metric="verification_tar_1"), claim(id="E", metric="verification_eer", direction="lower")],
    )
    assert found.rows[0]["verification_tar_1"] == true_accept_rate_at(cosines(1.0, 0), genuine, 0.01)
    assert found.rows[0]["verification_eer"] == equal_error_rate(cosines(1.0, 0), genuine)
    assert found.rows[0]["verification_tar_001"] is None  # 1000 impostor pairs do not reach 0.01 %
    assert {finding.verdict for finding in found.findings} == {"supported"}
    assert {(finding.unit, finding.difference.n) for finding in found.findings} == (
        {("identities", 40)} if runs == 1 else {("seeds", 4)}
    )


def test_an_export_has_the_verdicts_of_its_cells(
    tmp_path: Path, an_account: Callable[..., Account], drawn: Callable[..., Evaluation], small: dict[str, Any]
) -> None:
    about = {"metric": "uniform_accuracy", "challenger": "bce_unified", "baseline": "softmax", "direction": "higher"}
    claims = [
        {"id": "u", **about},
        {"id": "s", **about, "metric": "sample_wise_accuracy", "margin": 0.02},
        {"id": "all", **about, "over": "mean"},
    ]
    asked = Experiment.model_validate({**small, "seeds": 4, "claims": claims})
    place = Stores.at(str(tmp_path / "runs"))
    cells = plan(asked)
    for cell in cells.cells:
        skill = 1.5 + 0.4 * (cell.loss == "bce_unified") + 0.1 * cell.seed
        model = 10 * cell.seed + 5 * (cell.loss == "softmax") + (cell.backbone == "resnet8")
        test = drawn(200, seed=model, skill=skill)
        held_out = drawn(80, seed=100 + model, skill=skill)
        account = an_account(cell, test, held_out, samples=200)
        Evaluations(tmp_path / "runs" / "evaluations").publish(cell.recipe, account, test, held_out)
    study = Study.of(asked, place)
    export(cells, place.place, tmp_path / "folder")
    found = judge(tmp_path / "folder", claims=claims, baseline="softmax")
    assert len(found.findings) == len(study.comparison.findings) > 2
    shown = {_place(finding): (finding.verdict, finding.difference, finding.p) for finding in found.findings}
    assert shown == {
        _place(finding): (finding.verdict, finding.difference, finding.p) for finding in study.comparison.findings
    }
    ours, theirs = (
        {(line.backbone, line.loss, name): mean[:3] for line in each.lines for name, mean in line.means.items()}
        for each in (found.comparison, study.comparison)
    )
    assert ours.keys() == theirs.keys()
    for key, mean in theirs.items():
        assert ours[key] == pytest.approx(mean, abs=1e-12, nan_ok=True), key  # rows are summed in another order


def _place(finding: Finding) -> tuple[str, str, str]:
    return finding.claim.id, finding.dataset, finding.backbone


NAMES = ("old loss", "new cell", "損失 xyz")
OTHER_WORDS = re.compile(r"\b(loss|losses|cell|cells)\b|損失|セル", re.IGNORECASE)


def test_every_form_speaks_of_systems_and_runs_and_leaves_names_as_they_are() -> None:
    old, new, third = NAMES
    runs = [table(name, level, seed) for name, level in ((old, 1.0), (new, 1.6), (third, 1.2)) for seed in range(3)]
    found = judge(*runs, baseline=old)
    terminal = Console(file=io.StringIO(), width=200)
    terminal.print(found.table())
    page = re.sub(r"<(script|style).*?</\1>", " ", found.page, flags=re.DOTALL)
    visible = html.unescape(re.sub(r"<[^>]*>", " ", page))
    written = terminal.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue] - it is a StringIO
    for form in (written, found.text("markdown"), found.text("latex"), visible):
        assert all(name in form for name in NAMES)
        named = (*NAMES, *(finding.claim.id for finding in found.findings))
        nameless = functools.reduce(lambda text, name: text.replace(name, ""), named, form)
        assert OTHER_WORDS.findall(nameless) == []
        assert "ystem" in nameless
    assert "システム" in visible
    assert repr(found) == "<Scores of 'scores': 3 systems, 9 runs, 2 supported>"
    assert filled(("loss {name}", {"name": "loss"})) == "loss loss"
    with of_systems():
        assert filled(("loss {name}, {loss}", {"name": "loss", "loss": "cell"})) == "system loss, cell"
