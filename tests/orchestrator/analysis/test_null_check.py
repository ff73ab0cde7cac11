"""What tests find where there is nothing, said for the grid at hand."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from rich.console import Console

from orchestrator.analysis import null_check
from orchestrator.experiment.model import Experiment
from orchestrator.report.terminal import null_rates


def asked(seeds: int) -> Experiment:
    document = {"name": "x", "losses": ["softmax", "bce_unified"], "backbones": ["resnet8"], "datasets": ["digits"]}
    return Experiment.model_validate({**document, "seeds": seeds, "baseline": "softmax"})


def rows(seeds: int) -> list[dict[str, Any]]:
    draw = np.random.default_rng(0)
    about = {"dataset": "digits", "backbone": "resnet8", "state": "finished"}
    return [
        {**about, "loss": loss, "seed": seed, "uniform_accuracy": draw.normal(), "sample_wise_accuracy": None}
        for loss in ("softmax", "bce_unified")
        for seed in range(seeds)
    ]


def test_sound_tests_find_about_as_little_as_they_promise() -> None:
    found = null_check.rates(asked(20), rows(20))["uniform_accuracy"]
    assert max(found["t"], found["sign_flip"], found["wilcoxon"]) < 0.1


def test_a_measure_without_values_has_no_rates() -> None:
    shown = io.StringIO()
    Console(file=shown, width=160).print(null_rates.table(asked(20), rows(20)))
    student = next(line for line in shown.getvalue().splitlines() if line.startswith("Student t"))
    assert "–" in student
    assert "two halves of 10, 1,000 times" in " ".join(shown.getvalue().split())


def test_how_far_rates_scatter_is_printed_beside_them() -> None:
    shown = io.StringIO()
    Console(file=shown, width=160).print(null_rates.table(asked(20), rows(20)))
    sound = next(line for line in shown.getvalue().splitlines() if line.startswith("a sound test"))
    scattered = null_check.scatter(asked(20), rows(20))["uniform_accuracy"]
    assert f"5 ± {200 * scattered:.1f} %" in sound
    assert "–" in sound
    assert 0.004 < scattered < 0.012


def test_halves_are_of_one_environment_and_what_was_compared_is_counted() -> None:
    """Another machine moved seven of ten seeds by far more than seeds differ: no half may mix the two."""
    mixed = [
        {**row, "environment": "new" if row["seed"] > 2 else "old", "uniform_accuracy": row["uniform_accuracy"] + 99}
        if row["seed"] > 2
        else {**row, "environment": "old"}
        for row in rows(10)
    ]
    assert null_check.counts(asked(10), mixed, "uniform_accuracy") == [7, 7]
    alone = [{**row, "environment": "new"} for row in mixed if row["seed"] > 2]
    found, expected = (null_check.rates(asked(10), each)["uniform_accuracy"] for each in (mixed, alone))
    assert found == expected
    shown = io.StringIO()
    Console(file=shown, width=160).print(null_rates.table(asked(10), mixed))
    assert "two halves of 3, 1,000 times" in " ".join(shown.getvalue().split())
    compared = next(line for line in shown.getvalue().splitlines() if line.startswith("comparisons"))
    assert compared.split() == ["comparisons", "0", "2,000", "0"]
