"""DICOM bytes -> display pixels: stored values -> modality rescale -> VOI window -> inverted where MONOCHROME1.

Single-frame gray images only. The only file that imports pydicom and gdcm (extra ``dicom``).
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from radwright.errors import ImageError, RadwrightError, require
from radwright.imaging.decode import Pixels
from radwright.imaging.positions import view_position
from radwright.types import ViewPosition

_DEFLATED = b"1.2.840.10008.1.2.1.99"


def probe_dicom(data: bytes, *, name: str) -> tuple[int, int]:
    """(width, height) of a DICOM image, from its header.

    Raises:
        ImageError: damaged, without pixels, colour, or several frames.
        MissingExtraError: the ``dicom`` extra is not installed.
    """
    dataset = _read(data, name, pixels=False)
    channels, frames = _number(dataset, "SamplesPerPixel", 1), _number(dataset, "NumberOfFrames", 1)
    if channels != 1:
        raise ImageError(f"{name}: is a DICOM colour image ({channels:.0f} samples per pixel); a radiograph is gray")
    if frames > 1:
        raise ImageError(f"{name}: has {frames:.0f} frames; one radiograph per file is expected")
    width, height = _number(dataset, "Columns", 0), _number(dataset, "Rows", 0)
    if not (width and height):
        raise ImageError(f"{name}: has no image in it (no Rows and Columns)")
    return int(width), int(height)


def decode_dicom(data: bytes, *, name: str) -> Pixels:
    """The pixels as a viewer would show them first, bright is dense.

    Source: DICOM PS3.3 C.11.1 (modality), C.11.2 (VOI: LINEAR, LINEAR_EXACT, SIGMOID, or a lookup table; the first of
    several), C.7.6.3.1.2 (photometric interpretation). Without a usable window, 8-bit images keep their values and
    deeper ones are stretched from their smallest to their largest value (ours).

    Returns:
        (height, width) uint8 where 8 bits or fewer are stored and nothing rescales them, otherwise uint16, full range.

    Raises:
        ImageError: the pixels are missing, truncated, or in an encoding that cannot be read.
    """
    dataset = _read(data, name, pixels=True)
    stored = _stored_values(dataset, name)
    inverted = str(getattr(dataset, "PhotometricInterpretation", "MONOCHROME2")).strip().upper() == "MONOCHROME1"
    try:
        shown = _shown(dataset, stored)
    except RadwrightError:
        raise
    except Exception as error:  # malformed tags raise anything in pydicom
        raise ImageError(f"{name}: its window or lookup table cannot be applied: {error}") from error
    if inverted:
        shown = np.iinfo(shown.dtype).max - shown
    return shown


def dicom_position(data: bytes, *, name: str) -> ViewPosition:
    """Frontal or lateral by the tags ViewPosition and SeriesDescription; unknown where they do not say.

    Raises:
        ImageError: damaged.
    """
    dataset = _read(data, name, pixels=False)
    position = view_position(str(dataset.get("ViewPosition", "") or ""))
    return position if position != "unknown" else view_position(str(dataset.get("SeriesDescription", "") or ""))


def dicom_facts(data: bytes, *, name: str) -> dict[str, str]:
    """What the tags say of patient and scanner: ``sex``, ``age``, ``scanner``, each only where it is there.

    Raises:
        ImageError: damaged.
    """
    dataset = _read(data, name, pixels=False)

    def text(keyword: str) -> str:
        return " ".join(str(dataset.get(keyword, "") or "").split())

    maker, model = text("Manufacturer"), text("ManufacturerModelName")
    scanner = model if maker.lower() in model.lower() else f"{maker} {model}".strip()
    facts = {"sex": text("PatientSex"), "age": text("PatientAge"), "scanner": scanner}
    return {key: value for key, value in facts.items() if value}


def _read(data: bytes, name: str, *, pixels: bool) -> Any:
    pydicom = require("pydicom", extra="dicom")
    # Inflating is done whole by the reader, so a small deflated file could fill the memory.
    if _DEFLATED in data[:2048]:
        raise ImageError(f"{name}: is a deflated DICOM file; rewrite it with another transfer syntax")
    try:
        return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=not pixels)
    except Exception as error:  # malformed files raise anything in pydicom
        raise ImageError(f"{name}: is no readable DICOM file, or truncated: {error}") from error


def _stored_values(dataset: Any, name: str) -> npt.NDArray[Any]:
    """The decoded stored values (height, width), of an integer type."""
    if "PixelData" not in dataset:
        raise ImageError(f"{name}: has no image in it (no PixelData)")
    if "PhotometricInterpretation" not in dataset:
        dataset.PhotometricInterpretation = "MONOCHROME2"
    if "BitsStored" not in dataset:
        dataset.BitsStored = dataset.get("BitsAllocated", 16)
    try:
        stored = np.asarray(dataset.pixel_array)
    except Exception as error:  # the decoders behind pydicom raise anything on damaged pixels
        if "gdcm" in str(error).lower() and "install" in str(error).lower():
            require("gdcm", extra="dicom")
        raise ImageError(f"{name}: its pixels cannot be decoded, they are truncated or damaged: {error}") from error
    if stored.ndim != 2:
        raise ImageError(f"{name}: its pixels have shape {stored.shape}; one gray image is expected")
    return stored


def _shown(dataset: Any, stored: npt.NDArray[Any]) -> Pixels:
    bits = int(_number(dataset, "BitsStored", 16))
    signed = bool(_number(dataset, "PixelRepresentation", 0))
    values = _modality_values(dataset, stored)
    windowed = _windowed(dataset, values)
    if windowed is not None:
        return windowed
    if bits <= 8 and not signed and values is stored:
        return np.asarray(stored.clip(0, 2**bits - 1) * (255 // (2**bits - 1)), dtype=np.uint8)
    low, high = _range(dataset, stored, values)
    return _stretch(values, low, high)


def _modality_values(dataset: Any, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Stored values through the modality table, or slope and intercept; ``stored`` itself where they change nothing."""
    table = dataset.get("ModalityLUTSequence")
    if table:
        return _looked_up(table[0], stored)[0]
    slope, intercept = _number(dataset, "RescaleSlope", 1.0), _number(dataset, "RescaleIntercept", 0.0)
    if (slope, intercept) == (1.0, 0.0) or slope == 0 or not np.isfinite([slope, intercept]).all():
        return stored
    return np.asarray(stored.astype(np.float64) * slope + intercept)


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


