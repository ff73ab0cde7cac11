"""Serve a deployed model: `python serve.py IMAGE…` says what becomes of images. Needs onnxruntime, numpy and pillow."""

import json
import sys
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession
from PIL import Image, ImageOps

session = InferenceSession(Path(__file__).with_name("model.onnx"), providers=["CPUExecutionProvider"])
about = {name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items()}
_, channels, size, _ = session.get_inputs()[0].shape


def pixels(path: str) -> np.ndarray:
    """An image of 8 bits per channel as the model takes it: shorter side scaled, centre cropped, uint8 (C, H, W)."""
    image = Image.open(path)
    image = (ImageOps.exif_transpose(image) if about["upright"] else image).convert("RGB" if channels == 3 else "L")
    width, height = (int(size * side / min(image.size)) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    square = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    return np.asarray(square).reshape(size, size, channels).transpose(2, 0, 1)


def answers(paths: list[str]) -> list[str]:
    """What becomes of each image; give `threshold` or `temperature` beside the images to change the defaults."""
    outputs = session.run(["decision", "probabilities"], {"images": np.stack([pixels(path) for path in paths])})
    decided, probable = map(np.asarray, outputs)
    names = ["" if number < 0 else about["classes"][number] for number in decided]
    said = [
        "accept" if name in about["good"] else "reject" if name or not about["review"] else "look" for name in names
    ]
    return [f"{what} {name} {p.max():.3f}" for what, name, p in zip(said, names, probable, strict=True)]


if __name__ == "__main__":
    print(*answers(sys.argv[1:]), sep="\n")
