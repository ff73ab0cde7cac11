"""The page about a proof of concept runs from its own lines, and its numbers follow from the statistics."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from orchestrator.experiment.operation import Operation
from orchestrator.statistics.promises import rate_bound, units_needed

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs" / name for name in ("poc.md", "poc.ja.md")]
sys.path.insert(0, str(ROOT / "experiments"))

from draw_parts import draw  # noqa: E402 - a script beside the experiments, not a module of the program

every = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


@every
def test_the_images_that_a_promise_takes_are_those_of_the_statistics(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    rows = re.findall(r"^\|[^|]*?([\d.]+) %[^|]*\| ([\d,]+) \|$", text, re.MULTILINE)
    assert len(rows) == 4
    for percent, images in rows:
        assert units_needed(float(percent) / 100, 0.05) == int(images.replace(",", ""))
    assert f"{100 * rate_bound(0, 20, 0.05):.0f} %" in text
    assert rate_bound(1, 473, 0.05) <= 0.01 < rate_bound(1, 472, 0.05)
    assert "473" in text


def test_both_languages_have_the_same_commands_and_the_same_operation() -> None:
    english, japanese = PAGES
    assert blocks(english, "sh") == blocks(japanese, "sh")
    assert blocks(english, "text") == blocks(japanese, "text")
    first, second = (yaml.safe_load(blocks(path, "yaml")[0]) for path in PAGES)
    assert first == second
    assert Operation.model_validate(first["operation"]).good == ("disc", "nut")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_images_become_a_decision_by_the_lines_of_the_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("disc", "nut", "scratch", "dent"):
        folder = tmp_path / "parts" / name
        folder.mkdir(parents=True)
        for number in range(50):
            Image.fromarray(draw(rng, name)).save(folder / f"{number:03}.png")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, *words[1:]]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    look, use = blocks(PAGES[0], "sh")
    made = run(*look.split())
    assert made.returncode == 0, made.stderr
    asked = tmp_path / "parts.yaml"
    drafted = asked.read_text(encoding="utf-8")
    short = re.sub(
        r"^  epochs: \d+$", "  epochs: 8", drafted.replace("\nseeds: 5\n", "\nseeds: 2\n"), flags=re.MULTILINE
    )
    assert {"seeds: 2", "  epochs: 8"} <= {*short.splitlines()}
    asked.write_text(short + blocks(PAGES[0], "yaml")[0], encoding="utf-8")
    launch, decide, report = use.splitlines()
    launched = run(*launch.split())
    assert launched.returncode == 0, launched.stdout + launched.stderr
    decided = run(*decide.split())
    assert decided.stdout.startswith("Deploy ")
    assert decided.returncode == 3, "20 defects cannot show a limit of 5 %"
    assert "takes about 59 defects" in decided.stdout or "the rates seen are not below it" in decided.stdout
    told = json.loads(run(*decide.split(), "--json").stdout)
    assert told["deployed"]["units"] == 40
    assert run(*report.split()).returncode == 0
    page = (tmp_path / "runs" / "reports" / "parts" / "index.html").read_text(encoding="utf-8")
    assert decided.stdout.splitlines()[0] in page
