"""Soft shapes as thickness maps in a patient's coordinates: the pieces that anatomy, findings and devices are built of.

Coordinates run from -1 to 1 over the image, x to the right, y downwards; S is the image side in pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
"""float32 everywhere (tested): float64 would halve the speed."""
Box = tuple[slice, slice]
Point = tuple[float, float]

_STROKE_POINTS = 96


@dataclass(frozen=True, eq=False, slots=True)
class Grid:
    """Pixel centres of an S x S image.

    Attributes:
        size_px: S.
        x_S: float32, x of each column.
        y_S1: float32, y of each row as a column.
    """

    size_px: int
    x_S: Array
    y_S1: Array

    def index(self, coordinate: float) -> int:
        """The pixel that holds ``coordinate``, cut to [0, S]."""
        return min(max(int((coordinate + 1) / 2 * self.size_px), 0), self.size_px)

    def box(self, left: float, top: float, right: float, bottom: float) -> Box:
        """The smallest box of pixels that holds a rectangle, with one pixel around it, cut to the image."""
        size = self.size_px
        return (
            slice(max(self.index(top) - 1, 0), min(self.index(bottom) + 2, size)),
            slice(max(self.index(left) - 1, 0), min(self.index(right) + 2, size)),
        )


@functools.lru_cache(maxsize=8)
def grid(size_px: int) -> Grid:
    """The grid of an image side (cached; its arrays are read-only)."""
    centres = ((np.arange(size_px) + 0.5) * (2 / size_px) - 1).astype(np.float32)
    centres.flags.writeable = False
    return Grid(size_px, centres, centres[:, None])


def ramp(distance: Array, softness: float) -> Array:
    """0 at ``-softness/2``, 1 at ``softness/2``, linear between; the array is overwritten."""
    distance *= np.float32(1 / softness)
    distance += np.float32(0.5)
    return distance.clip(0, 1, out=distance)


def ellipsoid(x: Array, y: Array, centre: Point, radii: Point, angle: float = 0.0) -> Array:
    """Thickness in [0, 1] of an ellipsoid seen along a ray: sqrt(1 - r^2) inside, 0 outside. ``angle`` in radians."""
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    if angle:
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        dx, dy = cos * dx + sin * dy, cos * dy - sin * dx
    depth = np.square(dx * np.float32(1 / radii[0]))
    depth = depth + np.square(dy * np.float32(1 / radii[1]))
    return _chord(depth)


def rod(distance: Array, radius: float) -> Array:
    """Thickness in [0, 1] of a round rod at a signed distance from its axis; the array is overwritten."""
    distance *= np.float32(1 / radius)
    np.square(distance, out=distance)
    return _chord(distance)


def _chord(square: Array) -> Array:
    """sqrt(1 - r^2) inside, 0 outside, from r^2; the array is overwritten."""
    np.subtract(1, square, out=square)
    square.clip(0, 1, out=square)
    return np.sqrt(square, out=square)


def shell(phase: Array, radius: float) -> Array:
    """Thickness of bone in [0, 1] across a rib, a rod with a dense rim; ``phase`` is the distance from its axis."""
    solid = phase * np.float32(1 / radius)
    np.square(solid, out=solid)
    np.subtract(1, solid, out=solid)
    solid.clip(0, 1, out=solid)
    rim = np.float32(1.25) - np.float32(0.6) * solid
    np.sqrt(solid, out=solid)
    solid *= rim
    return solid


def blur(image: Array, amount: float) -> Array:
    """Blur with the kernel [a, 1 - 2a, a] along both axes, ``amount`` a in [0, 1/3]; the last two axes are the image's.

    Its footprint is one pixel to each side; edges repeat.
    """
    a, b = np.float32(amount), np.float32(1 - 2 * amount)
    wide = image * b
    wide[..., 1:-1] += a * (image[..., 2:] + image[..., :-2])
    wide[..., 0] += a * (image[..., 0] + image[..., 1])
    wide[..., -1] += a * (image[..., -1] + image[..., -2])
    result = wide * b
    result[..., 1:-1, :] += a * (wide[..., 2:, :] + wide[..., :-2, :])
    result[..., 0, :] += a * (wide[..., 0, :] + wide[..., 1, :])
    result[..., -1, :] += a * (wide[..., -1, :] + wide[..., -2, :])
    return result


@functools.lru_cache(maxsize=16)
def _bernstein(num_points: int) -> Array:
    """(96, n) basis of Bezier curves with n control points."""
    t = np.linspace(0, 1, _STROKE_POINTS)
    basis = np.ones((_STROKE_POINTS, 1))
    for _ in range(num_points - 1):
        basis = np.pad(basis * (1 - t)[:, None], ((0, 0), (0, 1))) + np.pad(basis * t[:, None], ((0, 0), (1, 0)))
    return basis.astype(np.float32)


def bezier(control: Sequence[Point]) -> Array:
    """(96, 2) points of the Bezier curve with these control points."""
    return _bernstein(len(control)) @ np.array(control, np.float32)


def polyline(corners: Sequence[Point]) -> Array:
    """(96, 2) points spread evenly along straight segments."""
    points = np.array(corners, np.float64)
    steps = np.hypot(*(points[1:] - points[:-1]).T)
    along = np.concatenate([[0], np.cumsum(steps)])
    at = np.linspace(0, along[-1], _STROKE_POINTS)
    return np.stack([np.interp(at, along, points[:, 0]), np.interp(at, along, points[:, 1])], 1).astype(np.float32)


def stroke(size_px: int, lines: Array, width: float, weights: Array | None = None) -> tuple[Box, Array] | None:
    """Thin lines as a thickness map: about 1 on the axis where a line is a pixel wide or wider, less where thinner.

    Args:
        size_px: image side.
        lines: (K, N, 2) points along K lines in coordinates.
        width: of each line, in coordinates (2 is the image's width).
        weights: (N - 1,) strength of each piece of a line; 1 where left out.

    Returns:
        The box of pixels that they touch and the map in it, or None when they lie outside the image. The ink is spread
        over the four nearest pixels, so a line's total does not depend on where it falls between pixels.
    """
    scale = size_px / 2
    places = (lines + 1) * np.float32(scale) - np.float32(0.5)
    step: Array = (places[:, 1:] - places[:, :-1]).reshape(-1, 2)
    middle: Array = ((places[:, 1:] + places[:, :-1]) * np.float32(0.5)).reshape(-1, 2)
    length: Array = np.sqrt(step[:, 0] ** 2 + step[:, 1] ** 2)
    ink: Array = length * np.float32(min(width * scale, 1.0))
    if weights is not None:
        ink = ink * np.tile(weights, len(lines))
    pieces, lanes = max(1, ceil(float(length.max()) / 0.7)), ceil(width * scale)
    if pieces > 1:
        offsets = ((np.arange(pieces) + 0.5) / pieces - 0.5).astype(np.float32)
        middle = (middle[:, None] + step[:, None] * offsets[None, :, None]).reshape(-1, 2)
        step, ink, length = np.repeat(step, pieces, axis=0), np.repeat(ink / pieces, pieces), np.repeat(length, pieces)
    if lanes > 1:
        normal = np.stack([-step[:, 1], step[:, 0]], 1) / np.maximum(length, np.float32(1e-6))[:, None]
        across = (np.linspace(-0.5, 0.5, lanes) * (width * scale - 1)).astype(np.float32)
        middle = (middle[:, None] + normal[:, None] * across[None, :, None]).reshape(-1, 2)
        ink = np.repeat(ink, lanes)
    return _splat(size_px, middle, ink)


def _splat(size_px: int, places: Array, ink: Array) -> tuple[Box, Array] | None:
    """Spread ink (M,) at places (M, 2) in pixels over the four nearest pixels of each."""
    low = np.floor(places).astype(np.int64)
    inside = ((low >= 0) & (low < size_px - 1)).all(1)
    if not inside.all():
        places, low, ink = places[inside], low[inside], ink[inside]
    if not len(low):
        return None
    (x0, y0), (x1, y1) = low.min(0), low.max(0) + 2
    wide, high = int(x1 - x0), int(y1 - y0)
    part = (places - low).astype(np.float32)
    right, below = part[:, 0] * ink, part[:, 1]
    left = ink - right
    at = (low[:, 1] - y0) * wide + (low[:, 0] - x0)
    where = np.concatenate([at, at + 1, at + wide, at + wide + 1])
    amount = np.concatenate([left * (1 - below), right * (1 - below), left * below, right * below])
    drawn = np.bincount(where, amount, high * wide).astype(np.float32).reshape(high, wide)
    return (slice(int(y0), int(y1)), slice(int(x0), int(x1))), drawn


@functools.lru_cache(maxsize=1024)
def _spread(size_px: int, cells: int) -> Array:
    """(S, cells) matrix that stretches values to a side of S pixels with a smooth (cubic B-spline) kernel."""
    at = (np.arange(size_px) + 0.5) / size_px * (cells - 3) + 1
    t = np.abs(at[:, None] - np.arange(cells)[None])
    kernel = np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.where(t < 2, (2 - t) ** 3 / 6, 0))
    return kernel.astype(np.float32)


def cloud(cells: Array, size_px: tuple[int, int]) -> Array:
    """A smooth random texture: coarse values (R, C), each at least 4, stretched to ``size_px`` (height, width)."""
    texture: Array = _spread(size_px[0], cells.shape[0]) @ cells @ _spread(size_px[1], cells.shape[1]).T
    return texture
