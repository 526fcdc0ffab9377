"""The frontal (PA) view of a healthy chest as an attenuation map."""

from __future__ import annotations

import numpy as np

from radwright.data.phantom.anatomy import (
    BONE,
    FIRST_RIB,
    HEART,
    LUNG,
    RIB_PITCH,
    VESSEL,
    Anatomy,
    dome,
    heart_frontal,
    lung_borders,
)
from radwright.data.phantom.frame import Frame, View, make_frame
from radwright.data.phantom.shapes import Array, cloud, ellipsoid, ramp, rod, shell
from radwright.data.phantom.vessels import frontal_trees

HEART_BOX = (-0.85, -0.50, 0.95, 0.85)
"""Left, top, right, bottom of what even a very large heart fills."""


def frontal_view(anatomy: Anatomy, size_px: int) -> View:
    """The frontal view of a healthy patient."""
    frame = make_frame(size_px, zoom=anatomy.zoom, shift=anatomy.shift_u, drop=anatomy.shift_v, tilt=anatomy.tilt)
    a = np.abs(frame.u_SS)
    lung = _lungs(anatomy, frame.u_SS, a, frame.v_S1)
    right, left = (frontal_trees(size_px)[number] for number in anatomy.vessel_maps[:2])
    half = size_px // 2
    vessels = lung * np.float32(VESSEL)
    vessels[:, :half] *= right[:, :half]
    vessels[:, half:] *= left[:, half:]

    healthy = _body(anatomy, a, frame.v_S1)
    healthy += cloud(anatomy.texture[0], (size_px, size_px))
    _add_ribs(anatomy, frame, a, healthy)
    _add_clavicles_and_spine(anatomy, frame, a, healthy)
    healthy += vessels
    healthy -= np.float32(LUNG) * lung
    box = frame.box(*HEART_BOX)
    healthy[box] += np.float32(HEART) * heart_frontal(anatomy, frame.u_SS[box], frame.v_S1[box[0]])
    _add_mediastinum(anatomy, frame, healthy)
    return View(frame, healthy.clip(0, 20, out=healthy), lung, vessels)


def _lungs(anatomy: Anatomy, u: Array, a: Array, v: Array) -> Array:
    medial, lateral = lung_borders(anatomy, v)
    half = (lateral - medial) * np.float32(0.5)
    depth = (a - (lateral - half)) * (1 / half.clip(0.02, 1))
    np.square(depth, out=depth)
    np.subtract(1, depth, out=depth)
    depth.clip(0, 1, out=depth)
    np.sqrt(depth, out=depth)
    np.sqrt(depth, out=depth)
    level = (u * np.float32(1000)).clip(-0.5, 0.5) * np.float32(anatomy.dome_left - anatomy.dome_right)
    level += dome(a)
    level += np.float32((anatomy.dome_left + anatomy.dome_right) / 2) - v
    depth *= ramp(level, 0.07)
    depth *= (v > -0.82) * (np.float32(0.78) + np.float32(0.14) * (v + 1).clip(0, 1.5))
    return depth


