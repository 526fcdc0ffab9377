"""How each disease looks: what it adds to, or takes from, the attenuation of a healthy chest in both views."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from radwright.data.phantom.anatomy import (
    BONE,
    HEART,
    LUNG,
    RIB_PITCH,
    Anatomy,
    heart_frontal,
    heart_lateral,
    lung_borders,
    rib_line,
    spine_line,
)
from radwright.data.phantom.finding import Finding
from radwright.data.phantom.overlay import Chest, Overlay, ViewName
from radwright.data.phantom.shapes import Array, Box, Point, bezier, cloud, ellipsoid, ramp, rod, shell
from radwright.data.phantom.streams import Stream

Draw = Callable[[Finding, Stream, Chest, Overlay], None]

MILLIMETRE = 1 / 200
"""One millimetre in coordinates: an image shows 400 mm."""
_LOBES: Mapping[tuple[str, str], tuple[Point, Point]] = {
    ("right", "upper lobe"): ((-0.40, -0.42), (-0.02, -0.45)),
    ("right", "middle lobe"): ((-0.34, 0.20), (-0.28, 0.20)),
    ("right", "lower lobe"): ((-0.47, 0.30), (0.32, 0.32)),
    ("left", "upper lobe"): ((0.42, -0.42), (-0.02, -0.43)),
    ("left", "lingula"): ((0.46, 0.12), (-0.28, 0.16)),
    ("left", "lower lobe"): ((0.44, 0.34), (0.34, 0.34)),
}
_ZONES: Mapping[str, tuple[float, float]] = {
    "upper zone": (-0.56, -0.34),
    "mid zone": (-0.20, 0.02),
    "lower zone": (0.14, 0.34),
}


def sides_of(finding: Finding) -> tuple[str, ...]:
    """The sides that a finding is on, one after the other."""
    return ("right", "left") if finding.side == "both" else (finding.side,)


def sign_of(side: str) -> int:
    """-1 for the patient's right (the image's left), 1 for the left."""
    return -1 if side == "right" else 1


def half_box(chest: Chest, side: str, top: float, bottom: float) -> Box:
    """The pixels of one half of the frontal view between two heights."""
    return (
        chest.frontal.frame.box(-1.0, top, 0.02, bottom)
        if side == "right"
        else chest.frontal.frame.box(-0.02, top, 1.0, bottom)
    )


def draw_effusion(finding: Finding, stream: Stream, chest: Chest, overlay: Overlay) -> None:
    """Fluid fills the lowest part of the pleural space, higher at the wall than in the middle (the meniscus)."""
    low, high = {"small": (0.11, 0.17), "moderate": (0.26, 0.36), "large": (0.48, 0.68)}[finding.size]
    for side in sides_of(finding):
        height, strength = stream.uniform(low, high), stream.uniform(0.75, 0.95)
        sag = 0.08 + 0.5 * min(height, 0.22)
        level = chest.anatomy.dome_right if side == "right" else chest.anatomy.dome_left
        box = half_box(chest, side, level - height - 0.05, level + 0.4)
        view = chest.frontal
        a = view.frame.u_SS[box] * np.float32(sign_of(side))
        v = view.frame.v_S1[box[0]]
        across = a * np.float32(1 / chest.anatomy.lung_width)
        surface = np.float32(level + 0.16 - height) + np.float32(sag) * (1 - np.square(across))
        fluid = ramp(v - surface, 0.07) * view.lung_SS[box] * (a > 0)
        overlay.add("frontal", box, fluid * np.float32(LUNG * strength))

        view = chest.lateral
        box = view.frame.box(-0.8, level - height - 0.02, 0.9, level + 0.5)
        u, v = view.frame.u_SS[box], view.frame.v_S1[box[0]]
        surface = np.float32(level + 0.30 - height * 1.15) + np.float32(0.35 * sag) * (
            1 - np.square(u * np.float32(1.6))
        )
        fluid = ramp(v - surface, 0.07) * view.lung_SS[box]
        overlay.add("lateral", box, fluid * np.float32(LUNG * strength * 0.6))


def draw_pneumothorax(finding: Finding, stream: Stream, chest: Chest, overlay: Overlay) -> None:
    """Air outside the lung, most at the apex: no vessels there, and the thin line of the lung's own border."""
    low, high, reach = {"small": (0.06, 0.09, 0.55), "moderate": (0.12, 0.17, 0.8), "large": (0.20, 0.28, 1.2)}[
        finding.size
    ]
    gap = stream.uniform(low, high)
    clarity = stream.uniform(0.05, 0.09)
    view = chest.frontal
    box = half_box(chest, finding.side, -0.9, min(-0.82 + 1.42 * reach, 0.7))
    a, v = view.frame.u_SS[box] * np.float32(sign_of(finding.side)), view.frame.v_S1[box[0]]
    fallen = (1 - (v + np.float32(0.82)) * np.float32(1 / (1.42 * reach))).clip(0, 1)
    _, border = lung_borders(chest.anatomy, v - np.float32(1.2 * gap) * fallen)
    beyond = a - (border - np.float32(gap) * np.sqrt(fallen))
    lung = view.lung_SS[box] * (a > 0)
    line = rod(beyond * 1.0, 0.014) * (lung > 0.15) * (fallen > 0)
    air = ramp(beyond, 0.02) * (a > 0) * (fallen > 0)
    overlay.add(
        "frontal", box, np.float32(0.38) * line - air * (view.vessels_SS[box] + lung * np.float32(LUNG * clarity))
    )

    view = chest.lateral
    box = view.frame.box(-0.7, -0.85, 0.7, -0.5 + gap)
    u, v = view.frame.u_SS[box], view.frame.v_S1[box[0]]
    beyond = np.float32(-0.80 + 1.6 * gap) + np.float32(0.5) * np.square(u) - v
    lung = view.lung_SS[box]
    air = ramp(beyond * 1.0, 0.03) * lung
    line = rod(beyond, 0.014) * (lung > 0.15)
    overlay.add("lateral", box, np.float32(0.16) * line - air * np.float32(LUNG * clarity * 0.5))


