"""What a viewer needs behind its window: the values of an image before any window, and the window it starts with.

The network never sees these: ``decode`` alone leads to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from radwright.imaging.decode import Encoded, Pixels, decode


@dataclass(frozen=True, slots=True)
class Window:
    """A window in the units of the file.

    Attributes:
        center, width: as the header names them where it names a linear window.
        function: LINEAR reaches from ``center - width / 2`` to ``center + width / 2 - 1`` (PS3.3 C.11.2.1.2.1),
            LINEAR_EXACT from ``center - width / 2`` to ``center + width / 2``.
    """

    center: float
    width: float
    function: Literal["LINEAR", "LINEAR_EXACT"] = "LINEAR_EXACT"

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value that it tells apart."""
        one = 1 if self.function == "LINEAR" else 0
        middle, half = self.center - one / 2, max(self.width - one, 0) / 2
        return middle - half, middle + half


@dataclass(frozen=True, slots=True)
class ModalityValues:
    """Gray values before a window, bright is dense.

    Attributes:
        pixels: (height, width) uint8 or uint16.
        slope, intercept: the value in the file's units is pixel * slope + intercept. Where small values are bright
            (MONOCHROME1) the slope is negative: the pixels are turned over, the numbers stay the file's.
        window: what the image is first shown through; None where the file names nothing and a viewer chooses.
    """

    pixels: Pixels
    slope: float = 1.0
    intercept: float = 0.0
    window: Window | None = None


def modality_values(encoded: Encoded, *, at_least: tuple[int, int] | None = None) -> ModalityValues:
    """Decode to the values that a viewer puts its window on; arguments and errors are those of ``decode``."""
    if encoded.kind == "DICOM":
        from radwright.imaging import dicom

        return dicom.modality_values(encoded.data, name=encoded.name)
    return ModalityValues(decode(encoded, at_least=at_least))
