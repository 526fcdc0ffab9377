"""The values that occur in an image, each once: what depends on a value alone is worked out per value, not per pixel.

A radiograph of millions of pixels holds some thousand values, so a window in double precision costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_PART = 2**17
"""Pixels that are worked on at once: what is made of them on the way stays in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Levels:
    """An image and its values; ``paint(values)`` is the image.

    Attributes:
        values: (L,) of the image's type: every value that occurs, once and ascending. Of an image whose type is wider
            than 16 bits its pixels instead, row by row.
        pixels: (height, width), the image.
    """

    values: npt.NDArray[Any]
    pixels: npt.NDArray[Any]

    @classmethod
    def of(cls, pixels: npt.NDArray[Any]) -> Levels:
        """The levels of an image of an integer type, at least one pixel large."""
        if pixels.dtype.itemsize > 2:
            return cls(pixels.ravel(), pixels)
        low, high = int(pixels.min()), int(pixels.max())
        counts = np.zeros(high - low + 1, dtype=np.intp)
        for rows in _parts(pixels):
            counts += np.bincount(np.subtract(pixels[rows], low, dtype=np.intp).ravel(), minlength=counts.size)
        return cls((np.flatnonzero(counts) + low).astype(pixels.dtype), pixels)

    def paint(self, each: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The image with every value replaced by its entry in ``each`` (L,); of the type of ``each``."""
        if self.pixels.dtype.itemsize > 2:
            return each.reshape(self.pixels.shape)
        low, high = int(self.values[0]), int(self.values[-1])
        table = np.zeros(high - low + 1, dtype=each.dtype)
        table[np.subtract(self.values, low, dtype=np.intp)] = each
        painted = np.empty(self.pixels.shape, dtype=each.dtype)
        for rows in _parts(self.pixels):
            # "clip" changes nothing, every place is in the table; "raise" would copy the part once more.
            table.take(np.subtract(self.pixels[rows], low, dtype=np.intp), out=painted[rows], mode="clip")
        return painted


def _parts(pixels: npt.NDArray[Any]) -> Iterator[slice]:
    num_rows = max(1, _PART // pixels.shape[1])
    return (slice(start, start + num_rows) for start in range(0, len(pixels), num_rows))
