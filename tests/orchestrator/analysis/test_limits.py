"""Temperatures that were not found, and rates that samples cannot carry, stand beside or in place of the figures."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.analysis.comparison import Comparison, compare
from orchestrator.analysis.limits import NAMED
from orchestrator.experiment.model import Experiment
from orchestrator.report.markdown import markdown
from orchestrator.report.paper.latex import latex
from orchestrator.report.terminal.comparison import table as terminal
from orchestrator.report.web.verdicts import difference
from orchestrator.report.wording.verdicts import doubts

SEEDS = 5


def asked(**claim: Any) -> Experiment:
    fields = {"id": "C5", "challenger": "bce_unified", "baseline": "softmax", "direction": "higher", **claim}
    return Experiment.model_validate(
        {
            "name": "asked",
            "losses": ["softmax", "bce_unified", "softmax_calibrated"],
            "backbones": ["resnet8"],
            "datasets": ["digits"],
            "seeds": SEEDS,
            "baseline": "softmax",
            "claims": [fields],
        }
    )


def compared(
    experiment: Experiment, values: dict[str, Any] | None = None, edge: tuple[str, ...] = (), seeds: int = SEEDS
) -> Comparison:
    """Of cells that all have these values, whose temperature is an end of the grid for seeds 1 and 3 of some losses."""
    rows = [
        {
            "cell_id": f"{loss}{seed}",
            "loss": loss,
            "backbone": "resnet8",
            "dataset": "digits",
            "seed": seed,
            "state": "finished",
            "samples": 797,
            "environment": "here",
            "decide_by": "calibrated" if loss == "softmax_calibrated" else "raw",
            "uniform_accuracy": 0.8 + 0.02 * seed,
            "sample_wise_accuracy": 0.9,
            "accuracy_at_validation_threshold": 0.7,
            "uniform_accuracy_calibrated": 0.9 + 0.01 * seed + 0.02 * (loss == "softmax"),
            "temperature": 0.01 if loss in edge and seed % 2 else 0.5 + seed / 10,
            "temperature_at_edge": float(loss in edge and seed % 2),
            "open_auroc_calibrated": None,
            **(values or {}),
        }
        for loss in ("softmax", "bce_unified", "softmax_calibrated")
        for seed in range(seeds)
    ]
    return compare(experiment, rows)


def said(comparison: Comparison) -> list[str]:
    (finding,) = comparison.findings
    return [text.format(**values) for text, values in doubts(finding)]


CALIBRATED = {"metric": "uniform_accuracy_calibrated"}


def test_cells_whose_temperature_was_not_found_are_named_beside_the_verdict_that_uses_them() -> None:
    comparison = compared(asked(**CALIBRATED), edge=("softmax", "softmax_calibrated"))
    (told,) = (text for text in said(comparison) if "no best T" in text)
    assert told.startswith("no best T was found in 2 of 10 cells (softmax s1, softmax s3):")
    for text in (markdown(comparison), latex(comparison)):
        assert "in 2 of 10 cells (softmax s1, softmax s3)" in text


def test_temperatures_and_the_open_set_figure_stand_beside_calibrated_ones() -> None:
    assert "T of calibrated probabilities 0.5 to 0.9, without unknown samples to judge them by" in said(
        compared(asked(**CALIBRATED))
    )
    opened = said(compared(asked(**CALIBRATED), {"open_auroc_calibrated": 0.75}))
    assert "T of calibrated probabilities 0.5 to 0.9, with which known and unknown samples have AUROC 0.750" in opened
    assert not any("no best T" in text for text in opened)


@pytest.mark.parametrize(
    ("claim", "named"),
    [
        ({"metric": "uniform_accuracy"}, []),
        (
            {"metric": "uniform_accuracy", "baseline_metric": "uniform_accuracy_calibrated"},
            ["softmax s1", "softmax s3"],
        ),
        ({"metric": "uniform_accuracy_probability"}, []),
        ({"metric": "sample_wise_accuracy", "baseline": "softmax_calibrated"}, ["softmax_calibrated s1"]),
        ({**CALIBRATED, "over": "mean"}, ["bce_unified s1", "softmax s1"]),
        ({"metric": "uniform_accuracy", "than": {"metric": "uniform_accuracy_calibrated"}}, ["bce_unified s1"]),
    ],
)
def test_only_figures_that_depend_on_a_temperature_are_doubted(claim: dict[str, Any], named: list[str]) -> None:
    values = {"uniform_accuracy_probability": 0.9}
    told = " ".join(said(compared(asked(**claim), values, edge=("softmax", "bce_unified", "softmax_calibrated"))))
    assert bool(named) == ("T of calibrated" in told)
    for name in named:
        assert name in told


def test_of_many_cells_some_are_named() -> None:
    (told,) = (
        text
        for text in said(compared(asked(**CALIBRATED), edge=("softmax", "bce_unified"), seeds=20))
        if "no best T" in text
    )
    assert told.count("bce_unified s") == NAMED
    assert f"and {20 - NAMED} more" in told


def test_a_rate_that_the_images_cannot_carry_is_not_printed_but_how_many_it_needs() -> None:
    comparison = compared(asked(metric="true_accept_rate_01"), {"true_accept_rate_01": None})
    (finding,) = comparison.findings
    assert finding.verdict == "undecided"
    for text in (markdown(comparison), latex(comparison), plain(comparison)):
        assert "needs 1,000 test images, there are 797" in " ".join(text.split())
        assert "no pair of seeds" not in text
    assert comparison.to_json()["claims"][0]["too_few"] == {
        "metric": "true_accept_rate_01",
        "needed": 1000,
        "there": 797,
    }


def test_the_page_says_so_in_both_languages() -> None:
    comparison = compared(asked(metric="true_accept_rate_01"), {"true_accept_rate_01": None})
    told = difference(comparison.findings[0])
    assert told.en == "needs 1,000 test images, there are 797"
    assert "1,000 枚" in told.ja


def test_losses_that_do_not_decide_by_raw_scores_are_named() -> None:
    comparison = compared(asked(metric="uniform_accuracy"))
    assert comparison.to_json()["decide_by"] == {"softmax_calibrated": "calibrated"}
    for text in (markdown(comparison), latex(comparison), plain(comparison)):
        assert "softmax\\_calibrated (calibrated)." in text or "softmax_calibrated (calibrated)." in text
    plain_losses = asked(metric="uniform_accuracy").model_copy(
        update={"losses": asked(metric="uniform_accuracy").losses[:2]}
    )
    assert "decide_by" not in markdown(compared(plain_losses))


def test_of_pairs_the_impostors_are_counted() -> None:
    comparison = compared(asked(metric="verification_tar_1"), {"verification_tar_1": None})
    assert "needs 100 impostor pairs" in markdown(comparison)


def test_a_rate_that_they_carry_is_printed() -> None:
    comparison = compared(asked(metric="true_accept_rate_1"), {"true_accept_rate_1": 0.9})
    assert "needs" not in markdown(comparison)
    assert "n = 5" in markdown(comparison)


def plain(comparison: Comparison) -> str:
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as captured:
        console.print(terminal(comparison))
    return captured.get()
