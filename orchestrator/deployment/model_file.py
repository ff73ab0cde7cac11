"""The deployed file at work. The only door to onnxruntime; it needs no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import RequestError

BATCH = 256
"""Images per pass."""

_SILENT = 3
"""Errors only: that the threshold can be given, and so is no constant, is meant."""


class ModelFile:
    """An ONNX file that `deploy` wrote.

    Raises:
        RequestError: There is no such file, it cannot be run, or it is not the one of the certificate.
    """

    def __init__(self, path: Path, sha256: str | None = None) -> None:
        from onnxruntime import (
            InferenceSession,
            SessionOptions,  # pyright: ignore[reportAttributeAccessIssue]  # it is defined in C++
        )

        try:
            content = path.read_bytes()
        except OSError as error:
            raise RequestError(f"{path} cannot be read ({error.strerror}).") from None
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise RequestError(f"{path} is not the file that its certificate is about: it was changed. Deploy again.")
        options = SessionOptions()
        options.log_severity_level = _SILENT
        try:
            self._session = InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise RequestError(f"{path} cannot be run by onnxruntime: {str(error).partition(chr(10))[0]}") from error

    def scores(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The scores (n, K) of images, uint8 (n, C, H, W), at the default temperature."""
        try:
            parts = [
                self._session.run(["scores"], {"images": np.ascontiguousarray(images[start : start + BATCH])})[0]
                for start in range(0, len(images), BATCH)
            ]
        except Exception as error:  # onnxruntime has its own, without a common class
            why = str(error).partition("\n")[0]
            raise RequestError(f"The model cannot be run on these images: {why}") from error
        return np.concatenate([np.asarray(part, np.float32) for part in parts])

    def run(self, images: NDArray[np.uint8], **settings: float) -> dict[str, NDArray[np.float32]]:
        """All outputs by name; `threshold` and `temperature` take the place of the defaults."""
        given = {name: np.array([value], np.float32) for name, value in settings.items()}
        outputs = [output.name for output in self._session.get_outputs()]
        found = self._session.run(outputs, {"images": images, **given})
        return dict(zip(outputs, map(np.asarray, found), strict=True))
