"""What goes wrong with radiographs on their way to a network, each by an amount; by the amount 0 nothing, to the bit.

What happens to a file (a cut edge, MONOCHROME1 read as MONOCHROME2) is done to its own pixels before they are scaled.
What happens at the patient and the detector is done to the radiograph at the network's resolution, before padding: an
amount then means the same for a file of 256 and of 3,000 pixels, and the padding, which nothing exposed, stays clean.
The result has the file's bit depth again. Draws are keyed by (seed, study, view) and not by the amount, so that a
larger amount is the same accident, only worse.

Shape legend: H, W the radiograph's height and width in pixels; S side of the network's square.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from radwright.imaging.config import ImageConfig
from radwright.imaging.decode import Pixels
from radwright.imaging.pixels import decode_to_fit, pad, resize

Unit = npt.NDArray[np.float32]
"""A radiograph (H, W) in [0, 1]; 0 is black, bright is dense."""
Random = np.random.Generator

VERSION = 1
"""Raised with every change that can change a pixel: drafts of another version are not gone on with."""
LATITUDE = 100.0
"""Ratio of the exposures that show as black and as white: two decades, as a chest radiograph's display covers."""
_KERNEL_SIGMAS = 8


def blur(unit_HW: Unit, amount: float, random: Random) -> Unit:
    """Motion and defocus: a Gaussian whose sigma is ``amount`` times the radiograph's longer side.

    The kernel is the discrete Gaussian (Lindeberg 1990), whose variance is sigma squared below a pixel too.
    """
    sigma_px = amount * max(unit_HW.shape)
    reach = math.ceil(_KERNEL_SIGMAS * sigma_px)
    size = 2 * reach + 1
    response = np.exp(sigma_px**2 * (np.cos(2 * np.pi * np.arange(reach + 1) / size) - 1))
    kernel = np.roll(np.fft.irfft(response, size), reach) if reach else np.ones(1)
    for axis in (0, 1):
        around = [(reach, reach) if axis == each else (0, 0) for each in (0, 1)]
        shifted = np.lib.stride_tricks.sliding_window_view(np.pad(unit_HW, around, mode="edge"), size, axis=axis)
        unit_HW = (shifted @ kernel).astype(np.float32)
    return unit_HW


def add_noise(unit_HW: Unit, amount: float, random: Random) -> Unit:
    """Electronic noise: white, Gaussian, the same everywhere, with a standard deviation of ``amount``."""
    return (unit_HW + amount * random.standard_normal(unit_HW.shape, dtype=np.float32)).astype(np.float32)


def lower_dose(unit_HW: Unit, amount: float, random: Random) -> Unit:
    """Quantum noise: counted quanta are Poisson, so the dense parts, which let few through, suffer most.

    A display value x stands for the exposure E(x) = LATITUDE ** -x (bright is dense). A pixel at half brightness counts
    1 / amount ** 2 quanta, others in proportion to E; what is counted is turned back into a display value. So the
    signal-to-noise ratio of the exposure is 1 / amount at half brightness, 3.2 / amount in black, .3 / amount in white.
    """
    if not amount:
        return unit_HW
    quanta, range_ = amount**-2, math.log(LATITUDE)
    counted = random.poisson(quanta * np.exp(range_ * (0.5 - unit_HW.astype(np.float64))))
    # A pixel that counts nothing has no logarithm: half a quantum stands for it.
    return (0.5 - np.log(np.maximum(counted, 0.5) / quanta) / range_).astype(np.float32)


def lose_contrast(unit_HW: Unit, amount: float, random: Random) -> Unit:
    """Scatter, or a wrong window: the share ``amount`` of every value's distance from the radiograph's mean is lost."""
    faded_HW: Unit = np.float32(1 - amount) * unit_HW + np.float32(amount) * unit_HW.mean()
    return faded_HW


def rotate(unit_HW: Unit, amount: float, random: Random) -> Unit:
    """A patient who leans: ``amount`` degrees about the centre, to a side drawn at random; what comes in is black."""
    angle = amount if random.random() < 0.5 else -amount
    return np.asarray(Image.fromarray(unit_HW).rotate(angle, Image.Resampling.BILINEAR), dtype=np.float32)


