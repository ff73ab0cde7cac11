"""The features of many images, written to a file that a later process can go on with.

Each batch is computed by one thread, and has the same images whenever it is computed. So the features do not depend on
the number of threads, nor on where an earlier process was killed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainers.weights import Preprocessing

BATCH = 64
"""Images per forward pass. Another number would round differently."""

AHEAD = 8
"""Batches per thread after which features are on the disk for good."""


@dataclass
class Report:
    """Says how far an extraction is, on the standard error: often on a terminal, rarely in a log."""

    what: str
    total: int
    done: int = 0
    fresh: int = 0
    started: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)

    def add(self, images: int, *, is_fresh: bool = True) -> None:
        """Count images, computed now or by an earlier process."""
        self.done += images
        self.fresh += images if is_fresh else 0
        now = time.monotonic()
        if is_fresh and (self.done == self.total or now - self.said > (2 if sys.stderr.isatty() else 15)):
            self.said = now
            sys.stderr.write(f"{self.sentence(now - self.started)}\n")
            sys.stderr.flush()

    def sentence(self, seconds: float) -> str:
        """How far it is after so many seconds."""
        rate = self.fresh / max(seconds, 1e-9)
        start = f"Features of {self.what}: {self.done:,} of {self.total:,} images, {rate:,.0f} per second"
        return (
            f"{start}, done." if self.done == self.total else f"{start}, {(self.total - self.done) / rate:,.0f} s left."
        )


@dataclass(frozen=True, eq=False)
class Extraction:
    """A network in evaluation mode, and how images are prepared for it."""

    network: nn.Module
    width: int
    size: int
    preprocessing: Preprocessing

    def write(self, pixels: NDArray[np.uint8], path: Path, report: Report) -> None:
        """Write the features of images as an .npy file, float32 (n, width); go on where an earlier process stopped.

        Args:
            pixels: Images, uint8 (n, C, H, W).
            path: The file. What is not complete is in a file beside it, `.STEM.resume` without its last ending.
            report: Says how far it is.
        """
        beside = path.with_name(f".{path.name.partition('.')[0]}.resume")
        with beside.open("r+b" if beside.exists() else "w+b") as file:
            done = self._resume(file, len(pixels))
            report.add(done, is_fresh=False)
            for features in self._features(pixels, done):
                file.write(b"".join(each.astype("<f4").tobytes() for each in features))
                file.flush()
                os.fsync(file.fileno())
                report.add(sum(map(len, features)))
        beside.replace(path)

    def _resume(self, file: Any, images: int) -> int:
        """Put the file behind its last whole batch; return how many images it has."""
        row = 4 * self.width
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (images, self.width)}
        )
        start = file.tell()
        whole = max(0, file.seek(0, os.SEEK_END) - start) // row
        done = images if whole >= images else whole // BATCH * BATCH
        file.truncate(start + done * row)
        file.seek(start + done * row)
        return done

    def _features(self, pixels: NDArray[np.uint8], start: int) -> Iterator[Sequence[NDArray[np.float32]]]:
        threads = torch.get_num_threads()
        chunk = BATCH * AHEAD * threads
        try:
            with ThreadPoolExecutor(threads, initializer=partial(torch.set_num_threads, 1)) as pool:
                for first in range(start, len(pixels), chunk):
                    parts = [pixels[at : at + BATCH] for at in range(first, min(first + chunk, len(pixels)), BATCH)]
                    yield list(pool.map(self.features, parts))
        finally:
            torch.set_num_threads(threads)

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The features (m, width) of images, uint8 (m, C, H, W)."""
        with torch.inference_mode():
            images = prepared(torch.from_numpy(np.array(pixels)), self.size, self.preprocessing)
            return self.network(images).float().numpy()


def prepared(pixels: Tensor, size: int, preprocessing: Preprocessing) -> Tensor:
    """Images as weights expect them: in colour, `size` pixels high and wide, normalised.

    Args:
        pixels: uint8 (m, C, H, W), grey or in colour.
        size: The shorter side is scaled to it, and the longer one is cropped at its centre.
        preprocessing: That of the weights.

    Returns:
        float32 (m, 3, size, size).
    """
    images = pixels.float().expand(-1, 3, -1, -1)
    height, width = images.shape[2:]
    if (height, width) != (size, size):
        scale = size / min(height, width)
        sides = (max(size, round(height * scale)), max(size, round(width * scale)))
        resize: Callable[..., Tensor] = interpolate
        images = resize(images, sides, mode=preprocessing.interpolation, antialias=True, align_corners=False)
        top, left = ((side - size) // 2 for side in sides)
        images = images[:, :, top : top + size, left : left + size].clamp(0, 255)
    mean, deviation = (
        255 * torch.tensor(each)[None, :, None, None] for each in (preprocessing.mean, preprocessing.deviation)
    )
    return (images - mean) / deviation