def _body(anatomy: Anatomy, a: Array, v: Array) -> Array:
    """Soft tissue: neck, shoulders and trunk, an ellipse across; breasts."""
    obese = anatomy.habitus
    t = ((v + 1.06) * np.float32(1 / 0.46)).clip(0, 1)
    border = np.float32(0.24 + 0.03 * obese) + np.float32(0.86 + 0.1 * obese) * t * t * (3 - 2 * t)
    body: Array = a * (1 / border)
    np.square(body, out=body)
    np.subtract(1, body, out=body)
    body.clip(0, 1, out=body)
    np.sqrt(body, out=body)
    body *= np.float32(2.55 + 0.4 * obese) * (np.float32(0.86) + np.float32(0.20) * (v + 0.4).clip(0, 1.2))
    if anatomy.female:
        size = 0.25 + 0.05 * obese
        rows = slice(body.shape[0] // 2, None)
        body[rows] += np.float32(0.42) * ellipsoid(a[rows], v[rows], (0.46, 0.34), (size, size * 0.85))
    return body


def _add_ribs(anatomy: Anatomy, frame: Frame, a: Array, healthy: Array) -> None:
    """Ribs behind, slanting down outwards, and fainter ones in front, slanting down inwards."""
    rows = frame.box(-1, -0.90, 1, 0.70)[0]
    a, v = a[rows], frame.v_S1[rows]
    _, lateral = lung_borders(anatomy, v)
    first = FIRST_RIB + anatomy.rib_offset
    phase = np.square(a - np.float32(0.16))
    phase *= np.float32(-anatomy.rib_slope / RIB_PITCH)
    phase += (v - np.float32(first)) * np.float32(1 / RIB_PITCH)
    phase -= np.rint(phase).clip(0, 9)
    bones = shell(phase, 0.26)
    bones *= ramp(a - np.float32(0.07), 0.02)
    pitch, slope = 1.16 * RIB_PITCH, 0.72 + 0.3 * anatomy.rib_slope
    phase = a * np.float32(slope / pitch)
    phase += (v - np.float32(0.8 * slope + first + 0.16)) * np.float32(1 / pitch)
    phase -= np.rint(phase).clip(0, 6)
    front = shell(phase, 0.30)
    front *= ramp(a - np.float32(0.30), 0.12)
    front *= np.float32(0.55)
    bones += front
    bones *= ramp(dome(a) + (np.float32(0.12 + anatomy.dome_right) - v), 0.2)
    bones *= ramp(lateral + np.float32(0.045) - a, 0.03)
    bones *= np.float32(BONE)
    healthy[rows] += bones


def _add_clavicles_and_spine(anatomy: Anatomy, frame: Frame, a: Array, healthy: Array) -> None:
    rows = frame.box(-1, -0.90, 1, -0.35)[0]
    u, v = frame.u_SS[rows], frame.v_S1[rows]
    turned = a[rows] - np.float32(0.12 * anatomy.rotation) * (u * np.float32(1000)).clip(-0.5, 0.5)
    curve = np.float32(0.05) * np.sin(turned * np.float32(7.5)) - np.float32(0.22) * turned
    clavicle = rod((v - np.float32(anatomy.rib_offset - 0.535)) - curve, 0.034)
    clavicle *= ramp(turned - np.float32(0.09), 0.03)
    clavicle *= ramp(np.float32(0.86) - turned, 0.1)
    healthy[rows] += np.float32(BONE * 0.95) * clavicle
    middle = 0.02 * anatomy.rotation
    box = frame.box(middle - 0.11, -1.2, middle + 0.11, 1.2)
    discs = np.float32(0.41) + np.float32(0.09) * np.cos(frame.v_S1 * np.float32(2 * np.pi / 0.15))
    healthy[box] += rod(frame.u_SS[box] - np.float32(middle), 0.10) * discs[box[0]]


def _add_mediastinum(anatomy: Anatomy, frame: Frame, healthy: Array) -> None:
    """Great vessels, aortic knob, hila, windpipe and stem bronchi."""
    turn = 0.05 * anatomy.rotation
    box = frame.box(turn - 0.15, -1.2, turn + 0.18, 0.7)
    u, v = frame.u_SS[box], frame.v_S1[box[0]]
    column = np.float32(0.50) * rod(u - np.float32(0.015 + turn), 0.16)
    column *= ramp(np.float32(anatomy.dome_right) - v, 0.3)
    column -= np.float32(0.75) * rod(u - np.float32(turn - 0.005), 0.042) * ramp(np.float32(-0.2) - v, 0.05)
    healthy[box] += column
    for centre, radii, strength in (
        ((0.14 + turn, -0.28), (0.10, 0.10), 0.75),
        ((-0.11 + turn, -0.32), (0.10, 0.30), 0.35),
    ):
        box, blob = frame.ellipsoid(centre, radii)
        healthy[box] += np.float32(strength) * blob
    for sign, height in ((-1, -0.01), (1, -0.06)):
        box, blob = frame.ellipsoid((sign * 0.19 + turn, height), (0.11, 0.15), sign * -0.35)
        healthy[box] += np.float32(0.65) * blob * blob
        box = frame.box(turn - 0.24, -0.2, turn + 0.24, -0.05)
        u, v = frame.u_SS[box], frame.v_S1[box[0]]
        bronchus = rod(u - np.float32(turn) - (v + np.float32(0.2)) * np.float32(sign * 1.25), 0.035)
        healthy[box] -= np.float32(0.32) * bronchus * ((v > -0.2) & (v < -0.05))
