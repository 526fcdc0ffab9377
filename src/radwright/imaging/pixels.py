"""Encoded bytes -> square uint8 or uint16 pixels: the whole way to the network's tensor except the scaling to floats.

The steps, each once: limits, decode to gray, upright (EXIF), then one antialiased resize that fits the image into the
square and, where a dataset squashed it, restores its aspect; then padding.

Shape legend: S image side in pixels.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from radwright.errors import ImageError
from radwright.imaging.config import ImageConfig
from radwright.imaging.decode import Pixels, decode, probe

DRAFT_MARGIN = 2
"""A JPEG is decoded at no less than this multiple of the size it is resized to, so that the codec's coarse
down-scaling never shows."""


def image_pixels(
    data: bytes, config: ImageConfig, *, name: str, original_size: tuple[int, int] | None = None
) -> Pixels:
    """Turn one encoded image into the square that the network sees, before scaling to [0, 1].

    Args:
        data: encoded bytes of a PNG, JPEG or DICOM image.
        config: size, fit, padding, limits.
        name: what to call the image in an error message.
        original_size: (width, height) in pixels before a dataset squashed the image, where known.

    Returns:
        (S, S) uint8 for sources of 8 bits or fewer, uint16 for deeper ones (full range used in both).

    Raises:
        ImageError: the bytes are truncated, of an unknown type, too large, or hold several frames.
    """
    gray, fitted = decode_to_fit(data, config, name=name, original_size=original_size)
    return pad(resize(gray, fitted), config)


def decode_to_fit(
    data: bytes, config: ImageConfig, *, name: str, original_size: tuple[int, int] | None = None
) -> tuple[Pixels, tuple[int, int]]:
    """The steps of ``image_pixels`` before the resize, with its arguments and errors.

    Returns:
        Upright gray pixels, and the (width, height) that ``resize`` is to bring them to.
    """
    if len(data) > config.max_bytes:
        raise ImageError(f"{name}: has {len(data)} bytes, more than max_bytes = {config.max_bytes}")
    encoded = probe(data, name=name, max_pixels=config.max_pixels)
    side = config.size_px
    width, height = original_size or (encoded.width, encoded.height)
    if width <= 0 or height <= 0:
        raise ImageError(f"{name}: its original size {width} x {height} is no size of an image")
    fitted = fit(width, height, side) if config.keep_aspect else (side, side)
    return decode(encoded, at_least=(DRAFT_MARGIN * fitted[0], DRAFT_MARGIN * fitted[1])), fitted


def fit(width: int, height: int, side: int) -> tuple[int, int]:
    """The largest (width, height) of the same aspect, in whole pixels of at least 1, inside a square of ``side``."""
    if width >= height:
        return side, max(1, (2 * height * side + width) // (2 * width))
    return max(1, (2 * width * side + height) // (2 * height)), side


def resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Antialiased bilinear resize (a triangle filter as wide as the down-scaling) to (width, height); same type.

    Eight-bit pixels use Pillow's integer path. Deeper ones are resized as float32, which holds 16 bits exactly, and
    rounded.
    """
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    # Pillow makes the floats: an array of them would be copied into an image twice as slowly as it is resized.
    floats = Image.fromarray(pixels).convert("F").resize(size, Image.Resampling.BILINEAR)
    return np.asarray(np.rint(np.asarray(floats)).clip(0, 65535), dtype=np.uint16)


def pad(pixels: Pixels, config: ImageConfig) -> Pixels:
    """Centre fitted ``pixels`` in the square; the last step of ``image_pixels``."""
    height, width = pixels.shape
    side = config.size_px
    if (height, width) == (side, side):
        return pixels
    square: Pixels = np.full((side, side), round(config.padding * np.iinfo(pixels.dtype).max), dtype=pixels.dtype)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square
