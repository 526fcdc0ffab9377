"""One view of one patient: its pixels in the patient's coordinates, and its healthy chest as an attenuation map."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, hypot, sin

import numpy as np

from radwright.data.phantom.shapes import Array, Box, Grid, Point, ellipsoid, grid


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """Pixels and patient coordinates: image x = zoom u + shift + tilt v, image y = zoom v + drop.

    Attributes:
        grid: the pixels.
        u_SS: u of every pixel.
        v_S1: v of every row.
        zoom, shift, drop, tilt: of the equations above.
    """

    grid: Grid
    u_SS: Array
    v_S1: Array
    zoom: float
    shift: float
    drop: float
    tilt: float

    def to_image(self, points: Array) -> Array:
        """(..., 2) patient coordinates as image coordinates."""
        turn = np.array([[self.zoom, 0], [self.tilt, self.zoom]], np.float32)
        placed: Array = points @ turn + np.array([self.shift, self.drop], np.float32)
        return placed

    def box(self, left: float, top: float, right: float, bottom: float) -> Box:
        """The pixels of a rectangle in patient coordinates."""
        lean = sorted((self.tilt * top, self.tilt * bottom))
        return self.grid.box(
            self.zoom * left + self.shift + lean[0],
            self.zoom * top + self.drop,
            self.zoom * right + self.shift + lean[1],
            self.zoom * bottom + self.drop,
        )

    def ellipsoid(self, centre: Point, radii: Point, angle: float = 0.0) -> tuple[Box, Array]:
        """An ellipsoid's box of pixels and its thickness in [0, 1] there; ``angle`` in radians."""
        wide = hypot(radii[0] * cos(angle), radii[1] * sin(angle))
        high = hypot(radii[0] * sin(angle), radii[1] * cos(angle))
        box = self.box(centre[0] - wide, centre[1] - high, centre[0] + wide, centre[1] + high)
        return box, ellipsoid(self.u_SS[box], self.v_S1[box[0]], centre, radii, angle)


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """A healthy chest in one view. L is the line integral of attenuation, tube to detector: shapes add up, air is 0.

    Attributes:
        frame: pixels and coordinates.
        healthy_SS: L of the healthy chest.
        lung_SS: thickness of lung in [0, 1]; tissue in its place attenuates by ``LUNG`` times that.
        vessels_SS: L of the lung's vessels, already part of ``healthy_SS``.
    """

    frame: Frame
    healthy_SS: Array
    lung_SS: Array
    vessels_SS: Array


def make_frame(size_px: int, *, zoom: float, shift: float, drop: float, tilt: float) -> Frame:
    """The frame of an S x S image with these coefficients."""
    pixels = grid(size_px)
    v_S1 = (pixels.y_S1 - np.float32(drop)) * np.float32(1 / zoom)
    u_SS = (pixels.x_S - (np.float32(tilt) * v_S1 + np.float32(shift))) * np.float32(1 / zoom)
    return Frame(pixels, u_SS, v_S1, zoom, shift, drop, tilt)
