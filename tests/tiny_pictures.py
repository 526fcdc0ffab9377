"""PNG files of noise, for tests."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def png(seed: int, size: tuple[int, int] = (40, 50)) -> bytes:
    """A gray picture."""
    pixels = np.random.default_rng(seed).integers(0, 255, size, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
