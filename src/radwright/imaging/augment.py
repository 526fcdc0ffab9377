"""Small random changes of the training images that leave the report true: never a flip, never a crop.

A mirrored radiograph contradicts "left" and "right" in its report, and a crop can remove what the report describes.
All views of a study share one draw.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from radwright.config import Config
from radwright.imaging.decode import Pixels


class AugmentationConfig(Config):
    """How far training images are changed at random; each amount is the largest one, drawn uniformly."""

    rotation_deg: float = Field(default=5.0, ge=0, le=45)
    """Rotation either way, in degrees."""
    shift: float = Field(default=0.04, ge=0, le=0.5)
    """Shift in each direction, as a share of the image's side."""
    scale: float = Field(default=0.06, ge=0, lt=0.9)
    """Scaling up or down, as a share."""
    gain: float = Field(default=0.1, ge=0, lt=1)
    """Change of brightness by a factor; black stays black."""
    gamma: float = Field(default=0.15, ge=0, lt=1)
    """Change of the exponent of brightness, as a share."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One study's draw.

    Attributes:
        angle: rotation, radians, counter-clockwise.
        shift_x: to the right, share of the side.
        shift_y: downwards, share of the side.
        scale: factor.
        gain: factor of brightness.
        gamma: exponent of brightness.
    """

    angle: float
    shift_x: float
    shift_y: float
    scale: float
    gain: float
    gamma: float


def draw(config: AugmentationConfig, *, seed: int, epoch: int, study_id: str) -> Draw:
    """The draw of a study in an epoch: a function of (seed, epoch, study id), never of process, order or batch."""
    digest = hashlib.sha256(f"augmentation/{seed}/{epoch}/{study_id}".encode()).digest()
    units = [int.from_bytes(digest[4 * k : 4 * k + 4], "big") / 2**31 - 1 for k in range(6)]
    return Draw(
        angle=math.radians(config.rotation_deg * units[0]),
        shift_x=config.shift * units[1],
        shift_y=config.shift * units[2],
        scale=1 + config.scale * units[3],
        gain=1 + config.gain * units[4],
        gamma=1 + config.gamma * units[5],
    )


def augment(pixels_SS: Pixels, change: Draw, *, padding: float) -> npt.NDArray[np.float32]:
    """Apply one draw.

    Args:
        pixels_SS: uint8 or uint16, (S, S).
        change: the study's draw.
        padding: brightness in [0, 1] of what comes in from outside.

    Returns:
        Float32 (S, S) in [0, 1]: clip(gain * warped ** gamma).
    """
    full_scale = np.float32(np.iinfo(pixels_SS.dtype).max)
    image = Image.fromarray(pixels_SS if pixels_SS.dtype == np.uint8 else pixels_SS.astype(np.float32))
    warped = image.transform(
        image.size,
        Image.Transform.AFFINE,
        _inverse_affine(change, image.width),
        resample=Image.Resampling.BILINEAR,
        fillcolor=round(padding * float(full_scale)),
    )
    unit = np.asarray(warped, dtype=np.float32) / full_scale
    return np.asarray(np.clip(change.gain * unit**change.gamma, 0, 1), dtype=np.float32)


def _inverse_affine(change: Draw, side: int) -> tuple[float, float, float, float, float, float]:
    """Output pixel -> input pixel, about the centre: x_in = R(angle) (x_out - shift) / scale."""
    cosine, sine = math.cos(change.angle) / change.scale, math.sin(change.angle) / change.scale
    centre = side / 2
    x, y = centre + change.shift_x * side, centre + change.shift_y * side
    return (cosine, -sine, centre - cosine * x + sine * y, sine, cosine, centre - sine * x - cosine * y)
