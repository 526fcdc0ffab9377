"""From attenuation to the radiograph: scatter, quantum noise, the film's curve, and the number of bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from radwright.data.phantom.shapes import Array
from radwright.data.phantom.streams import Stream


@dataclass(frozen=True, slots=True)
class Exposure:
    """How one study was taken; drawn without regard to its findings.

    Attributes:
        quanta: X-ray quanta per pixel without a patient; fewer are noisier.
        scatter: fraction of quanta that reach every pixel whatever is before it.
        brightness: shift of the film's curve, in units of L.
        latitude: width of the film's curve, in units of L; smaller is more contrast.
        heel: slope of the exposure across the image (the tube's heel effect).
        blur: a of the detector's kernel [a, 1 - 2a, a].
    """

    quanta: float
    scatter: float
    brightness: float
    latitude: float
    heel: float
    blur: float


def draw_exposure(stream: Stream) -> Exposure:
    """Draw how a study is taken."""
    return Exposure(
        quanta=1500 * 4 ** stream.unit(),
        scatter=stream.uniform(0.015, 0.04),
        brightness=stream.bell(-0.05, 0.40),
        latitude=stream.bell(0.78, 0.14),
        heel=stream.bell(0, 0.12),
        blur=stream.uniform(0.06, 0.16),
    )


def develop(total_VSS: Array, exposure: Exposure, noise_VSS: Array, x_S: Array, bits: int) -> npt.NDArray[Any]:
    """Line integrals of attenuation (V, S, S) -> pixels, bone white, uint8 or uint16. Every pixel by itself.

    I = exp(-L) + scatter; the detector counts quanta with standard deviation sqrt(I quanta), so L is measured with an
    error of standard deviation 1 / sqrt(I quanta); the film answers 1 / (1 + exp(-(L - c) / w)).
    """
    intensity = np.exp(-total_VSS)
    intensity += np.float32(exposure.scatter)
    measured = noise_VSS / np.sqrt(intensity * np.float32(exposure.quanta))
    measured -= np.log(intensity)
    measured += np.float32(exposure.heel) * x_S - np.float32(1.85 + exposure.brightness)
    measured *= np.float32(0.5 / exposure.latitude)
    np.tanh(measured, out=measured)  # 1 / (1 + exp(-2 z)) = (1 + tanh z) / 2
    top = np.float32(2**bits - 1)
    measured += 1
    measured *= top / 2
    measured += np.float32(0.5)
    return measured.astype(np.uint8 if bits == 8 else np.uint16)
