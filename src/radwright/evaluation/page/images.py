"""Radiographs as small data: URIs; only the pixels go in."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from radwright.errors import ImageError
from radwright.evaluation.page.content import PageView
from radwright.imaging.config import ImageConfig
from radwright.imaging.decode import Pixels, decode, probe
from radwright.imaging.pixels import DRAFT_MARGIN, fit, resize

MAX_SIDE_PX = 256
"""Longer sides are scaled down to this: three hundred studies stay below 25 MB."""
LOSSLESS_SIDE_PX = 160
"""Up to this side an image is a PNG, above it a JPEG."""
_JPEG_QUALITY = 85


def data_uri(view: PageView, *, max_side_px: int = MAX_SIDE_PX) -> tuple[str, int, int]:
    """The view as a gray 8-bit image: (URI, width, height in pixels).

    Raises:
        ImageError: it cannot be decoded.
    """
    image = Image.fromarray(_gray(view, max_side_px))
    stream = io.BytesIO()
    if max(image.size) <= LOSSLESS_SIDE_PX:
        image.save(stream, "PNG", compress_level=6)
        kind = "png"
    else:
        image.save(stream, "JPEG", quality=_JPEG_QUALITY)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}", image.width, image.height


def _gray(view: PageView, max_side_px: int) -> Pixels:
    """uint8 pixels (height, width) of the size to show."""
    if isinstance(view.image, Image.Image):
        pixels: Pixels = np.asarray(view.image.convert("L"))
        width, height = _shown_size(view, view.image.width, view.image.height, max_side_px)
    else:
        encoded = probe(view.image, name=view.position, max_pixels=ImageConfig().max_pixels)
        width, height = _shown_size(view, encoded.width, encoded.height, max_side_px)
        pixels = decode(encoded, at_least=(DRAFT_MARGIN * width, DRAFT_MARGIN * height))
    pixels = resize(pixels, (width, height))
    return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)


def _shown_size(view: PageView, width: int, height: int, max_side_px: int) -> tuple[int, int]:
    side = min(max(width, height), max_side_px)
    width, height = view.original_size or (width, height)
    if width <= 0 or height <= 0:
        raise ImageError(f"{view.position}: its size {width} x {height} is no size of an image")
    return fit(width, height, side)
