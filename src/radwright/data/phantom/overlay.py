"""What an element adds to the healthy chest, and its exact footprint.

An element is blurred by the detector before it is added, and what is too faint to see is cut off: its mask is exactly
where its map is not zero, and since everything after the sum is done pixel by pixel, no other pixel can change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from radwright.data.phantom.anatomy import Anatomy
from radwright.data.phantom.frame import View
from radwright.data.phantom.shapes import Array, Box, blur, stroke

ViewName = Literal["frontal", "lateral"]
VIEW_NAMES: tuple[ViewName, ...] = ("frontal", "lateral")
FAINTEST = 0.015
"""Changes of L below this are dropped: a fraction of the noise of the brightest pixel."""


@dataclass(frozen=True, slots=True)
class Chest:
    """A patient's two healthy views."""

    anatomy: Anatomy
    frontal: View
    lateral: View


class Overlay:
    """Collects the maps that one element adds to both views."""

    def __init__(self, chest: Chest) -> None:
        self._views = {"frontal": chest.frontal, "lateral": chest.lateral}
        self._parts: dict[ViewName, list[tuple[Box, Array]]] = {"frontal": [], "lateral": []}

    def add(self, view: ViewName, box: Box, attenuation: Array) -> None:
        """Add L in a box of pixels."""
        if attenuation.size:
            self._parts[view].append((box, attenuation))

    def lines(self, view: ViewName, points: Sequence[Array], width: float, attenuation: float) -> None:
        """Add thin lines, each (96, 2) points; points and ``width`` in patient coordinates."""
        where = self._views[view].frame
        drawn = stroke(where.grid.size_px, where.to_image(np.stack(points)), width * where.zoom)
        if drawn is not None:
            self.add(view, drawn[0], drawn[1] * np.float32(attenuation))

    def apply(self, total_VSS: Array, blur_amount: float) -> npt.NDArray[np.bool_]:
        """Add the blurred maps to ``total_VSS`` (frontal, lateral) in place; returns the mask (2, S, S)."""
        mask_VSS = np.zeros(total_VSS.shape, np.bool_)
        size = total_VSS.shape[-1]
        for number, view in enumerate(VIEW_NAMES):
            parts = self._parts[view]
            if not parts:
                continue
            top = max(min(box[0].start for box, _ in parts) - 1, 0)
            left = max(min(box[1].start for box, _ in parts) - 1, 0)
            bottom = min(max(box[0].stop for box, _ in parts) + 1, size)
            right = min(max(box[1].stop for box, _ in parts) + 1, size)
            layer = np.zeros((bottom - top, right - left), np.float32)
            for (rows, columns), attenuation in parts:
                layer[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] += attenuation
            layer = blur(layer, blur_amount)
            seen = np.abs(layer) > np.float32(FAINTEST)
            layer *= seen
            total_VSS[number, top:bottom, left:right] += layer
            mask_VSS[number, top:bottom, left:right] = seen
        return mask_VSS
