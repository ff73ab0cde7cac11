"""Claims over test samples, from per-sample files written rather than trained."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from orchestrator.analysis.sample_noise import Sampled, within
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import plan
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.report.terminal.noise import table
from orchestrator.report.wording.noise import GREATEST, advice
from orchestrator.statistics.samples import TwoWay, mcnemar, two_way_interval
from trainers.evaluation import Evaluation
from trainers.metrics.uniform import uniform_accuracy

if TYPE_CHECKING:
    from pathlib import Path

CLAIM = {
    "id": "P1",
    "metric": "uniform_accuracy",
    "challenger": "bce_unified",
    "baseline": "softmax",
    "direction": "higher",
    "margin": 0.005,
}
SAMPLES = 400


def scored(rng: np.random.Generator, level: float, samples: int = SAMPLES) -> Evaluation:
    """A model that is right the more often, the higher the level."""
    rival = rng.normal(0, 1, samples).astype(np.float32)
    positive = (rival + rng.normal(level, 1, samples)).astype(np.float32)
    zeros = np.zeros(samples, np.int32)
    return Evaluation(np.arange(samples, dtype=np.int32), zeros, zeros, positive, rival, rival, rival)


@pytest.fixture
def written(tmp_path: Path, small: dict[str, Any], an_account: Callable[..., Any]) -> Callable[..., Any]:
    """Write the cells that a function of (loss, seed) has an evaluation for; the plan, and the files."""

    def write(evaluation: Callable[[str, int], Evaluation | None], **fields: Any) -> tuple[Any, Evaluations]:
        asked = Experiment.model_validate({**small, "backbones": ["resnet8"], "claims": [CLAIM], **fields})
        planned = plan(asked)
        evaluations = Evaluations(tmp_path / "evaluations")
        for cell in planned.cells:
            found = evaluation(cell.loss, cell.seed)
            if found is not None:
                evaluations.publish(cell.recipe, an_account(cell, found, samples=found.sample.size), found)
        return planned, evaluations

    return write


def models(level: float = 1.5) -> Callable[[str, int], Evaluation]:
    def model(loss: str, seed: int) -> Evaluation:
        return scored(np.random.default_rng([seed, loss == "softmax"]), level if loss == "bce_unified" else 1.0)

    return model


def right(model: Evaluation) -> np.ndarray:
    threshold = uniform_accuracy(model.positive, model.rival).threshold
    return (model.rival.astype(float) < threshold) & (threshold < model.positive.astype(float))


def test_each_number_is_that_of_the_statistics(written: Callable[..., Any]) -> None:
    (found,) = within(*written(models()))
    challenger, baseline = (
        np.stack([right(models()(loss, s)) for s in range(3)]) for loss in ("bce_unified", "softmax")
    )
    assert found.both == two_way_interval(challenger, baseline, np.random.default_rng(0))
    assert found.both.estimate == pytest.approx(challenger.mean() - baseline.mean())
    assert (found.samples, [seed.seed for seed in found.seeds]) == (SAMPLES, [0, 1, 2])
    raw = sorted(mcnemar(*pair) for pair in zip(challenger, baseline, strict=True))
    assert min(seed.mcnemar for seed in found.seeds) == pytest.approx(min(1, 3 * raw[0]))
    assert found.seeds[1].difference.estimate == pytest.approx(challenger[1].mean() - baseline[1].mean())


def test_sample_wise_is_the_own_class_on_top(written: Callable[..., Any]) -> None:
    (found,) = within(*written(models(), claims=[{**CLAIM, "metric": "sample_wise_accuracy"}]))
    mean = [
        np.mean([np.mean(models()(loss, s).rival < models()(loss, s).positive) for s in range(3)])
        for loss in ("bce_unified", "softmax")
    ]
    assert found.both.estimate == pytest.approx(mean[0] - mean[1])


def _taken(model: Evaluation, places: Any) -> Evaluation:
    """Some samples of a model; what it does not keep stays None."""
    columns = (getattr(model, name) for name in Evaluation.__dataclass_fields__)
    return Evaluation(*(None if column is None else column[places] for column in columns))


def test_samples_in_another_order_change_nothing(written: Callable[..., Any]) -> None:
    (found,) = within(*written(models()))

    def shuffled(loss: str, seed: int) -> Evaluation:
        return _taken(models()(loss, seed), np.random.default_rng(seed).permutation(SAMPLES))

    assert within(*written(shuffled)) == (found,)


def test_only_samples_and_seeds_that_all_have_count(written: Callable[..., Any]) -> None:
    def some(loss: str, seed: int) -> Evaluation | None:
        if (loss, seed) == ("softmax", 2):
            return None
        model = models()(loss, seed)
        cut = slice(100, None) if seed else slice(0, 300)
        return _taken(model, cut)

    (found,) = within(*written(some))
    assert (found.samples, len(found.seeds)) == (200, 2)


def test_without_a_pair_of_files_there_is_nothing(written: Callable[..., Any]) -> None:
    assert within(*written(lambda loss, seed: models()(loss, seed) if loss == "softmax" else None)) == ()
    assert "No claim" in shown(())


def test_a_file_that_cannot_be_read_is_left_out(written: Callable[..., Any]) -> None:
    planned, evaluations = written(models())
    cell = planned.cells[0]
    evaluations.path(cell.recipe, cell.id).write_bytes(b"no Parquet")
    (found,) = within(planned, evaluations)
    assert len(found.seeds) == 2


@pytest.mark.parametrize(
    "claim",
    [
        {**CLAIM, "metric": "nc2"},
        {**CLAIM, "baseline_metric": "uniform_accuracy_calibrated"},
        {"id": "P3", "metric": "bias_gap", "challenger": "bce_unified", "within": 0.5},
        {**CLAIM, "where": {"backbone": "resnet20"}},
    ],
)
def test_other_claims_and_other_settings_are_passed_over(written: Callable[..., Any], claim: dict[str, Any]) -> None:
    planned, evaluations = written(models(), claims=[claim], backbones=["resnet8", "resnet20"])
    found = within(planned, evaluations)
    assert [each.backbone for each in found] == (["resnet20"] if "where" in claim else [])


def noisy(of_seed: float, of_sample: float, seeds: int = 6, samples: int = 500, margin: float = 0.0) -> Sampled:
    """A claim whose difference is 0.05 more or less, by the noise of seeds and of samples."""
    rng = np.random.default_rng(0)
    values = (
        0.05
        + rng.normal(0, of_seed, (seeds, 1))
        + rng.normal(0, of_sample, samples)
        + rng.normal(0, 0.1, (seeds, samples))
    )
    both = two_way_interval(values, np.zeros_like(values), rng)
    claim = Experiment.model_validate(
        {"name": "x", "losses": ["softmax", "bce_unified"], "backbones": ["resnet8"], "datasets": ["digits"],
         "baseline": "softmax", "claims": [{**CLAIM, "margin": margin}]}
    ).claims[0]  # fmt: skip
    return Sampled(claim, "digits", "resnet8", samples, tuple(range(seeds)), both)  # type: ignore[arg-type]


@pytest.mark.parametrize(("of_seed", "of_sample", "most"), [(0.1, 0.1, "seeds"), (0.001, 3.0, "samples")])
def test_the_greatest_noise_is_found(of_seed: float, of_sample: float, most: str) -> None:
    found = noisy(of_seed, of_sample)
    assert found.dominant == most
    assert found.noise["seeds"] == pytest.approx(of_seed / math.sqrt(6), rel=0.6, abs=0.005)


def test_no_noise_has_no_greatest() -> None:
    found = noisy(0.0, 0.0)._replace(both=TwoWay(0.1, 0.09, 0.11, 0.0, 0.0, 0.0))
    assert found.dominant is None
    assert list(advice(found)) == []


def test_how_many_seeds_would_decide_is_said_beside_the_claim_alone() -> None:
    """Or one claim has several pieces of advice."""
    for found in (noisy(0.1, 0.1, seeds=5), noisy(0.001, 3.0)):
        assert not any("decide" in sentence for sentence, _ in advice(found))


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_it_adds_no_verdict_to_the_one_beside_the_claim(margin: float) -> None:
    """It would be of a single question, and the other holds for all at once."""
    found = noisy(0.001, 0.1, margin=margin)
    assert {sentence for sentence, _ in advice(found)} <= {*GREATEST.values()}


def shown(found: Any) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    console.print(table(found))
    return console.file.getvalue()


def test_the_terminal_shows_each_claim_once_and_fits_80_columns(written: Callable[..., Any]) -> None:
    found = within(
        *written(
            models(),
            claims=[CLAIM, {**CLAIM, "id": "P2", "metric": "sample_wise_accuracy"}],
            backbones=["resnet8", "resnet20"],
        )
    )
    assert [each.claim.id for each in found] == ["P1", "P1", "P2", "P2"]
    text = shown(found)
    assert text.count("P1: uniform_accuracy of bce_unified is above that of softmax") == 1
    assert "most noise" in " ".join(text.split())
    assert "3/3" in text
    assert max(map(len, text.splitlines())) <= 80


def test_one_seed_says_so(written: Callable[..., Any]) -> None:
    (found,) = within(*written(models(1.05), seeds=1))
    assert [sentence for sentence, _ in advice(found)] == [
        "fewer than {enough} seeds do not show how much seeds differ"
    ]
    assert "–" in shown((found,))


def test_a_hostile_name_is_shown_as_it_is(written: Callable[..., Any]) -> None:
    (found,) = within(*written(models()))
    text = shown((replace_names(found, "[bold]x"),))
    assert "[bold]x on [bold]x" in " ".join(text.split())


def replace_names(found: Sampled, name: str) -> Sampled:
    return found._replace(dataset=name, backbone=name)
