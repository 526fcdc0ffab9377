"""Values worked out once each give the image that working them out per pixel gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from radwright.imaging.levels import Levels


def image(kind: Any) -> Any:
    limits = np.iinfo(kind)
    pixels = np.random.default_rng(0).integers(limits.min, limits.max, (37, 23), dtype=kind, endpoint=True)
    pixels[0, :2] = limits.min, limits.max
    return pixels


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16, ">u2", ">i2", np.uint32, np.int32])
def test_a_function_of_values_is_that_of_pixels(kind: Any) -> None:
    pixels = image(np.dtype(kind).newbyteorder("=")).astype(kind)
    levels = Levels.of(pixels)
    assert levels.values.dtype == pixels.dtype
    assert np.array_equal(levels.paint(levels.values), pixels)
    painted = levels.paint(np.sin(levels.values.astype(np.float64)))
    assert painted.dtype == np.float64
    assert np.array_equal(painted, np.sin(pixels.astype(np.float64)))
    assert (levels.values.min(), levels.values.max()) == (pixels.min(), pixels.max())


@pytest.mark.parametrize("kind", [np.uint8, np.int16])
def test_every_value_that_occurs_is_there_once(kind: Any) -> None:
    pixels = image(kind) // 7 * 7
    assert np.array_equal(Levels.of(pixels).values, np.unique(pixels))
    assert Levels.of(np.full((3, 4), 5, kind)).values.tolist() == [5]