def draw_cardiomegaly(finding: Finding, stream: Stream, chest: Chest, overlay: Overlay) -> None:
    """The heart grows: what the large heart has more than the healthy one."""
    low, high = {"mild": (1.22, 1.28), "moderate": (1.34, 1.42), "severe": (1.50, 1.62)}[finding.size]
    growth = stream.uniform(low, high)
    anatomy = chest.anatomy
    for name, view, heart in (("frontal", chest.frontal, heart_frontal), ("lateral", chest.lateral, heart_lateral)):
        box = view.frame.box(-0.9, -0.45, 0.95, 0.85)
        u, v = view.frame.u_SS[box], view.frame.v_S1[box[0]]
        more = heart(anatomy, u, v, growth) - heart(anatomy, u, v)
        overlay.add(_name(name), box, np.float32(HEART) * more.clip(0, 1, out=more))


def draw_edema(finding: Finding, stream: Stream, chest: Chest, overlay: Overlay) -> None:
    """Fluid in the lung around the hila, fuller vessels, and short lines at the wall (Kerley B)."""
    low, high, lines = {"mild": (0.24, 0.30, 3), "moderate": (0.40, 0.48, 6), "severe": (0.60, 0.72, 8)}[finding.size]
    strength = stream.uniform(low, high)
    view = chest.frontal
    box = view.frame.box(-0.85, -0.62, 0.85, 0.70)
    u, v = view.frame.u_SS[box], view.frame.v_S1[box[0]]
    haze = ellipsoid(np.abs(u), v, (0.28, 0.04), (0.52, 0.62))
    haze *= haze * _uneven(stream, box, 8, 0.5)
    veins = view.vessels_SS[box] * np.float32(1.1 * strength)
    overlay.add("frontal", box, haze * view.lung_SS[box] * np.float32(LUNG * strength) + veins)
    septa = []
    for number in range(lines):
        side = 1 if number % 2 else -1
        height = stream.uniform(0.12, 0.40)
        _, border = lung_borders(chest.anatomy, np.array([height], np.float32))
        start = float(border[0]) - 0.02
        septa.append(bezier([(side * start, height), (side * (start - stream.uniform(0.07, 0.12)), height + 0.01)]))
    overlay.lines("frontal", septa, 0.012, 0.28)

    view = chest.lateral
    box = view.frame.box(-0.6, -0.65, 0.7, 0.65)
    u, v = view.frame.u_SS[box], view.frame.v_S1[box[0]]
    haze = ellipsoid(u, v, (0.03, 0.0), (0.62, 0.64))
    haze *= haze * _uneven(stream, box, 8, 0.5)
    veins = view.vessels_SS[box] * np.float32(1.1 * strength)
    overlay.add("lateral", box, haze * view.lung_SS[box] * np.float32(LUNG * strength) + veins)


