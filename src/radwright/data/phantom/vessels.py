"""The lungs' vessel trees: a stored set, the same for every config, that patients pick from."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from radwright.data.phantom.anatomy import NUM_LATERAL_TREES, NUM_TREES
from radwright.data.phantom.shapes import Array, Point, bezier, blur, stroke
from radwright.data.phantom.streams import Stream


@functools.lru_cache(maxsize=8)
def frontal_trees(size_px: int) -> tuple[Array, ...]:
    """``NUM_TREES`` maps (S, S) in [0, 1], each with a tree in both lungs."""
    trees = []
    for number in range(NUM_TREES):
        stream = Stream("vessels", "frontal", number)
        tree = np.zeros((size_px, size_px), np.float32)
        for sign in (-1, 1):
            tips = [(sign * stream.uniform(0.25, 0.70), stream.uniform(-0.65, 0.55)) for _ in range(15)]
            tree += _tree(stream, size_px, (sign * 0.15, -0.03), tips)
        tree.flags.writeable = False
        trees.append(tree)
    return tuple(trees)


@functools.lru_cache(maxsize=8)
def lateral_trees(size_px: int) -> tuple[Array, ...]:
    """``NUM_LATERAL_TREES`` maps (S, S) in [0, 1]."""
    trees = []
    for number in range(NUM_LATERAL_TREES):
        stream = Stream("vessels", "lateral", number)
        tips = [(stream.uniform(-0.5, 0.55), stream.uniform(-0.65, 0.6)) for _ in range(18)]
        tree = _tree(stream, size_px, (0.02, -0.02), tips)
        tree.flags.writeable = False
        trees.append(tree)
    return tuple(trees)


def _tree(stream: Stream, size_px: int, root: Point, tips: Sequence[Point]) -> Array:
    """A branch from the root to every tip, each with twigs, thinner towards its end."""
    canvas = np.zeros((size_px, size_px), np.float32)
    taper = np.linspace(0.9, 0.25, 95).astype(np.float32)
    for tip in tips:
        bends = [
            (
                root[0] + part * (tip[0] - root[0]) + stream.bell(0, 0.22),
                root[1] + part * (tip[1] - root[1]) + stream.bell(0, 0.22),
            )
            for part in (0.33, 0.66)
        ]
        branch = bezier([root, *bends, tip])
        lines = [(branch, 0.026, taper)]
        for start in (30, 50, 68):
            base = (float(branch[start, 0]), float(branch[start, 1]))
            end = (base[0] + stream.bell(0, 0.26), base[1] + stream.bell(0, 0.26))
            lines.append((bezier([base, end]), 0.014, taper * np.float32(1 - start / 110)))
        for points, width, weights in lines:
            drawn = stroke(size_px, points[None], width, weights)
            if drawn is not None:
                canvas[drawn[0]] += drawn[1]
    return blur(1 - np.exp(-1.3 * canvas), 0.1)
