"""Judging maps: a random one scores at chance, a planted perfect one 1, and curves are what deleting does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from radwright.data.phantom import Finding, PhantomConfig, generate_study
from radwright.evidence.localisation import (
    centre_map,
    chance_of,
    curve_area,
    deletion_curves,
    mask_at,
    points_at,
    random_map,
)
from radwright.evidence.phantom_truth import UsualPlaces, masks_of, spoken_of
from radwright.evidence.sentences import with_drafts
from radwright.text.sentences import TokenSentence
from radwright.types import Batch
from tiny import Ids
from trrg_toy import toy_batch

SIDE = 64


def disc(row: float, column: float, radius: float, side: int = SIDE) -> Any:
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(rows - row, columns - column) <= radius


@pytest.mark.parametrize("mask", [disc(20, 40, 7), disc(0, 0, 12), disc(31, 31, 3) | disc(5, 60, 4)])
def test_a_random_map_scores_at_chance(mask: Any) -> None:
    hits = [points_at(random_map(SIDE, 1, f"m{number}")[0], mask) for number in range(6000)]
    error = np.std(hits) / np.sqrt(len(hits))
    assert np.mean(hits) == pytest.approx(mask.mean(), abs=4 * error)
    assert points_at(np.zeros((SIDE, SIDE)), mask) == pytest.approx(chance_of(mask))


def test_a_tolerance_is_a_wider_mask() -> None:
    mask = disc(20, 40, 7)
    assert chance_of(mask, tolerance_px=4) == pytest.approx(disc(20, 40, 11).mean(), rel=0.1)  # of whole pixels
    even = points_at(np.zeros((SIDE, SIDE)), mask, tolerance_px=4)
    assert even == pytest.approx(chance_of(mask, tolerance_px=4))
    beside = np.zeros((SIDE, SIDE))
    beside[20, 50] = 1.0
    assert points_at(beside, mask) == 0
    assert points_at(beside, mask, tolerance_px=2.9) == 0
    assert points_at(beside, mask, tolerance_px=3.0) == 1


@pytest.mark.parametrize("index", range(6))
def test_a_planted_perfect_map_scores_one(index: int) -> None:
    study = generate_study(PhantomConfig(), "test", index, override={"nodule": True, "effusion": True})
    for kind in ("nodule", "effusion"):
        for mask in masks_of([Finding(kind)], study, SIDE):
            if mask.any():
                soft = np.random.default_rng(index).random((SIDE, SIDE)) * 0.9 + mask
                assert points_at(soft, mask) == 1
                assert points_at(soft, mask, tolerance_px=4) == 1
                assert 0 < chance_of(mask) < 0.6


def test_maps_that_know_nothing() -> None:
    assert np.array_equal(random_map(SIDE, 2, "a"), random_map(SIDE, 2, "a"))
    assert not np.array_equal(random_map(SIDE, 2, "a"), random_map(SIDE, 2, "b"))
    assert random_map(30, 2, "a").shape == (2, 30, 30)
    centre = centre_map(SIDE, 2)[1]
    assert centre[31, 31] == centre[32, 32] == centre.max()
    assert centre[0, 0] == centre.min()


def test_thin_masks_survive_a_smaller_size() -> None:
    line = np.zeros((128, 128), bool)
    line[:, 77] = True
    small = mask_at(line, 50)
    assert small.any(1).all()
    assert small.sum() <= 2 * 50
    assert mask_at(line, 128) is line
    assert not mask_at(np.zeros((128, 128), bool), 50).any()


class CountsPixels:
    """log p(token 5) falls by 1 for every pixel of the mask that is no longer as it was."""

    def __init__(self, batch: Batch, mask: Any) -> None:
        self.images, self.mask = batch.images_BV1SS[0], torch.from_numpy(mask)
        self.most_at_once = 0

    def logits(self, batch: Batch) -> Tensor:
        self.most_at_once = max(self.most_at_once, len(batch))
        changed = ((batch.images_BV1SS - self.images).abs() > 0)[:, :, 0] & self.mask
        wanted = -0.5 - changed.flatten(1).sum(1).double()
        logits = torch.full((len(batch), batch.token_ids_BT.shape[1] - 1, 23), -1e9, dtype=torch.float64)  # type: ignore[union-attr]
        logits[:, :, 5] = wanted[:, None]
        logits[:, :, 6] = (-torch.expm1(wanted)).log()[:, None]
        return logits


def test_a_deletion_curve_counts_what_is_gone() -> None:
    batch = with_drafts(toy_batch([0], num_views=3), [[5, 5, 6]], Ids())
    mask = np.zeros((3, 32, 32), bool)
    mask[0, 4:12, 4:12] = mask[1, 16:20, 8:24] = True
    model: Any = CountsPixels(batch, mask)
    sentences = (TokenSentence("a", 0, 1), TokenSentence("b", 1, 2))
    # The third view is padding: nothing of it is deleted, and nothing of it counts.
    perfect = mask + 0.0
    perfect[2] = 9.0
    maps = {(0, "perfect"): perfect, (1, "worst"): -perfect, (1, "flat"): np.zeros((3, 32, 32))}
    curves = deletion_curves(model, batch, sentences, maps, num_steps=16, batch_size=5)
    assert model.most_at_once == 5
    total = 128
    assert all(curve[0] == 0 and curve[-1] == pytest.approx(total) for curve in curves.values())
    assert curves[0, "perfect"][1] == pytest.approx(total)  # 128 of 2048 pixels are the first sixteenth
    assert curves[1, "worst"][-2] == pytest.approx(0)
    flat = curves[1, "flat"]
    assert np.allclose(flat, np.linspace(0, total, 17), atol=14)
    areas = [curve_area(curve) for curve in (curves[0, "perfect"], flat, curves[1, "worst"])]
    assert areas[0] == pytest.approx(total * (1 - 1 / 32))
    assert areas[1] == pytest.approx(total / 2, rel=0.1)
    assert areas[2] == pytest.approx(total / 32)
    again = deletion_curves(model, batch, sentences, {(1, "flat"): maps[1, "flat"]}, num_steps=16, batch_size=64)
    assert np.array_equal(again[1, "flat"], flat)


def test_what_a_sentence_speaks_of() -> None:
    study = generate_study(PhantomConfig(), "test", 0, override={"nodule": True, "fracture": False})
    shown, fabricated = spoken_of("There is a nodule and a displaced rib fracture. No effusion.", study)
    assert [finding.kind for finding in shown] == ["nodule"]
    assert [finding.kind for finding in fabricated] == ["fracture"]
    assert spoken_of("No nodule.", study) == ([], [])


def test_usual_places_know_the_side() -> None:
    usual = UsualPlaces(PhantomConfig(), SIDE)
    left, right = (usual.of([Finding("effusion", side)]) for side in ("left", "right"))  # type: ignore[arg-type]
    assert left.shape == (2, SIDE, SIDE)
    assert 0 <= left.min() <= left.max() <= 1
    half = SIDE // 2  # a frontal view shows the right side at the image's left
    assert left[0, :, half:].sum() > 3 * left[0, :, :half].sum()
    assert right[0, :, :half].sum() > 3 * right[0, :, half:].sum()