def draw_consolidation(finding: Finding, stream: Stream, chest: Chest, overlay: Overlay) -> None:
    """A part of a lobe full of fluid instead of air: cloudy when patchy, nearly solid when dense."""
    dense = finding.size == "dense"
    for side in sides_of(finding):
        strength = stream.uniform(0.62, 0.85) if dense else stream.uniform(0.40, 0.55)
        size = stream.uniform(0.85, 1.2)
        front, profile = _LOBES[side, finding.place]
        for name, view, centre, radii in (
            ("frontal", chest.frontal, front, (0.25 * size, 0.22 * size)),
            ("lateral", chest.lateral, profile, (0.27 * size, 0.24 * size)),
        ):
            u0, v0 = centre[0] + stream.bell(0, 0.05), centre[1] + stream.bell(0, 0.05)
            box = view.frame.box(u0 - radii[0], v0 - radii[1], u0 + radii[0], v0 + radii[1])
            blob = ellipsoid(view.frame.u_SS[box], view.frame.v_S1[box[0]], (u0, v0), radii, stream.bell(0, 0.6))
            blob *= blob
            # The unevenness moves the border as well as the inside, so that no two look alike and none is round.
            blob *= np.square(_uneven(stream, box, 8, 0.45 if dense else 0.75)) * np.float32(2.2 if dense else 1.5)
            np.minimum(blob, 1, out=blob)
            part = strength if name == "frontal" else 0.75 * strength
            overlay.add(_name(name), box, blob * view.lung_SS[box] * np.float32(LUNG * part))


def draw_nodule(finding: Finding, stream: Stream, chest: Chest, overlay: Overlay) -> None:
    """A small ball of soft tissue in the lung."""
    millimetres = int(finding.size.split()[0])
    radius = millimetres * MILLIMETRE / 2
    height = stream.uniform(*_ZONES[finding.place])
    medial, border = (float(edge[0]) for edge in lung_borders(chest.anatomy, np.array([height], np.float32)))
    across = stream.uniform(max(medial + 0.10, 0.22), border - 0.08) * sign_of(finding.side)
    back = float(spine_line(chest.anatomy, height))
    depth = stream.uniform(-0.35, back - 0.08)
    strength = stream.uniform(0.38, 0.46) + 0.038 * millimetres
    for name, view, u0 in (("frontal", chest.frontal, across), ("lateral", chest.lateral, depth)):
        box = view.frame.box(u0 - radius, height - radius, u0 + radius, height + radius)
        ball = ellipsoid(view.frame.u_SS[box], view.frame.v_S1[box[0]], (u0, height), (radius, radius))
        overlay.add(_name(name), box, ball * np.float32(strength if name == "frontal" else 0.8 * strength))


def draw_fracture(finding: Finding, stream: Stream, chest: Chest, overlay: Overlay) -> None:
    """A gap across a rib; a displaced one has its outer piece set off. The lateral view does not show it."""
    part, number, _ = finding.place.split()
    rib = int(number[:-2])
    view, anatomy = chest.frontal, chest.anatomy
    at = stream.uniform(0.26, 0.42) if part == "posterior" else _near_wall(anatomy, rib) - stream.uniform(0.02, 0.08)
    sign = sign_of(finding.side)
    height = float(rib_line(anatomy, at, rib))
    box = view.frame.box(sign * at - 0.16, height - 0.09, sign * at + 0.16, height + 0.09)
    a, v = view.frame.u_SS[box] * np.float32(sign), view.frame.v_S1[box[0]]
    off = (v - rib_line(anatomy, a, rib)) * np.float32(1 / RIB_PITCH)
    along = a - np.float32(at) + np.float32(0.25) * (v - np.float32(height))
    bone = shell(off, 0.26)
    change = -bone * rod(along * 1.0, 0.026)
    if finding.size == "displaced":
        outer = ramp(along * 1.0, 0.015) * ramp(np.float32(0.12) - along, 0.05)
        shift = stream.uniform(0.30, 0.42) * (1 if stream.unit() < 0.5 else -1)
        change += outer * (shell(off - np.float32(shift), 0.26) - bone)
    else:
        change += np.float32(0.7) * rod(np.hypot(along, off * np.float32(RIB_PITCH)), 0.045)
    overlay.add("frontal", box, change * np.float32(1.45 * BONE))


def _near_wall(anatomy: Anatomy, rib: int) -> float:
    """Distance from the midline at which a posterior rib reaches the lung's lateral border."""
    height = float(rib_line(anatomy, 0.62, rib))
    return float(lung_borders(anatomy, np.array([height], np.float32))[1][0]) - 0.05


def _uneven(stream: Stream, box: Box, cells: int, amount: float) -> Array:
    """A cloudy factor around 1, never negative. One stream gives one cloud of a size, whatever was drawn before."""
    coarse = (stream.units(cells * cells) - np.float32(0.5)) * np.float32(2.5 * amount) + 1
    texture = cloud(coarse.reshape(cells, cells), (box[0].stop - box[0].start, box[1].stop - box[1].start))
    return texture.clip(0, 9, out=texture)


def _name(name: str) -> ViewName:
    return "frontal" if name == "frontal" else "lateral"


LESIONS: Mapping[str, Draw] = {
    "cardiomegaly": draw_cardiomegaly,
    "effusion": draw_effusion,
    "edema": draw_edema,
    "consolidation": draw_consolidation,
    "pneumothorax": draw_pneumothorax,
    "nodule": draw_nodule,
    "fracture": draw_fracture,
}
"""Kind of disease -> what draws it."""
