"""Encoded images to try things on."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def picture() -> npt.NDArray[np.uint8]:
    """A smooth gray picture, 300 high and 200 wide, bright at its lower right, with a dark block at its upper left."""
    y, x = np.mgrid[0:300, 0:200]
    values = (x + y) / 498 * 255
    values[20:80, 10:60] = 0
    return values.astype(np.uint8)


@pytest.fixture(scope="session")
def encode() -> Encode:
    def encoded(pixels: npt.NDArray[Any] | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
        stream = io.BytesIO()
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        image.save(stream, kind, **options)
        return stream.getvalue()

    return encoded
