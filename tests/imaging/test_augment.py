"""Augmentation: keyed draws, no flip, nothing at strength zero."""

from __future__ import annotations

import numpy as np
import pytest

from radwright.imaging.augment import AugmentationConfig, Draw, augment, draw

NOTHING = AugmentationConfig(rotation_deg=0, shift=0, scale=0, gain=0, gamma=0)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_strength_zero_changes_nothing(depth: type) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(depth).max, (40, 40)).astype(depth)
    change = draw(NOTHING, seed=1, epoch=2, study_id="a")
    same = augment(pixels, change, padding=0)
    assert np.array_equal(same, pixels.astype(np.float32) / np.float32(np.iinfo(depth).max))


def test_draws_are_a_function_of_seed_epoch_and_study() -> None:
    config = AugmentationConfig()
    first = draw(config, seed=1, epoch=2, study_id="a")
    assert first == draw(config, seed=1, epoch=2, study_id="a")
    others = [draw(config, seed=s, epoch=e, study_id=i) for s, e, i in ((2, 2, "a"), (1, 3, "a"), (1, 2, "b"))]
    assert all(other != first for other in others)


def test_draws_fill_their_ranges_evenly() -> None:
    config = AugmentationConfig(rotation_deg=10, shift=0.1)
    angles = np.degrees([draw(config, seed=0, epoch=0, study_id=str(k)).angle for k in range(2000)])
    assert np.abs(angles).max() <= 10
    assert np.histogram(angles, bins=4, range=(-10, 10))[0].min() > 400


def test_shift_and_rotation_go_the_stated_way() -> None:
    pixels = np.zeros((41, 41), np.uint8)
    pixels[20, 30] = 255
    moved = augment(pixels, Draw(0, 5 / 41, 2 / 41, 1, 1, 1), padding=0)
    assert np.unravel_index(moved.argmax(), moved.shape) == (22, 35)
    turned = augment(pixels, Draw(np.pi / 2, 0, 0, 1, 1, 1), padding=0)
    row, column = np.unravel_index(turned.argmax(), turned.shape)
    assert abs(row - 10) <= 1
    assert abs(column - 20) <= 1
    larger = augment(pixels, Draw(0, 0, 0, 1.5, 1, 1), padding=0)
    assert abs(int(larger.argmax() % 41) - 35) <= 1


def test_no_draw_mirrors() -> None:
    left = np.zeros((64, 64), np.uint8)
    left[:, :20] = 200
    for number in range(200):
        seen = augment(left, draw(AugmentationConfig(), seed=0, epoch=0, study_id=str(number)), padding=0)
        assert seen[:, :32].mean() > 4 * seen[:, 32:].mean()
        assert seen.min() >= 0
        assert seen.max() <= 1


def test_gain_and_gamma_keep_black_black() -> None:
    assert not augment(np.zeros((8, 8), np.uint8), Draw(0, 0, 0, 1, 1.1, 0.9), padding=0).any()
