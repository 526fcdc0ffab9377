"""How devices and corner markers look: metal and plastic in both views."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from radwright.data.phantom.anatomy import lung_borders, spine_line, sternum_line
from radwright.data.phantom.finding import Finding
from radwright.data.phantom.lesions import MILLIMETRE, Draw, sign_of
from radwright.data.phantom.overlay import VIEW_NAMES, Chest, Overlay
from radwright.data.phantom.shapes import Array, Point, bezier, ellipsoid, polyline, ramp
from radwright.data.phantom.streams import Stream

_GLYPHS: Mapping[str, tuple[str, ...]] = {
    "L": ("#....", "#....", "#....", "#....", "#....", "#....", "#####"),
    "P": ("####.", "#...#", "#...#", "####.", "#....", "#....", "#...."),
    "S": (".####", "#....", "#....", ".###.", "....#", "....#", "####."),
    "X": ("#...#", "#...#", ".#.#.", "..#..", ".#.#.", "#...#", "#...#"),
}
_CORNERS: Mapping[str, Point] = {"L": (0.80, -0.86), "P": (-0.84, -0.86), "S": (0.80, 0.80), "X": (-0.84, 0.80)}
_LEAD = 3.0
_CARINA = -0.20


def draw_pacemaker(finding: Finding, stream: Stream, chest: Chest, overlay: Overlay) -> None:
    """A generator under the skin of the upper chest, one or two leads through the great vein into the heart."""
    sign = sign_of(finding.side)
    u0, v0 = sign * stream.bell(0.50, 0.06), stream.bell(-0.46, 0.06)
    wide, high = stream.uniform(0.095, 0.115), stream.uniform(0.075, 0.09)
    view = chest.frontal
    box = view.frame.box(u0 - wide - 0.02, v0 - high - 0.02, u0 + wide + 0.02, v0 + high + 0.02)
    x = np.square((view.frame.u_SS[box] - np.float32(u0)) * np.float32(1 / wide))
    y = np.square((view.frame.v_S1[box[0]] - np.float32(v0)) * np.float32(1 / high))
    case = ramp(1 - x * x - y * y, 0.5)
    case *= np.float32(1.5) + np.float32(0.9) * (x < 0.35)
    overlay.add("frontal", box, case)
    gate = (sign * 0.14, -0.60)
    vein = (-0.12, stream.bell(-0.34, 0.04))
    tips = [(stream.bell(0.24, 0.05), stream.bell(0.30, 0.04))]
    if finding.size == "dual lead":
        tips.append((stream.bell(-0.12, 0.03), stream.bell(0.10, 0.04)))
    start = (u0 - sign * wide, v0 - 0.3 * high)
    leads = []
    for number, tip in enumerate(tips):
        entry = (gate[0], gate[1] + 0.03 * number)
        belly = (-0.16, 0.1) if number == 0 else (-0.13, 0.22)
        leads.append(bezier([start, (start[0] - sign * 0.1, -0.68), entry, vein]))
        leads.append(bezier([vein, belly, (0.0, tip[1] + 0.02), tip]))
        _blob(overlay, chest, "frontal", tip, 0.022, 1.6)
    overlay.lines("frontal", leads, 0.013, 1.4)

    view = chest.lateral
    front = float(sternum_line(v0)) + 0.02
    box = view.frame.box(front - 0.06, v0 - high, front + 0.06, v0 + high)
    case = ellipsoid(view.frame.u_SS[box], view.frame.v_S1[box[0]], (front, v0), (0.045, high))
    overlay.add("lateral", box, np.float32(2.2) * case)
    leads = []
    for number, tip in enumerate(tips):
        end = (-0.42, tip[1] + 0.02) if number == 0 else (-0.30, tip[1] - 0.05)
        leads.append(bezier([(front, v0 - high), (-0.3, -0.75), (0.0, -0.5), (-0.05, -0.25)]))
        leads.append(bezier([(-0.05, -0.25), (-0.02, 0.15), end]))
    overlay.lines("lateral", leads, 0.013, 1.2)


def draw_central_line(finding: Finding, stream: Stream, chest: Chest, overlay: Overlay) -> None:
    """A catheter from the neck or under the clavicle into the great vein or the right atrium."""
    sign = sign_of(finding.side)
    low, high = {
        "superior vena cava": (-0.24, -0.14),
        "cavoatrial junction": (-0.03, 0.04),
        "right atrium": (0.14, 0.22),
    }[finding.place]
    tip = stream.uniform(low, high)
    turn = 0.05 * chest.anatomy.rotation
    if stream.unit() < 0.5:
        entry = [(sign * 0.20, -1.15), (sign * 0.17, -0.75), (sign * 0.12, -0.55), (turn - 0.12, -0.36)]
    else:
        entry = [(sign * 0.78, -0.46), (sign * 0.45, -0.72), (sign * 0.12, -0.58), (turn - 0.12, -0.36)]
    last = bezier([entry[-1], (turn - 0.14, (tip - 0.36) / 2), (turn - 0.12, tip)])
    overlay.lines("frontal", [bezier(entry), last], 0.018, 0.95)
    overlay.lines("lateral", [bezier([(0.02, -1.15), (-0.05, -0.6), (0.0, -0.4), (-0.06, tip)])], 0.018, 0.75)


def draw_endotracheal_tube(finding: Finding, stream: Stream, chest: Chest, overlay: Overlay) -> None:
    """A tube in the windpipe; its tip lies the stated centimetres above the carina."""
    tip = _CARINA - int(finding.size.split()[0]) * 10 * MILLIMETRE
    middle = 0.05 * chest.anatomy.rotation + stream.bell(-0.005, 0.008)
    walls = [bezier([(middle + wall * 1.3, -1.2), (middle + wall, tip)]) for wall in (-0.022, 0.022)]
    overlay.lines("frontal", [*walls, bezier([(middle - 0.022, tip), (middle + 0.022, tip)])], 0.015, 0.65)
    walls = [
        bezier([(0.02 + 0.1 * (height + 0.6) + wall, height) for height in (-1.2, tip)]) for wall in (-0.022, 0.022)
    ]
    overlay.lines("lateral", walls, 0.015, 0.6)


def draw_chest_tube(finding: Finding, stream: Stream, chest: Chest, overlay: Overlay) -> None:
    """A drain from the side wall to the top or the bottom of the pleural space."""
    sign = sign_of(finding.side)
    entry = stream.uniform(0.18, 0.32)
    _, border = lung_borders(chest.anatomy, np.array([entry], np.float32))
    wall = float(border[0])
    if finding.place == "apex":
        path = [(wall + 0.22, entry + 0.10), (wall - 0.02, entry - 0.02), (wall - 0.10, -0.25), (0.36, -0.60)]
        profile = [(-0.10, entry), (0.15, entry - 0.2), (0.18, -0.3), (0.08, -0.62)]
    else:
        path = [(wall + 0.22, entry - 0.05), (wall - 0.05, entry - 0.02), (0.50, 0.42), (0.24, 0.36)]
        profile = [(-0.10, entry), (0.10, entry + 0.15), (0.25, 0.45), (float(spine_line(chest.anatomy, 0.5)), 0.50)]
    path = [(u + stream.bell(0, 0.03), v + stream.bell(0, 0.03)) for u, v in path]
    overlay.lines("frontal", [bezier([(sign * u, v) for u, v in path])], 0.034, 0.6)
    overlay.lines("lateral", [bezier(profile)], 0.034, 0.5)


def draw_sternal_wires(finding: Finding, stream: Stream, chest: Chest, overlay: Overlay) -> None:
    """Five to seven wire loops down the breastbone, their ends twisted."""
    count = stream.between(5, 7)
    top, step = stream.bell(-0.42, 0.03), 0.115
    middle = 0.05 * chest.anatomy.rotation
    loops, ticks = [], []
    for number in range(count):
        u, v = middle + stream.bell(0, 0.015), top + number * step
        wide, high = stream.bell(0.042, 0.008), stream.bell(0.030, 0.006)
        corners = [(-1, 0), (-0.6, -1), (0.6, -1), (1, 0), (0.3, 1), (-0.3, 1), (-1, 0)]
        loops.append(polyline([(u + x * wide, v + y * high) for x, y in corners]))
        front = float(sternum_line(v))
        ticks.append(bezier([(front - 0.045, v), (front, v + 0.012), (front + 0.045, v)]))
    overlay.lines("frontal", loops, 0.013, 1.5)
    overlay.lines("lateral", ticks, 0.014, 1.6)


def draw_marker(name: str, stream: Stream, chest: Chest, overlay: Overlay) -> None:
    """A lead letter in its corner of both views, where it hides what is behind it."""
    pixels = chest.frontal.frame.grid
    x0, y0 = _CORNERS[name][0] + stream.bell(0, 0.05), _CORNERS[name][1] + stream.bell(0, 0.04)
    height = stream.uniform(0.12, 0.15)
    for view in VIEW_NAMES:
        box = pixels.box(x0 - 0.36 * height, y0 - height / 2, x0 + 0.36 * height, y0 + height / 2)
        columns = (pixels.x_S[box[1]] - np.float32(x0)) / np.float32(0.72 * height) + np.float32(0.5)
        rows = (pixels.y_S1[box[0], 0] - np.float32(y0)) / np.float32(height) + np.float32(0.5)
        bitmap = _bitmap(name)
        i, j = np.floor(rows * 7).astype(int), np.floor(columns * 5).astype(int)
        inside = ((i >= 0) & (i < 7))[:, None] & ((j >= 0) & (j < 5))[None]
        glyph = bitmap[i.clip(0, 6)[:, None], j.clip(0, 4)[None]] * inside
        overlay.add(view, box, glyph * np.float32(_LEAD))


def _blob(overlay: Overlay, chest: Chest, name: str, at: Point, radius: float, strength: float) -> None:
    view = chest.frontal if name == "frontal" else chest.lateral
    box = view.frame.box(at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius)
    ball = ellipsoid(view.frame.u_SS[box], view.frame.v_S1[box[0]], at, (radius, radius))
    overlay.add("frontal" if name == "frontal" else "lateral", box, ball * np.float32(strength))


@functools.cache
def _bitmap(name: str) -> Array:
    return np.array([[character == "#" for character in row] for row in _GLYPHS[name]], np.float32)


DEVICE_DRAWINGS: Mapping[str, Draw] = {
    "pacemaker": draw_pacemaker,
    "central_line": draw_central_line,
    "endotracheal_tube": draw_endotracheal_tube,
    "chest_tube": draw_chest_tube,
    "sternal_wires": draw_sternal_wires,
}
"""Kind of device -> what draws it."""
