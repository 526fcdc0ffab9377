"""Degradations: nothing by an amount of 0, and by any other what is stated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from radwright.errors import ImageError
from radwright.imaging.config import ImageConfig
from radwright.imaging.decode import Pixels
from radwright.imaging.degradation import (
    DEGRADATIONS,
    LATITUDE,
    add_noise,
    blur,
    crop,
    degraded_pixels,
    invert,
    lose_contrast,
    lower_dose,
    rotate,
)
from radwright.imaging.pixels import image_pixels

CONFIG = ImageConfig(size_px=64)


def random(number: int = 0) -> np.random.Generator:
    return np.random.default_rng(number)


def degraded(data: bytes, name: str, amount: float, *, key: str = "a", config: ImageConfig = CONFIG) -> Pixels:
    return degraded_pixels(data, config, DEGRADATIONS[name], amount, key=key, name="x")


@pytest.mark.parametrize("name", DEGRADATIONS)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "16 bit"])
@pytest.mark.parametrize("keep_aspect", [True, False])
def test_by_an_amount_of_0_nothing_changes(
    name: str, kind: str, keep_aspect: bool, picture: npt.NDArray[np.uint8], encode: Any
) -> None:
    data = encode(picture.astype(np.uint16) * 251 + 3) if kind == "16 bit" else encode(picture, kind)
    config = ImageConfig(size_px=64, keep_aspect=keep_aspect, padding=0.3)
    same, whole = degraded(data, name, 0, config=config), image_pixels(data, config, name="x")
    assert same.dtype == whole.dtype == (np.uint16 if kind == "16 bit" else np.uint8)
    assert np.array_equal(same, whole)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_every_level_changes_the_radiograph_but_not_the_padding(
    name: str, picture: npt.NDArray[np.uint8], encode: Any
) -> None:
    data, config = encode(picture), ImageConfig(size_px=64, padding=0.5)
    clean = image_pixels(data, config, name="x").astype(float)
    inside = slice(11, -11)  # 200 x 300 fits into 43 x 64
    distances = []
    for amount in DEGRADATIONS[name].levels:
        found = degraded(data, name, amount, config=config)
        assert (found[:, :10] == 128).all()
        assert (found[:, -10:] == 128).all()
        distances.append(np.abs(found[:, inside] - clean[:, inside]).mean())
    assert distances[0] > 0
    assert distances == sorted(distances)


def test_draws_depend_on_the_key_alone(picture: npt.NDArray[np.uint8], encode: Any) -> None:
    data = encode(picture)
    for name in ("noise", "low_dose", "crop", "rotation"):
        level = DEGRADATIONS[name].levels[-1]
        first = degraded(data, name, level)
        assert np.array_equal(first, degraded(data, name, level))
        others = [degraded(data, name, level, key=str(number)) for number in range(4)]
        assert any(not np.array_equal(first, other) for other in others), name


def test_a_larger_amount_is_the_same_accident_only_worse() -> None:
    gray = np.full((50, 40), 0.5, np.float32)
    weak, strong = (add_noise(gray, amount, random()) - gray for amount in (0.02, 0.06))
    assert np.allclose(3 * weak, strong, atol=1e-6)
    weak, strong = (rotate(np.eye(41, dtype=np.float32), amount, random(1)) for amount in (5, 10))
    again = rotate(np.eye(41, dtype=np.float32), 5, random(1))
    assert np.array_equal(weak, again)
    assert not np.array_equal(weak, strong)


@pytest.mark.parametrize("amount", [0.02, 0.05, 0.1])
def test_noise_has_the_stated_standard_deviation(amount: float) -> None:
    noise = add_noise(np.full((300, 300), 0.5, np.float32), amount, random()) - 0.5
    assert noise.std() == pytest.approx(amount, rel=0.02)
    assert abs(noise.mean()) < 4 * amount / 300


@pytest.mark.parametrize("amount", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("brightness", [0.25, 0.5, 0.75])
def test_low_dose_has_the_stated_signal_to_noise(amount: float, brightness: float) -> None:
    seen = lower_dose(np.full((300, 300), brightness, np.float32), amount, random()).astype(np.float64)
    exposure = LATITUDE ** (0.5 - seen)
    stated = LATITUDE ** ((0.5 - brightness) / 2) / amount
    assert exposure.mean() / exposure.std() == pytest.approx(stated, rel=0.02)
    assert exposure.mean() == pytest.approx(LATITUDE ** (0.5 - brightness), rel=5e-3)


def test_dense_parts_are_noisier_at_a_low_dose_and_none_is_without_a_number() -> None:
    black, white = (lower_dose(np.full((99, 99), x, np.float32), 0.1, random()) for x in (0.0, 1.0))
    assert white.std() == pytest.approx(math.sqrt(LATITUDE) * black.std(), rel=0.3)
    assert np.isfinite(lower_dose(np.ones((99, 99), np.float32), 1, random())).all()


@pytest.mark.parametrize("sigma_px", [0.3, 1.0, 2.5])
def test_blur_spreads_a_point_by_the_stated_sigma_and_loses_no_light(sigma_px: float) -> None:
    point = np.zeros((81, 81), np.float32)
    point[40, 40] = 1
    spread = blur(point, sigma_px / 81, random()).astype(np.float64)
    rows, columns = np.mgrid[0:81, 0:81] - 40
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    for offsets in (rows, columns):
        assert (spread * offsets).sum() == pytest.approx(0, abs=1e-5)
        assert (spread * offsets**2).sum() == pytest.approx(sigma_px**2, rel=1e-3)
    flat = np.full((30, 20), 0.7, np.float32)
    assert np.allclose(blur(flat, 0.1, random()), flat, atol=1e-6)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_twice_inverted_is_the_image_itself(depth: type) -> None:
    pixels = random().integers(0, np.iinfo(depth).max, (20, 30), endpoint=True).astype(depth)
    once = invert(pixels, 1, random())
    assert not np.array_equal(once, pixels)
    assert np.array_equal(invert(once, 1, random()), pixels)


def test_inversion_does_not_reach_the_padding(picture: npt.NDArray[np.uint8], encode: Any) -> None:
    found, clean = degraded(encode(picture), "inversion", 1), image_pixels(encode(picture), CONFIG, name="x")
    assert not found[:, :10].any()
    assert np.abs(found[:, 12:52].astype(int) + clean[:, 12:52] - 255).max() <= 1


def test_crop_keeps_a_window_of_the_stated_size_and_the_aspect() -> None:
    pixels = np.arange(200 * 100, dtype=np.uint16).reshape(200, 100)
    places = set()
    for number in range(20):
        kept = crop(pixels, 0.2, random(number))
        assert kept.shape == (160, 80)
        top, left = divmod(int(kept[0, 0]), 100)
        assert np.array_equal(kept, pixels[top : top + 160, left : left + 80])
        places.add((top, left))
    assert len(places) > 10
    assert crop(pixels[:1, :1], 0.9, random()).shape == (1, 1)


def test_rotation_goes_both_ways_and_keeps_the_middle() -> None:
    bar = np.zeros((61, 61), np.float32)
    bar[30, 5:56] = 1
    ends = set()
    for number in range(20):
        turned = rotate(bar, 20, random(number))
        assert turned[30, 30] > 0.5
        ends.add(bool(turned[:25, 45:].sum() > turned[36:, 45:].sum()))
    assert ends == {True, False}


def test_contrast_is_lost_about_the_mean() -> None:
    image = random().random((40, 30), dtype=np.float32)
    faded = lose_contrast(image, 0.75, random())
    assert faded.std() == pytest.approx(0.25 * image.std(), rel=1e-4)
    assert faded.mean() == pytest.approx(image.mean(), rel=1e-4)


def test_what_cannot_be_decoded_says_so(picture: npt.NDArray[np.uint8], encode: Any) -> None:
    for data in (b"", b"no image", encode(picture)[:200]):
        with pytest.raises(ImageError, match="x: "):
            degraded(data, "blur", 0.01)