def crop(pixels_HW: Pixels, amount: float, random: Random) -> Pixels:
    """A radiograph whose edges were cut off: the share ``amount`` of its height and width, shared out at random."""
    bottom, right = pixels_HW.shape
    height, width = max(1, round((1 - amount) * bottom)), max(1, round((1 - amount) * right))
    top, left = math.floor(random.random() * (bottom - height + 1)), math.floor(random.random() * (right - width + 1))
    return pixels_HW[top : top + height, left : left + width]


def invert(pixels_HW: Pixels, amount: float, random: Random) -> Pixels:
    """MONOCHROME1 that nobody noticed: with an ``amount`` of 1 black is white. Twice inverted is the image itself."""
    return np.iinfo(pixels_HW.dtype).max - pixels_HW if amount else pixels_HW


def _as_it_is(image: npt.NDArray[np.generic], amount: float, random: Random) -> npt.NDArray[np.generic]:
    return image


@dataclass(frozen=True, slots=True)
class Degradation:
    """One kind of accident.

    Attributes:
        meaning: what it is, for a reader of the table.
        unit: what an amount counts, for the same.
        levels: amounts to try, growing.
        most: the largest amount that makes sense.
        of_file: change of the file's pixels (H, W), before they are scaled.
        of_radiograph: change of the scaled radiograph in [0, 1]; values beyond are clipped afterwards.
    """

    meaning: str
    unit: str
    levels: tuple[float, ...]
    most: float
    of_file: Callable[..., Pixels] = _as_it_is  # type: ignore[assignment]
    of_radiograph: Callable[..., Unit] = _as_it_is  # type: ignore[assignment]


DEGRADATIONS: Mapping[str, Degradation] = {
    "blur": Degradation(
        "motion, defocus", "sigma, share of the longer side", (0.005, 0.01, 0.02), 0.5, of_radiograph=blur
    ),
    "noise": Degradation(
        "electronic noise", "standard deviation, share of full scale", (0.02, 0.05, 0.1), 1, of_radiograph=add_noise
    ),
    "low_dose": Degradation(
        "quantum noise", "noise to signal at half brightness", (0.05, 0.1, 0.2), 1, of_radiograph=lower_dose
    ),
    "contrast": Degradation(
        "scatter, a wrong window", "share of the contrast lost", (0.25, 0.5, 0.75), 1, of_radiograph=lose_contrast
    ),
    "rotation": Degradation("a patient who leans", "degrees", (5, 10, 20), 180, of_radiograph=rotate),
    "crop": Degradation("edges cut off", "share of each side", (0.05, 0.1, 0.2), 0.9, of_file=crop),
    "inversion": Degradation("MONOCHROME1 unnoticed", "1: black is white", (1,), 1, of_file=invert),
}


def degraded_pixels(
    data: bytes,
    config: ImageConfig,
    degradation: Degradation,
    amount: float,
    *,
    key: str,
    name: str,
    original_size: tuple[int, int] | None = None,
) -> Pixels:
    """``image_pixels`` of an image with which something went wrong; by an amount of 0 it is the same to the bit.

    Args:
        data, config, name, original_size: as for ``image_pixels``, with the same errors.
        degradation: what went wrong.
        amount: how far, 0 to ``degradation.most``.
        key: what the draws depend on: seed, study and view.

    Returns:
        (S, S) uint8 or uint16, as ``image_pixels`` gives.
    """
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(f"degradation/{key}".encode()).digest()[:16], "big"))
    gray, fitted = decode_to_fit(data, config, name=name, original_size=original_size)
    scaled = resize(degradation.of_file(gray, amount, random), fitted)
    full_scale = np.iinfo(scaled.dtype).max
    unit_HW = scaled.astype(np.float32) / np.float32(full_scale)
    changed_HW = degradation.of_radiograph(unit_HW, amount, random)
    return pad(np.rint(np.clip(changed_HW, 0, 1) * np.float32(full_scale)).astype(scaled.dtype), config)
