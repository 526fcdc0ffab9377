"""Does a map point at what a sentence speaks of? The pointing game and the deletion curve, on masks that are exact.

Beside each network's maps stand a map drawn at random, one of the image's centre, and a perfect one: chance, a habit
of looking at the middle, and what is possible.

Shape legend: V views, S image side in pixels, K steps of a deletion curve.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from radwright.evidence.changed_images import score_changed
from radwright.text.sentences import TokenSentence
from radwright.types import Batch, ReportModel

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

RANDOM_PATCHES = 8
"""Patches per side of a map drawn at random: about as coarse as those that it stands beside."""


def points_at(map_SS: FloatArray, mask_SS: BoolArray, *, tolerance_px: float = 0.0) -> float:
    """The pointing game (Zhang et al. 2016): 1 where the map's maximum lies on the mask, else 0.

    Of several equal maxima the share that lies on it counts, so a map that is the same everywhere scores the mask's
    share of the image.

    Args:
        map_SS: larger means more evidence.
        mask_SS: where the finding is; not empty.
        tolerance_px: a maximum so near to the mask counts as on it.
    """
    peaks = np.argwhere(map_SS >= map_SS.max())
    if not tolerance_px:
        return float(mask_SS[peaks[:, 0], peaks[:, 1]].mean())
    nearest = _nearest_px(peaks, mask_SS)
    return float((nearest <= tolerance_px).mean())


def _nearest_px(places: NDArray[np.intp], mask_SS: BoolArray) -> FloatArray:
    """Distance of each place (row, column) from the mask, in pixels."""
    on = np.argwhere(mask_SS)
    found = [np.hypot(*(on - place).T).min() for place in places]
    return np.asarray(found, dtype=np.float64)


def chance_of(mask_SS: BoolArray, *, tolerance_px: float = 0.0) -> float:
    """What a pixel drawn at random scores in the pointing game: the share of the image that counts as on the mask."""
    if not tolerance_px:
        return float(mask_SS.mean())
    reach = int(tolerance_px)
    side = mask_SS.shape[0]
    wide = np.zeros_like(mask_SS)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if np.hypot(down, right) <= tolerance_px:
                target = (slice(max(0, down), side + min(0, down)), slice(max(0, right), side + min(0, right)))
                source = (slice(max(0, -down), side + min(0, -down)), slice(max(0, -right), side + min(0, -right)))
                wide[target] |= mask_SS[source]
    return float(wide.mean())


def random_map(size_px: int, num_views: int, key: str) -> FloatArray:
    """(V, S, S): patches of random numbers in [0, 1), a function of ``key`` alone."""
    seed = int.from_bytes(hashlib.sha256(f"random map/{key}".encode()).digest()[:8], "big")
    drawn = np.random.default_rng(seed).random((num_views, RANDOM_PATCHES, RANDOM_PATCHES))
    place = np.arange(size_px) * RANDOM_PATCHES // size_px
    patches: FloatArray = drawn[:, place][:, :, place]
    return patches


def centre_map(size_px: int, num_views: int) -> FloatArray:
    """(V, S, S): highest in the middle of every view, falling off with the distance from it."""
    offset = np.arange(size_px) - (size_px - 1) / 2
    falling = -np.hypot(offset[:, None], offset[None, :])
    return np.broadcast_to(falling, (num_views, size_px, size_px)).copy()


def mask_at(mask: BoolArray, size_px: int) -> BoolArray:
    """A square mask at another size: a pixel is on it that any part of the mask falls into, so nothing thin is lost."""
    if mask.shape == (size_px, size_px):
        return mask
    shares = Image.fromarray(mask.astype(np.float32)).resize((size_px, size_px), Image.Resampling.BOX)
    return np.asarray(np.asarray(shares) > 1e-6)


def deletion_curves(
    model: ReportModel,
    batch: Batch,
    sentences: Sequence[TokenSentence],
    maps: Mapping[tuple[int, str], Any],
    *,
    num_steps: int = 10,
    batch_size: int = 32,
) -> dict[tuple[int, str], FloatArray]:
    """Deletion curves (Petsiuk et al. 2018): how much likelihood a sentence loses as pixels go, the highest first.

    Pixels of all views are deleted in one order, by the map, equals in a random one; a deleted pixel gets the mean of
    its view. In the end nothing is left of any image, so the curves of one sentence have both ends in common.

    Args:
        model: in evaluation mode.
        batch: one study with its draft's tokens, on the model's device.
        sentences: of the draft.
        maps: (sentence's place, name of a map) -> the map (V, S, S).
        num_steps: K, steps of equal size.
        batch_size: images that go through the network at once.

    Returns:
        For each map log p(sentence | images) - log p(sentence | what is left), in nats, (1 + K,) from 0 pixels deleted
        to all.

    Raises:
        StudyError: the batch does not hold exactly one study.
    """
    images_V1SS = batch.images_BV1SS[0]
    views = batch.view_mask_BV[0].nonzero().flatten().tolist()
    empty_V1SS = images_V1SS.mean((1, 2, 3), keepdim=True).expand_as(images_V1SS)
    inner = list(range(1, num_steps))

    def changed() -> Iterator[Tensor]:
        yield images_V1SS
        yield empty_V1SS
        for (place, name), map_VSS in maps.items():
            rank_VSS = _ranks(np.asarray(map_VSS)[views], f"{batch.study_ids[0]}/{place}/{name}")
            for step in inner:
                gone = torch.from_numpy(rank_VSS * num_steps < step * rank_VSS.size).to(images_V1SS.device)
                left = images_V1SS.clone()
                left[views] = torch.where(gone.unsqueeze(1), empty_V1SS[views], images_V1SS[views])
                yield left

    scores_RJ = score_changed(model, batch, sentences, changed(), batch_size=batch_size).numpy()
    curves = {}
    for number, (place, name) in enumerate(maps):
        rows = [0, *(2 + number * len(inner) + step - 1 for step in inner), 1]
        curves[place, name] = scores_RJ[0, place] - scores_RJ[rows, place]
    return curves


def _ranks(map_VSS: FloatArray, key: str) -> NDArray[np.int64]:
    """0 for the highest value, then 1 ...; equals in an order that is a function of ``key``."""
    seed = int.from_bytes(hashlib.sha256(f"ties/{key}".encode()).digest()[:8], "big")
    ties = np.random.default_rng(seed).random(map_VSS.size)
    order = np.lexsort((ties, -map_VSS.ravel()))
    ranks = np.empty(map_VSS.size, dtype=np.int64)
    ranks[order] = np.arange(map_VSS.size)
    return ranks.reshape(map_VSS.shape)


def curve_area(curve: FloatArray) -> float:
    """Mean likelihood lost over the whole curve, in nats; the higher, the sooner the sentence falls."""
    return float((curve[1:] + curve[:-1]).mean() / 2)
