"""Draw the parts of `experiments/inspection.yaml`: metal parts seen from above, some with a defect.

    python experiments/draw_parts.py data/parts

writes `train.parquet` and `test.parquet` as Hugging Face's `datasets` would. Six kinds of parts are good; a part of any
kind may have a scratch, a dent or a stain. Light comes from the left, bright, or from the right, dim. The same seed
draws the same images on every machine.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

GOOD: tuple[str, ...] = ("disc", "plate", "ring", "nut", "bolt", "bracket")
DEFECTS: tuple[str, ...] = ("scratch", "dent", "stain")
CLASSES = (*GOOD, *DEFECTS)
SIZE = 32

Floats = NDArray[np.float64]


def draw(rng: np.random.Generator, name: str, light: str | None = None) -> NDArray[np.uint8]:
    """One image (32, 32) of a good part of this kind, or of a part of any kind with this defect.

    Args:
        rng: Draws place, size, angle, light and noise.
        name: One of `CLASSES`.
        light: `left` or `right`; by default either.
    """
    kind = name if name in GOOD else rng.choice(GOOD)
    x, y = _axes(rng)
    body = _inside(kind, x, y)
    brightness = np.where(body, 0.62, 0.25)
    if name not in GOOD:
        brightness = _spoilt(rng, name, brightness, body, (x, y))
    light = light or str(rng.choice(["left", "right"]))
    side = np.linspace(-1, 1, SIZE)[None, :] * (-1 if light == "left" else 1)
    brightness = brightness * (1.1 + 0.15 * side if light == "left" else 0.75 + 0.15 * side)
    brightness = brightness + rng.normal(0, 0.03, (SIZE, SIZE))
    return np.clip(255 * brightness, 0, 255).astype(np.uint8)


def _axes(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Coordinates of the pixels in the frame of a part that is moved, turned and scaled."""
    grid = (np.arange(SIZE) - SIZE / 2 + 0.5) / (SIZE / 2)
    across, down = np.meshgrid(grid, grid)
    across = across - rng.uniform(-0.1, 0.1)
    down = down - rng.uniform(-0.1, 0.1)
    angle = rng.uniform(0, 2 * np.pi)
    scale = rng.uniform(0.9, 1.1)
    x = (np.cos(angle) * across + np.sin(angle) * down) / scale
    y = (np.cos(angle) * down - np.sin(angle) * across) / scale
    return x, y


def _inside(kind: str, x: Floats, y: Floats) -> NDArray[np.bool_]:
    """Which pixels show the part."""
    radius = np.hypot(x, y)
    match kind:
        case "disc":
            return radius < 0.65
        case "plate":
            return np.maximum(abs(x), abs(y)) < 0.55
        case "ring":
            return (radius < 0.7) & (radius > 0.3)
        case "nut":
            sides = np.max([abs(np.cos(turn) * x + np.sin(turn) * y) for turn in np.pi / 3 * np.arange(3)], axis=0)
            return (sides < 0.6) & (radius > 0.22)
        case "bolt":
            return ((abs(x) < 0.2) & (abs(y) < 0.8)) | ((abs(x) < 0.45) & (abs(y + 0.62) < 0.2))
        case _:
            return ((abs(x + 0.4) < 0.22) & (abs(y) < 0.65)) | ((abs(y - 0.43) < 0.22) & (abs(x) < 0.62))


def _spoilt(
    rng: np.random.Generator, defect: str, brightness: Floats, body: NDArray[np.bool_], axes: tuple[Floats, Floats]
) -> Floats:
    """The brightness of the part with a defect at a place on it, not at its edge."""
    within = body & np.roll(body, 1, 0) & np.roll(body, -1, 0) & np.roll(body, 1, 1) & np.roll(body, -1, 1)
    rows, columns = np.nonzero(within)
    place = rng.integers(rows.size)
    x, y = axes
    dx = x - x[rows[place], columns[place]]
    dy = y - y[rows[place], columns[place]]
    match defect:
        case "scratch":
            angle = rng.uniform(0, np.pi)
            along = np.cos(angle) * dx + np.sin(angle) * dy
            beside = np.cos(angle) * dy - np.sin(angle) * dx
            mark = (abs(along) < rng.uniform(0.3, 0.45)) & (abs(beside) < 0.06)
            return brightness + 0.42 * mark
        case "dent":
            depth = np.exp(-((dx**2 + dy**2) / (2 * 0.12**2)))
            return brightness - rng.uniform(0.4, 0.5) * depth
        case _:
            return np.where(body & (np.hypot(dx, dy) < rng.uniform(0.25, 0.35)), brightness - 0.2, brightness)


def table(rng: np.random.Generator, counts: Mapping[str, int], light: str | None = None) -> pa.Table:
    """So many images of each class, in random order, with labels and class names."""
    names = rng.permutation([name for name, count in counts.items() for _ in range(count)])
    images = list[dict[str, bytes | str]]()
    for number, name in enumerate(names):
        file = io.BytesIO()
        Image.fromarray(draw(rng, str(name), light)).save(file, "png")
        images.append({"bytes": file.getvalue(), "path": f"{number:06}.png"})
    labels = [CLASSES.index(name) for name in names]
    feature = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    schema = pa.schema(
        [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": feature}})},
    )
    return pa.table({"image": images, "label": labels}, schema)


def main() -> None:
    """Write both splits into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(given.seed)
    train: dict[str, int] = dict.fromkeys(GOOD, 600) | dict.fromkeys(DEFECTS, 1200)
    test: dict[str, int] = dict.fromkeys(GOOD, 700) | dict.fromkeys(DEFECTS, 1400)
    for split, counts in (("train", train), ("test", test)):
        pq.write_table(table(rng, counts), given.folder / f"{split}.parquet")
        print(f"{split}: {sum(counts.values()):,} images")


if __name__ == "__main__":
    main()
