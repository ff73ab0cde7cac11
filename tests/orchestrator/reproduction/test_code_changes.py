"""What happens where code, or the processor, is another than that of finished cells: the whole program at work."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

import program
import services
from orchestrator.provenance import processor

LOSS = '''\
"""A loss of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trainers.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


class Squared(Loss):
    """Squared distance to the one-hot label, summed over classes."""

    name: ClassVar[str] = "squared"

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each sample."""
        import torch

        wanted = torch.nn.functional.one_hot(labels, logits.shape[1])
        return (logits - wanted).square().sum(1)
'''
GRID = """\
name: grid
plugins: [my_losses]
losses: [softmax, bce_unified, squared]
backbones: [resnet8]
datasets: [digits]
seeds: 3
recipe: {epochs: 1, batch_size: 64, learning_rate: 0.1}
baseline: softmax
"""
LAUNCH = "launch --executor inline"
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


@dataclass
class Desk:
    """A folder with an experiment and a plug-in, in which the program is run as people run it."""

    folder: Path

    def run(self, *verbs: str, **variables: str) -> list[str]:
        """What some verbs print, with their options; line breaks are spaces."""
        done = [program.run(*shlex.split(verb), folder=self.folder, **variables) for verb in verbs]
        assert {run.returncode for run in done} <= {0, 1, 2}
        assert not [run.stderr for run in done if "Traceback" in run.stderr]
        return [" ".join((run.stdout + run.stderr).split()) for run in done]

    def edit(self, old: str, new: str) -> None:
        file = self.folder / "my_losses.py"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A grid that was launched."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    (desk.folder / "my_losses.py").write_text(LOSS)
    (desk.folder / "grid.yaml").write_text(GRID)
    services.put_store(desk.folder / "runs")
    (said,) = desk.run(f"{LAUNCH} grid.yaml")
    assert "9 of 9 cells" in said or "Results:" in said
    return desk


@pytest.fixture
def done(launched: Desk, tmp_path: Path) -> Desk:
    """A copy of it."""
    shutil.copytree(launched.folder, tmp_path / "desk")
    return Desk(tmp_path / "desk")


CHANGED = "3 finished cells of loss 'squared' came from different code (my_losses.py has changed since)."


def test_an_edited_loss_is_noticed_everywhere_and_is_not_pooled(done: Desk) -> None:
    done.edit("A loss of one's own.", "A loss of my own.")
    done.edit("        wanted", "        # The label as a vector.\n        wanted")
    (told,) = done.run("plan grid.yaml")
    assert "came from different code" not in told
    done.edit(".square()", ".abs()")
    *every, others, older, anchors, refused, trusted, pooled, said, _ = done.run(
        "plan grid.yaml",
        "status grid.yaml",
        "status",
        "compare grid.yaml",
        "compare grid.yaml --format markdown",
        "doctor grid.yaml",
        f"{LAUNCH} grid.yaml",
        "plan grid.yaml --seeds 3,4",
        "plan grid.yaml --seeds 5",
        "plan grid.yaml --seeds 5 --json",
        f"{LAUNCH} grid.yaml --seeds 5",
        f"{LAUNCH} grid.yaml --seeds 5 --trust-old",
        "compare grid.yaml --seeds 5 --format json",
        "compare grid.yaml --seeds 5",
        "report grid.yaml --seeds 5",
    )
    for told in every:
        assert CHANGED in told
    assert f"grid: {CHANGED}" in every[2]
    for kept in (done.folder / "runs").glob("registry.db*"):
        kept.unlink()
    (told,) = done.run("status grid.yaml")
    assert "came from different code (my_losses.py has changed since)" in told  # by the file, without a registry
    change = "code of loss 'squared' (my_losses.py) changed"
    for told in (older, others):
        assert f"A launch would first retrain 3 finished cells ({change}): squared/resnet8/digits/s" in told
    asked = json.loads(anchors)
    assert {anchor["name"] for anchor in asked["anchors"]} == {f"squared/resnet8/digits/s{seed}" for seed in range(3)}
    assert "Old cells cannot be pooled with new ones, so none was added." in refused
    assert f"{change}: retraining 3 old cells" in refused
    assert f"{change}: pooled without a further test because of --trust-old." in trusted
    (pair,) = json.loads(pooled)["pool"]["pairs"]
    assert (pair["trusted"], pair["old"]["loss"]) == (True, "squared")
    assert f"{change}: pooled because of --trust-old" in said
    page = (done.folder / "runs" / "reports" / "grid" / "index.html").read_text()
    assert "my_losses.py has changed since" in page
    assert "pooled because of --trust-old" in page


@pytest.mark.slow
@pytest.mark.skipif(processor.instruction_set() != "AVX512", reason="this processor, or this shell, has no AVX-512")
def test_another_instruction_set_is_noticed_everywhere(done: Desk) -> None:
    change = "instruction set AVX512 → AVX2, oneDNN "
    older, doctor, trusted = done.run(
        "plan grid.yaml --seeds 4", "doctor grid.yaml", f"{LAUNCH} grid.yaml --seeds 4 --trust-old", **AVX2
    )
    elsewhere = f"9 finished cells came from a different environment than a launch here would use: {change}"
    assert elsewhere in older
    assert f"A launch would first retrain 3 finished cells ({change}" in older
    assert elsewhere in doctor
    assert change in trusted
    here, pooled, doctor, _ = done.run(
        "plan grid.yaml --seeds 4",
        "compare grid.yaml --seeds 4 --format json",
        "doctor grid.yaml",
        "report grid.yaml --seeds 4",
    )
    assert "3 finished cells came from a different environment" in here
    pool = json.loads(pooled)["pool"]
    assert [part["environment"]["instruction_set"] for part in pool["parts"]] == ["AVX512", "AVX2"]
    assert [part["cells"] for part in pool["parts"]] == [9, 3]
    assert pool["changed"] == []
    assert "9 finished cells came" not in doctor
    page = (done.folder / "runs" / "reports" / "grid" / "index.html").read_text()
    assert "instruction set AVX512 → AVX2" in page
