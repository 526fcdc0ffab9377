"""The values that occur in an image, each once: what depends on a value alone is worked out per value, not per pixel.

A radiograph of millions of pixels holds some thousand values, so a window in double precision costs next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Levels:
    """An image as its values and their places; ``paint(values)`` is the image.

    Attributes:
        values: (L,) of the image's type: every value that occurs, once and ascending. Of an image whose type is wider
            than 16 bits its pixels instead, row by row.
        shape: (height, width) of the image.
    """

    values: npt.NDArray[Any]
    shape: tuple[int, ...]
    _steps: npt.NDArray[np.intp] | None = None
    """(height, width): how far each pixel is above the smallest value; None of a wider type."""

    @classmethod
    def of(cls, pixels: npt.NDArray[Any]) -> Levels:
        """The levels of an image of an integer type, at least one pixel large."""
        if pixels.dtype.itemsize > 2:
            return cls(pixels.ravel(), pixels.shape)
        low = pixels.min()
        steps = np.subtract(pixels, low, dtype=np.intp)
        occurring = np.flatnonzero(np.bincount(steps.ravel()))
        return cls((occurring + int(low)).astype(pixels.dtype), pixels.shape, steps)

    def paint(self, each: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The image with every value replaced by its entry in ``each`` (L,); of the type of ``each``."""
        if self._steps is None:
            return each.reshape(self.shape)
        occurring = self.values.astype(np.intp)
        occurring -= occurring[0]
        table = np.zeros(int(occurring[-1]) + 1, dtype=each.dtype)
        table[occurring] = each
        return np.asarray(table.take(self._steps))
