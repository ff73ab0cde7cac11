"""What a verdict cannot rest on: temperatures that were not found, and rates that the samples are too few for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.adaptive.seeds import Row
from orchestrator.experiment.questions import Key, Question
from orchestrator.outcome import has_figures
from orchestrator.pairing.blocks import is_cell
from orchestrator.sentences import Sentence
from trainers.metrics import AT_TEMPERATURE, NEEDED

NAMED = 6
"""Cells named one by one."""


@dataclass(frozen=True)
class Calibrated:
    """The cells of which a verdict takes figures at a temperature found on validation images."""

    lowest: float
    """Temperature."""
    highest: float
    cells: int
    at_edge: tuple[str, ...]
    """Names of those whose temperature is an end of the grid, so that it was not found."""
    open_auroc: float | None
    """Mean area under the ROC curve of known against unknown samples, by these probabilities; None without any."""

    def sentences(self) -> Iterator[Sentence]:
        """What is to be said beside the figures. As T falls, uniform accuracy becomes sample-wise accuracy."""
        values = {"low": f"{self.lowest:.3g}", "high": f"{self.highest:.3g}"}
        if self.open_auroc is None:
            yield "T of calibrated probabilities {low} to {high}, without unknown samples to judge them by", values
        else:
            text = (
                "T of calibrated probabilities {low} to {high}, with which known and unknown samples have AUROC {open}"
            )
            yield text, {**values, "open": f"{self.open_auroc:.3f}"}
        if self.at_edge:
            count = len(self.at_edge)
            others = len(self.at_edge) - NAMED
            names = ", ".join(self.at_edge[:NAMED]) + (f" and {others} more" if others > 0 else "")
            text = "no best T was found in {count} of {cells} cells ({names}): an end of its grid is as good, for example because all validation images are right; uniform is then sample-wise accuracy by construction"  # noqa: E501 - one key of words.json
            yield text, {"count": count, "cells": self.cells, "names": names}


def calibrated(asked: Iterable[Question], by_key: Mapping[Key, Sequence[Row]]) -> Calibrated | None:
    """The cells of some questions whose figures depend on such a temperature; None without any."""
    found = {row["cell_id"]: row for row in _tempered(asked, by_key)}.values()
    if not found:
        return None
    temperatures = [row["temperature"] for row in found]
    opened = [row["open_auroc_calibrated"] for row in found if row.get("open_auroc_calibrated") is not None]
    return Calibrated(
        min(temperatures),
        max(temperatures),
        len(found),
        tuple(f"{row['loss']} s{row['seed']}" for row in found if row.get("temperature_at_edge")),
        sum(opened) / len(opened) if opened else None,
    )


def _tempered(asked: Iterable[Question], by_key: Mapping[Key, Sequence[Row]]) -> Iterator[Row]:
    for question in asked:
        for key, metrics in question.measures.items():
            for row in by_key.get(key, ()):
                is_its_own = row.get("decide_by") == "calibrated" or not AT_TEMPERATURE.isdisjoint(metrics)
                if is_its_own and is_cell(row) and row.get("temperature") is not None:
                    yield row


@dataclass(frozen=True)
class TooFew:
    """A rate that samples cannot carry."""

    metric: str
    needed: int
    """Samples."""
    there: int | None
    """Test images; None where it is a rate of pairs."""

    def sentence(self) -> Sentence:
        """What stands in place of the figure."""
        if self.there is None:
            return "needs {needed} impostor pairs", {"needed": f"{self.needed:,}"}
        return "needs {needed} test images, there are {there}", {
            "needed": f"{self.needed:,}",
            "there": f"{self.there:,}",
        }


def too_few(asked: Iterable[Question], by_key: Mapping[Key, Sequence[Row]]) -> TooFew | None:
    """The first rate that some questions are about and that some cell could not give; None without one."""
    for question in asked:
        for key, metrics in question.measures.items():
            for metric in (metric for metric in metrics if metric in NEEDED):
                lacking = [row for row in by_key.get(key, ()) if has_figures(row["state"]) and row.get(metric) is None]
                for row in lacking:
                    is_of_images = metric.startswith("true_accept")
                    return TooFew(metric, NEEDED[metric], row.get("samples") if is_of_images else None)
    return None
