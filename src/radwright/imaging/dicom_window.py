"""The values of a DICOM image by its header: modality rescale or table, then VOI window or table, then what is shown.

Works on datasets that ``dicom`` has read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from radwright.imaging.decode import Pixels
from radwright.imaging.dicom_tags import number_of
from radwright.imaging.modality import Window


@dataclass(frozen=True, slots=True)
class Shown:
    """Display values before inversion, the window that (nearly) leads to them, and whether large values are dark."""

    pixels: Pixels
    window: Window
    falls: bool = False


def modality_of(dataset: Any, stored: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], float, float]:
    """Whole numbers, slope and intercept of the modality's values; ``stored``, 1 and 0 where nothing changes them."""
    table = dataset.get("ModalityLUTSequence")
    if table:
        return _looked_up(table[0], stored)[0], 1.0, 0.0
    slope, intercept = number_of(dataset, "RescaleSlope", 1.0), number_of(dataset, "RescaleIntercept", 0.0)
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        return stored, 1.0, 0.0
    return stored, slope, intercept


def shown_of(dataset: Any, values: npt.NDArray[Any], inside: npt.NDArray[np.bool_], *, is_stored: bool) -> Shown:
    """What is shown of the modality's values; ``inside``: where the image is not padded."""
    bits = int(number_of(dataset, "BitsStored", 16))
    signed = bool(number_of(dataset, "PixelRepresentation", 0))
    windowed = _windowed(dataset, values, inside)
    if windowed is not None:
        return windowed
    if bits <= 8 and not signed and is_stored:
        largest = 2**bits - 1
        pixels = np.asarray(np.rint(values.clip(0, largest) * (255 / largest)), dtype=np.uint8)
        return Shown(pixels, Window(largest / 2, largest))
    low, high = float(values[inside].min()), float(values[inside].max())
    return Shown(_stretch(values, low, high), _between(low, high))


def _looked_up(table: Any, values: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], int]:
    """Values through a lookup table (PS3.3 C.11.1.1), and its largest possible entry.

    Values below the first or above the last entry get that entry. Eight-bit tables are met packed and in words.
    """
    num_entries, first, bits = (int(value) for value in table.LUTDescriptor)
    num_entries = num_entries or 65536
    if first > 32767 and values.min() < 0:
        first -= 65536
    raw = table.LUTData
    if isinstance(raw, bytes):
        entries = np.frombuffer(raw, np.uint8 if len(raw) < 2 * num_entries else "<u2")[:num_entries]
    else:
        entries = np.asarray(raw, dtype=np.int64)
    if entries.size == 0:
        raise ValueError("a lookup table without entries")
    place = np.clip(np.rint(values.astype(np.float64)) - first, 0, entries.size - 1).astype(np.int64)
    full_scale = max(2 ** min(16, max(8, bits)) - 1, int(entries.max()))
    return entries.astype(np.float64)[place], full_scale


def _windowed(dataset: Any, values: npt.NDArray[Any], inside: npt.NDArray[np.bool_]) -> Shown | None:
    """Values through the first VOI lookup table or window; None where there is none that leaves a picture."""
    table = dataset.get("VOILUTSequence")
    if table:
        looked_up, full_scale = _looked_up(table[0], values)
        pixels = _stretch(looked_up, 0, full_scale)
        window, falls = _range_of_table(values[inside], looked_up[inside] / full_scale)
        return _if_picture(Shown(pixels, window, falls), inside)
    center, width = number_of(dataset, "WindowCenter", None), number_of(dataset, "WindowWidth", None)
    if center is None or width is None or not np.isfinite([center, width]).all() or width <= 0:
        return None
    function = str(dataset.get("VOILUTFunction", "LINEAR") or "LINEAR").strip().upper()
    floats = values.astype(np.float64)
    window = Window(center, width)
    if function == "SIGMOID":
        unit = 1 / (1 + np.exp(np.clip(-4 * (floats - center) / width, -60, 60)))
        window = Window(center, width / 2 * math.log(0.99 / 0.01))
    elif function == "LINEAR_EXACT" or width < 1:
        # LINEAR is defined from a width of 1 on; narrower ones are met on rescaled values (optical density).
        unit = (floats - center) / width + 0.5
    else:
        unit = (floats - (center - 0.5)) / max(width - 1, 1e-6) + 0.5
        window = Window(center, width, "LINEAR")
    return _if_picture(Shown(_stretch(unit, 0, 1), window), inside)


def _range_of_table(values: npt.NDArray[Any], unit: npt.NDArray[np.float64]) -> tuple[Window, bool]:
    """The values that a table leads to between 1 % and 99 %, as a window, and whether it makes large ones dark."""
    falls = bool(unit[values.argmax()] < unit[values.argmin()])
    told_apart = values[(unit >= 0.01) & (unit <= 0.99)]
    some = told_apart if told_apart.size else values
    return _between(float(some.min()), float(some.max())), falls


def _between(low: float, high: float) -> Window:
    return Window((low + high) / 2, high - low)


def _if_picture(shown: Shown, inside: npt.NDArray[np.bool_]) -> Shown | None:
    """None for a window that lies beside the values, so that everything would be one shade."""
    pixels = shown.pixels[inside]
    return shown if int(pixels.min()) != int(pixels.max()) else None


def _stretch(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint16]:
    """Map [low, high] to [0, 65535], clipped and rounded."""
    unit = (values.astype(np.float64) - low) / max(high - low, 1e-12)
    return np.asarray(np.rint(unit.clip(0, 1) * 65535), dtype=np.uint16)
