"""The lateral view of a healthy chest as an attenuation map."""

from __future__ import annotations

import numpy as np

from radwright.data.phantom.anatomy import (
    HEART,
    LUNG,
    RIB_PITCH,
    VESSEL,
    Anatomy,
    heart_lateral,
    lateral_dome,
    spine_line,
    sternum_line,
)
from radwright.data.phantom.frame import Frame, View, make_frame
from radwright.data.phantom.shapes import Array, cloud, ramp, rod, shell
from radwright.data.phantom.vessels import lateral_trees

HEART_BOX = (-0.80, -0.50, 0.60, 0.85)
"""Left, top, right, bottom of what even a very large heart fills."""


def lateral_view(anatomy: Anatomy, size_px: int) -> View:
    """The lateral view of a healthy patient."""
    frame = make_frame(
        size_px, zoom=anatomy.zoom, shift=anatomy.lateral_shift, drop=anatomy.shift_v, tilt=anatomy.lateral_tilt
    )
    lung = _lung(anatomy, frame.u_SS, frame.v_S1)
    vessels = lateral_trees(size_px)[anatomy.vessel_maps[2]] * lung
    vessels *= np.float32(VESSEL)
    healthy = _body(anatomy, frame)
    healthy += cloud(anatomy.texture[1], (size_px, size_px))
    _add_bones(anatomy, frame, healthy)
    healthy -= np.float32(1.15 * LUNG) * lung
    healthy += vessels
    box = frame.box(*HEART_BOX)
    healthy[box] += np.float32(HEART) * heart_lateral(anatomy, frame.u_SS[box], frame.v_S1[box[0]])
    box, hilum = frame.ellipsoid((0.02, -0.04), (0.15, 0.17))
    healthy[box] += np.float32(0.4) * hilum * hilum
    box, arch = frame.ellipsoid((0.06, -0.33), (0.15, 0.10))
    healthy[box] += np.float32(0.35) * arch
    box = frame.box(-0.12, -1.2, 0.14, -0.08)
    u, v = frame.u_SS[box], frame.v_S1[box[0]]
    trachea = rod(u - np.float32(0.1) * (v + np.float32(0.8)), 0.05)
    healthy[box] -= np.float32(0.45) * trachea * ramp(np.float32(-0.13) - v, 0.05)
    return View(frame, healthy.clip(0, 20, out=healthy), lung, vessels)


def _lung(anatomy: Anatomy, u: Array, v: Array) -> Array:
    """Both lungs, one behind the other."""
    t = ((v + 0.80) * np.float32(1 / 0.55)).clip(0, 1)
    open_up = np.sqrt(1 - np.square(1 - t))
    front = np.float32(0.05) + (sternum_line(v) + np.float32(0.04) - np.float32(0.05)) * open_up
    back = np.float32(0.10) + (spine_line(anatomy, v) + np.float32(0.12) - np.float32(0.10)) * np.sqrt(open_up)
    half = (back - front) * np.float32(0.5)
    depth: Array = (u - (front + half)) * (1 / half.clip(0.02, 1))
    np.square(depth, out=depth)
    np.subtract(1, depth, out=depth)
    depth.clip(0, 1, out=depth)
    np.sqrt(depth, out=depth)
    np.sqrt(depth, out=depth)
    over = lateral_dome(u) - v
    both = ramp(over + np.float32(anatomy.dome_right), 0.06)
    over += np.float32(anatomy.dome_left)
    both += ramp(over, 0.06)
    depth *= both
    depth *= (np.float32(0.36) + np.float32(0.09) * (v + 1).clip(0, 1.3)) * (v > -0.80)
    return depth


def _body(anatomy: Anatomy, frame: Frame) -> Array:
    """Soft tissue from the side: trunk, the shoulders of raised arms, breasts."""
    v = frame.v_S1
    fat = 0.06 + 0.06 * anatomy.habitus
    front = sternum_line(v) - np.float32(0.06 + fat)
    back = spine_line(anatomy, v) + np.float32(0.30 + fat)
    half = (back - front) * np.float32(0.5)
    body = (frame.u_SS - (front + half)) * (1 / half)
    np.square(body, out=body)
    np.subtract(1, body, out=body)
    body.clip(0, 1, out=body)
    np.sqrt(body, out=body)
    np.sqrt(body, out=body)
    top = frame.box(-1, -1.2, 1, 0.1)[0]
    shoulders = ramp(np.float32(-0.60) - v[top] + np.float32(0.25) * frame.u_SS[top], 0.45)
    shoulders *= (body[top] * np.float32(100)).clip(0, 0.95)
    body *= np.float32(2.9 + 0.4 * anatomy.habitus) * (np.float32(0.9) + np.float32(0.2) * (v + 0.3).clip(0, 1.3))
    body[top] += shoulders
    if anatomy.female:
        box, breast = frame.ellipsoid((-0.72, 0.25), (0.16 + 0.04 * anatomy.habitus, 0.2))
        body[box] += np.float32(0.5) * breast
    return body


def _add_bones(anatomy: Anatomy, frame: Frame, healthy: Array) -> None:
    """Vertebrae, ribs of both sides, breastbone."""
    box = frame.box(0.1, -1.2, 1.0, 1.2)
    v = frame.v_S1[box[0]]
    offset = frame.u_SS[box] - spine_line(anatomy, v)
    discs = np.float32(0.54) + np.float32(0.21) * np.cos((v - np.float32(0.2) * offset) * np.float32(2 * np.pi / 0.155))
    arches = np.float32(0.25) * rod(offset - np.float32(0.14), 0.06)
    healthy[box] += rod(offset, 0.085) * discs + arches

    box = frame.box(-0.65, -0.74, 0.85, 0.80)
    u, v = frame.u_SS[box], frame.v_S1[box[0]]
    spine = spine_line(anatomy, v)
    ahead = spine - u
    inside = ramp(ahead + np.float32(0.1), 0.02)
    inside *= ramp(u - (sternum_line(v) + np.float32(0.12)), 0.02)
    phase = ahead * (np.float32(0.45) * ahead - np.float32(0.9))
    phase += v - np.float32(anatomy.rib_offset)
    phase *= np.float32(1 / RIB_PITCH)
    ribs = np.float32(0.30) * shell(phase - np.rint(phase), 0.22)
    phase -= np.float32(0.06 / RIB_PITCH)
    ribs += np.float32(0.22) * shell(phase - np.rint(phase), 0.22)
    ribs *= inside
    healthy[box] += ribs

    box = frame.box(-0.78, -0.48, -0.50, 0.28)
    u, v = frame.u_SS[box], frame.v_S1[box[0]]
    healthy[box] += np.float32(0.55) * rod(u - sternum_line(v), 0.035)