def _windowed(dataset: Any, values: npt.NDArray[Any]) -> npt.NDArray[np.uint16] | None:
    """Values through the first VOI lookup table or window; None where there is none that leaves a picture."""
    table = dataset.get("VOILUTSequence")
    if table:
        looked_up, full_scale = _looked_up(table[0], values)
        return _if_picture(_stretch(looked_up, 0, full_scale))
    center, width = _number(dataset, "WindowCenter", None), _number(dataset, "WindowWidth", None)
    if center is None or width is None or not np.isfinite([center, width]).all() or width < 1:
        return None
    function = str(dataset.get("VOILUTFunction", "LINEAR") or "LINEAR").strip().upper()
    floats = values.astype(np.float64)
    if function == "SIGMOID":
        unit = 1 / (1 + np.exp(np.clip(-4 * (floats - center) / width, -60, 60)))
    elif function == "LINEAR_EXACT":
        unit = (floats - center) / width + 0.5
    else:
        unit = (floats - (center - 0.5)) / max(width - 1, 1e-6) + 0.5
    return _if_picture(_stretch(unit, 0, 1))


def _if_picture(shown: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16] | None:
    """None for a window that lies beside the values, so that everything would be one shade."""
    return shown if int(shown.min()) != int(shown.max()) else None


def _range(dataset: Any, stored: npt.NDArray[Any], values: npt.NDArray[Any]) -> tuple[float, float]:
    """Smallest and largest value, without the value that pads the image where the header names one."""
    padding = _number(dataset, "PixelPaddingValue", None)
    inside = values[stored != padding] if padding is not None else values
    inside = inside if inside.size else values
    return float(inside.min()), float(inside.max())


def _stretch(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint16]:
    """Map [low, high] to [0, 65535], clipped and rounded."""
    unit = (values.astype(np.float64) - low) / max(high - low, 1e-12)
    return np.asarray(np.rint(unit.clip(0, 1) * 65535), dtype=np.uint16)


def _number(dataset: Any, keyword: str, default: float | None) -> Any:
    """A numeric tag's (first) value, or the default where it is absent, empty or no number."""
    value = dataset.get(keyword)
    if value is not None and not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
        value = next(iter(value), None)
    try:
        return default if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        return default
