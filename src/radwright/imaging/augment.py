"""Small random changes of the training images that leave the report true: never a flip, never a crop.

A mirrored radiograph contradicts "left" and "right" in its report, and a crop can remove what the report describes.
All views of a study share one draw. Drawn here, made in ``radwright.imaging.tensor`` on the network's device: warping
takes a host longer than everything else that loading does with an image once it is decoded.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from pydantic import Field

from radwright.config import Config


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

    def numbers(self, padding: float) -> tuple[float, ...]:
        """A row of ``Batch.changes_B7``; ``padding`` is the brightness in [0, 1] of what comes in from outside."""
        return (self.angle, self.shift_x, self.shift_y, self.scale, self.gain, self.gamma, padding)


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
