"""One encoded image: opened, turned upright, brought to 8 bits per channel and to a square."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

Opener = Callable[[], "Image"]

LARGEST = 2**30
"""Pixels of the largest image that is decoded: 3 GB in colour. Pillow by itself refuses 179 million pixels."""

LARGE = 2**26
"""Pixels from which one image at a time is decoded, because of the memory that each takes."""

SIXTEEN_BITS = (0.0, 65535.0)

Levels = tuple[float, float]

_OPENING = threading.Lock()
_DECODING = threading.Lock()


class Reading(NamedTuple):
    """How the pixels of encoded images become bytes."""

    levels: Levels | None = None
    """The levels that become 0 and 255 if there are more than 8 bits per pixel; None keeps the upper 8 of 16 bits."""
    upright: bool = False
    """Whether images are turned as their EXIF data say."""


AS_STORED = Reading()
"""As torchvision reads images."""


def opened(content: bytes) -> Image:
    """An image of up to `LARGEST` pixels; it is decoded when its pixels are asked for.

    Raises:
        ValueError: It has more pixels, or no bytes.
        OSError: It is no image.
    """
    from PIL import Image

    if not content:
        raise ValueError("the file is empty")
    # Pillow's limit is a variable of its module: it is for files of strangers, and these are the user's own.
    with _OPENING:
        usual = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            image = Image.open(io.BytesIO(content))
        finally:
            Image.MAX_IMAGE_PIXELS = usual
    if pixels_of(image) > LARGEST:
        raise ValueError(f"it has {image.width} x {image.height} pixels, more than {LARGEST:,}: scale it down")
    return image


@contextmanager
def quietly() -> Generator[None]:
    """Without Pillow's warnings about metadata and palettes, which say nothing that a user could act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def pixels_of(image: Image) -> int:
    """How many pixels an image has."""
    return image.width * image.height


def decode(open_image: Opener, *, size: int, channels: int, reading: Reading = AS_STORED) -> NDArray[np.uint8]:
    """One image as bytes, uint8 (C, size, size).

    Args:
        open_image: Opens it.
        size: Side of the square in pixels.
        channels: 3 for colour, 1 for grey.
        reading: How its pixels become bytes.

    Raises:
        ValueError: The pixels have 32 bits per channel, and their range is unknown.
        OSError: It is damaged.
    """
    import numpy as np

    with open_image() as stored, _DECODING if pixels_of(stored) > LARGE else nullcontext():
        image = upright(stored) if reading.upright else stored
        if is_deep(image.mode):
            image = _in_8_bits(image, reading.levels)
        square = _square(image.convert("RGB" if channels == 3 else "L"), size)  # noqa: PLR2004  # three channels are RGB
    return np.ascontiguousarray(np.asarray(square).reshape(size, size, channels).transpose(2, 0, 1))


def is_deep(mode: str) -> bool:
    """Whether pixels of this Pillow mode have more than 8 bits per channel."""
    return mode in {"I", "F"} or mode.startswith("I;16")


def levels_of(image: Image) -> NDArray[np.float64]:
    """The levels of an image with more than 8 bits per channel, (H, W).

    Raises:
        ValueError: Some are no numbers.
    """
    import numpy as np

    levels = np.asarray(image).astype(np.float64)
    if not np.isfinite(levels).all():
        raise ValueError("some of its pixels are infinite or no numbers")
    return levels


def _in_8_bits(image: Image, levels: Levels | None) -> Image:
    import numpy as np
    from PIL import Image

    found = levels_of(image)
    if levels is None and (image.mode == "F" or not 0 <= found.min() <= found.max() <= SIXTEEN_BITS[1]):
        raise ValueError(
            f"32-bit pixels of mode {image.mode}; 8 or 16 bits are expected, or a stated range, as in range: [0, 1]"
        )
    low, high = levels or SIXTEEN_BITS
    # 256 steps of equal width: 16 bits keep their upper 8, as a shift would.
    steps = np.floor((found - low) / (high - low) * 256)
    return Image.fromarray(np.clip(steps, 0, 255).astype(np.uint8))


ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held; 1 is upright."""


def upright(image: Image) -> Image:
    """The image, turned and mirrored as its EXIF data say."""
    from PIL.Image import Transpose

    image.load()  # Pillow turns TIFF images by itself, and then takes the tag away
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def orientation(image: Image) -> int:
    """The orientation in the EXIF data, from 1 (upright) to 8; 1 where there is none, or damaged data."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001  # Pillow's parser can raise anything on damaged EXIF data
        return 1
    return found if isinstance(found, int) else 1


def complaint(error: Exception) -> str:
    """What is wrong with an image that cannot be decoded, in a few words."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # Pillow's own text names an address in memory
        return "it is not an image, or of an unknown kind"
    return " ".join(str(error).split()) or type(error).__name__


def _square(image: Image, size: int) -> Image:
    """Scale the shorter side to `size` and crop the centre, as torchvision's `Resize` and `CenterCrop`."""
    from PIL.Image import Resampling

    shorter = min(image.size)
    width, height = (int(size * side / shorter) for side in image.size)
    left = round((width - size) / 2)
    top = round((height - size) / 2)
    if width * height > LARGEST:
        raise ValueError(f"it has {image.width} x {image.height} pixels, of which a square is no part: crop it")
    scaled = image.resize((width, height), Resampling.BILINEAR)
    return scaled.crop((left, top, left + size, top + size))
