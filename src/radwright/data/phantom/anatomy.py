"""What each patient has: measures, and the lines that anatomy, findings and devices hold on to.

Patient coordinates (u across, v down) are the image's, from -1 to 1, after this patient's zoom, shift and tilt. In the
frontal view the patient's right is at the image's left; in the lateral view the patient faces the image's left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radwright.data.phantom.shapes import Array, ellipsoid
from radwright.data.phantom.streams import Stream

LUNG, HEART, BONE, VESSEL = 1.75, 1.25, 0.5, 0.42
"""Attenuation of one unit of: air missing where the lung is full of tissue, blood of the heart, bone, vessel."""
RIB_PITCH, FIRST_RIB = 0.128, -0.80
"""Distance between posterior ribs, and height of the first, at the spine."""
NUM_TREES, NUM_LATERAL_TREES = 24, 8
"""How many vessel trees patients pick from."""


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One patient's measures, in patient coordinates unless stated otherwise.

    Attributes:
        habitus: -1 slender ... 1 obese.
        female: whether there are breast shadows.
        zoom, shift_u, shift_v, tilt: of the frontal view; the lateral one has its own shift and tilt below.
        lateral_shift, lateral_tilt: of the lateral view.
        rotation: -1 ... 1 turned to the right or left; moves the middle against the cage.
        lung_width: lateral border of a lung at its widest.
        dome_right, dome_left: height of the diaphragm (larger is lower: a deeper breath).
        heart_ratio: width of the healthy heart over the width of the cage.
        rib_offset, rib_slope: of the ribs' lines.
        kyphosis: bend of the spine seen from the side.
        vessel_maps: which of the stored vessel trees (right, left, lateral).
        texture: (2, 6, 6) coarse unevenness of soft tissue per view, in L.
    """

    habitus: float
    female: bool
    zoom: float
    shift_u: float
    shift_v: float
    tilt: float
    lateral_shift: float
    lateral_tilt: float
    rotation: float
    lung_width: float
    dome_right: float
    dome_left: float
    heart_ratio: float
    rib_offset: float
    rib_slope: float
    kyphosis: float
    vessel_maps: tuple[int, int, int]
    texture: Array


def draw_anatomy(stream: Stream) -> Anatomy:
    """Draw a patient."""
    dome = stream.bell(0.43, 0.20)
    return Anatomy(
        habitus=stream.bell(0, 1),
        female=stream.unit() < 0.5,
        zoom=stream.bell(1.0, 0.14),
        shift_u=stream.bell(0, 0.09),
        shift_v=stream.bell(0, 0.07),
        tilt=stream.bell(0, 0.11),
        lateral_shift=stream.bell(0, 0.08),
        lateral_tilt=stream.bell(0, 0.08),
        rotation=stream.bell(0, 1),
        lung_width=stream.bell(0.77, 0.09),
        dome_right=dome,
        dome_left=dome + stream.bell(0.055, 0.05),
        heart_ratio=stream.bell(0.445, 0.05),
        rib_offset=stream.bell(0, 0.06),
        rib_slope=stream.bell(0.36, 0.16),
        kyphosis=stream.bell(0.16, 0.1),
        vessel_maps=(
            stream.between(0, NUM_TREES - 1),
            stream.between(0, NUM_TREES - 1),
            stream.between(0, NUM_LATERAL_TREES - 1),
        ),
        texture=stream.units(72).reshape(2, 6, 6) * np.float32(0.36) - np.float32(0.18),
    )


def heart_frontal(anatomy: Anatomy, u: Array, v: Array, growth: float = 1.0) -> Array:
    """Thickness of the heart from the front; ``growth`` widens it (1 is healthy)."""
    half = anatomy.heart_ratio * anatomy.lung_width * growth
    middle = 0.10 + 0.05 * anatomy.rotation
    base = (anatomy.dome_right + anatomy.dome_left) / 2
    left = ellipsoid(u, v, (middle + 0.16 * half, base - 0.16), (1.12 * half, 0.28 * growth**0.6), 0.45)
    right = ellipsoid(u, v, (middle - 0.50 * half, base - 0.19), (0.52 * half, 0.25 * growth**0.4))
    right *= np.float32(0.7)
    return np.maximum(left, right)


def heart_lateral(anatomy: Anatomy, u: Array, v: Array, growth: float = 1.0) -> Array:
    """Thickness of the heart from the side."""
    half = 0.62 * anatomy.heart_ratio * growth
    base = anatomy.dome_left
    return np.float32(0.85) * ellipsoid(
        u, v, (-0.40 + half * 0.75, base - 0.15), (0.90 * half, 0.35 * growth**0.6), 0.75
    )


def lung_borders(anatomy: Anatomy, v: Array) -> tuple[Array, Array]:
    """Medial and lateral border of a lung at each height, distances from the midline."""
    t = ((v + 0.82) * np.float32(1 / 1.42)).clip(0, 1)
    rise = np.sqrt(1 - np.square(np.square(1 - t)))
    lateral = np.float32(anatomy.lung_width) * (np.float32(0.30) + np.float32(0.70) * rise)
    medial = np.float32(0.07) + np.float32(0.17) * np.square((1 - t) * np.square(1 - t))
    return medial, lateral


def dome(a: Array) -> Array:
    """How far below its top a diaphragm is at a distance ``a`` >= 0 from the midline."""
    bulge = a - np.float32(0.36)
    depth = np.square(bulge)
    bulge += np.float32(0.55)
    depth *= bulge
    depth *= np.float32(1.1)
    return depth


def rib_line(anatomy: Anatomy, a: Array | float, number: int) -> Array | float:
    """Height of posterior rib ``number`` (1 ...) at a distance ``a`` from the midline."""
    return FIRST_RIB + anatomy.rib_offset + (number - 1) * RIB_PITCH + anatomy.rib_slope * (a - 0.16) ** 2


def spine_line(anatomy: Anatomy, v: Array | float) -> Array | float:
    """Where the spine runs in the lateral view."""
    return 0.50 + anatomy.kyphosis * (1 - ((v - 0.0) / 0.9) ** 2) - 0.04


def sternum_line(v: Array | float) -> Array | float:
    """Where the breastbone runs in the lateral view."""
    return -0.60 - 0.16 * (v + 0.3)


def lateral_dome(u: Array) -> Array:
    """How far below its top a diaphragm is in the lateral view: shallow in front, deep behind."""
    behind = u + np.float32(0.15)
    depth = np.square(behind)
    depth *= np.float32(0.55) + behind.clip(-0.5, 0.5) * np.float32(0.4)
    return depth
