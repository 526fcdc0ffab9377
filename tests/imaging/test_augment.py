"""Augmentation: keyed draws, no flip, nothing at strength zero."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from radwright.imaging.augment import AugmentationConfig, Draw, draw
from radwright.imaging.tensor import augment

NOTHING = AugmentationConfig(rotation_deg=0, shift=0, scale=0, gain=0, gamma=0)


def changed(unit_SS: npt.NDArray[np.float32], change: Draw, *, padding: float = 0) -> npt.NDArray[np.float32]:
    """One view of one study, changed."""
    numbers = torch.tensor([change.numbers(padding)])
    return np.asarray(augment(torch.from_numpy(unit_SS)[None, None], numbers)[0, 0])


def picture(side: int) -> npt.NDArray[np.float32]:
    """A smooth picture, so that where it is sampled shows in its values."""
    down, across = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side), indexing="ij")
    return np.asarray(0.5 + 0.4 * np.sin(5 * across + 1) * np.cos(3 * down), dtype=np.float32)


def test_strength_zero_changes_nothing() -> None:
    unit = np.random.default_rng(0).random((224, 224), dtype=np.float32)
    same = changed(unit, draw(NOTHING, seed=1, epoch=2, study_id="a"), padding=0.3)
    assert np.abs(same - unit).max() < 1e-4


@pytest.mark.parametrize("padding", [0.0, 0.7])
def test_it_is_pillows_affine_transform_about_the_centre(padding: float) -> None:
    unit, side = picture(60), 60
    for number in range(20):
        change = draw(AugmentationConfig(rotation_deg=30, shift=0.2, scale=0.3), seed=0, epoch=0, study_id=str(number))
        cosine, sine = np.cos(change.angle) / change.scale, np.sin(change.angle) / change.scale
        x, y = side / 2 + change.shift_x * side, side / 2 + change.shift_y * side
        inverse = (cosine, -sine, side / 2 - cosine * x + sine * y, sine, cosine, side / 2 - sine * x - cosine * y)
        by_pillow = Image.fromarray(unit).transform(
            (side, side), Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR, fillcolor=padding
        )
        expected = np.clip(change.gain * np.asarray(by_pillow) ** change.gamma, 0, 1)
        off = np.abs(changed(unit, change, padding=padding) - expected)
        # Pillow does not blend the last half pixel with what is outside.
        assert np.quantile(off, 0.9) < 1e-3


def test_views_and_studies_do_not_touch_each_other() -> None:
    generator = torch.Generator().manual_seed(0)
    images_BVSS = torch.rand(3, 2, 32, 32, generator=generator)
    draws = [draw(AugmentationConfig(), seed=0, epoch=0, study_id=str(k)).numbers(0.1) for k in range(3)]
    together = augment(images_BVSS, torch.tensor(draws))
    for row in range(3):
        for view in range(2):
            alone = augment(images_BVSS[row : row + 1, view : view + 1], torch.tensor(draws[row : row + 1]))
            assert torch.equal(together[row, view], alone[0, 0])


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
    pixels = np.zeros((41, 41), np.float32)
    pixels[20, 30] = 1
    moved = changed(pixels, Draw(0, 5 / 41, 2 / 41, 1, 1, 1))
    assert np.unravel_index(moved.argmax(), moved.shape) == (22, 35)
    turned = changed(pixels, Draw(np.pi / 2, 0, 0, 1, 1, 1))
    row, column = np.unravel_index(turned.argmax(), turned.shape)
    assert abs(row - 10) <= 1
    assert abs(column - 20) <= 1
    larger = changed(pixels, Draw(0, 0, 0, 1.5, 1, 1))
    assert abs(int(larger.argmax() % 41) - 35) <= 1


def test_no_draw_mirrors() -> None:
    left = np.zeros((64, 64), np.float32)
    left[:, :20] = 0.8
    for number in range(200):
        seen = changed(left, draw(AugmentationConfig(), seed=0, epoch=0, study_id=str(number)))
        assert seen[:, :32].mean() > 4 * seen[:, 32:].mean()
        assert seen.min() >= 0
        assert seen.max() <= 1


def test_gain_and_gamma_keep_black_black() -> None:
    assert not changed(np.zeros((8, 8), np.float32), Draw(0, 0, 0, 1, 1.1, 0.9)).any()
