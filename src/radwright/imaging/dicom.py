"""DICOM bytes -> display pixels: stored values -> modality rescale -> VOI window -> inverted where MONOCHROME1.

Single-frame gray images only. The only file that imports pydicom and gdcm (extra ``dicom``).
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from radwright.errors import DamagedImageError, ImageError, RadwrightError, require
from radwright.imaging.decode import Pixels
from radwright.imaging.dicom_tags import DicomHeader, header_of, number_of, pixel_aspect, texts_of
from radwright.imaging.dicom_window import Shown, modality_of, shown_of
from radwright.imaging.levels import Levels
from radwright.imaging.modality import ModalityValues

# What pydicom finds odd in a header is either met here or does not matter; a job over many files would drown in it.
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\.")
# Its log quotes the values themselves, which may name a patient.
logging.getLogger("pydicom").addFilter(lambda record: False)

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_ENDS_WITH_MARKER = frozenset(f"1.2.840.10008.1.2.4.{end}" for end in (50, 51, 57, 70))
"""Transfer syntaxes of the older JPEG standard."""

_LARGEST = 65535

_MOST_READS = 30_000
"""Steps in which a file may be read: up to three an element, one an item; real files need some hundreds."""


def import_libraries() -> None:
    """Import at once what is otherwise imported with the first image, where waiting then would be a nuisance.

    Raises:
        MissingExtraError: the ``dicom`` extra is not installed.
    """
    for module in ("pydicom", "pydicom.pixels", "pydicom.encaps", "gdcm"):
        require(module, extra="dicom")


def probe_dicom(data: bytes, *, name: str) -> tuple[int, int]:
    """(width, height) of a DICOM image, from its header: of the shape it has with square pixels.

    Raises:
        ImageError: damaged, without pixels, colour, several frames, or by its tags no chest radiograph.
        MissingExtraError: the ``dicom`` extra is not installed.
    """
    dataset = _read(io.BytesIO(data), name, pixels=False)
    if refusal := header_of(dataset).refusal:
        raise ImageError(f"{name}: {refusal}")
    channels, frames = number_of(dataset, "SamplesPerPixel", 1), number_of(dataset, "NumberOfFrames", 1)
    colours = (texts_of(dataset, ["PhotometricInterpretation"])["PhotometricInterpretation"] or "MONOCHROME2").upper()
    if channels != 1 or not colours.startswith("MONOCHROME"):
        raise ImageError(
            f"{name}: is a DICOM colour image (PhotometricInterpretation {colours}, {channels:.0f} samples per pixel); "
            "a radiograph is gray: leave it out, or export the gray original"
        )
    if frames > 1:
        raise ImageError(
            f"{name}: has {frames:.0f} frames; one radiograph per file is expected: leave it out, or export one frame"
        )
    width, height = number_of(dataset, "Columns", 0), number_of(dataset, "Rows", 0)
    if not (width and height):
        raise ImageError(f"{name}: has no image in it (no Rows and Columns)")
    aspect = pixel_aspect(dataset)
    return int(width), int(height) if aspect == 1 else max(1, round(height * aspect))


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
    view = _view(data, name)
    shown = view.shown.pixels
    if view.inverted:
        shown = np.iinfo(shown.dtype).max - shown
    shown[view.padding] = 0
    return view.levels.paint(shown)


def modality_values(data: bytes, *, name: str) -> ModalityValues:
    """The values before the VOI window, bright is dense, and the window through which ``decode_dicom`` shows them.

    Through a linear window, or none, the first picture is that of ``decode_dicom``. Of a SIGMOID or a lookup table the
    window is the range that it maps to between 1 % and 99 % (ours). Every stored value keeps a value of its own, but
    where they span more than 16 bits. Padding has the smallest value.

    Raises:
        ImageError: the pixels are missing, truncated, or in an encoding that cannot be read.
    """
    view = _view(data, name)
    # A table that falls, and MONOCHROME1, show small values bright. Pixels are then counted down from the largest value
    # and the slope is negative: bright is dense, and the numbers that a reader sees are still the file's.
    flipped = view.inverted != view.shown.falls
    sign = -1.0 if flipped != (view.slope < 0) else 1.0
    steps = view.steps.astype(np.float64) * sign
    inside = ~view.padding
    low, high = float(steps[inside].min()), float(steps[inside].max())
    black = view.shown.window.ends[1 if flipped else 0]
    below = np.floor(sign * (black - view.intercept) / view.slope)
    if view.padding.any() and high - min(low, below) <= _LARGEST:
        low = min(low, below)  # so that padding is black in the first picture though its window begins below all values
    size = max(1.0, (high - low) / _LARGEST)
    steps[view.padding] = low
    counted = np.rint((steps - low) / size)
    pixels: Pixels = counted.astype(np.uint8) if high - low <= 255 else counted.astype(np.uint16)
    slope = view.slope * sign
    painted: Pixels = view.levels.paint(pixels)
    return ModalityValues(painted, slope * size, slope * low + view.intercept, view.shown.window)


def read_dicom_header(stream: IO[bytes], *, name: str) -> DicomHeader:
    """What the tags say; the pixels are not read.

    Raises:
        ImageError: damaged.
        MissingExtraError: the ``dicom`` extra is not installed.
    """
    return header_of(_read(stream, name, pixels=False))


def read_dicom_tags(stream: IO[bytes], *, name: str) -> Any:
    """The tags themselves, as pydicom reads them, up to the pixels.

    Raises:
        ImageError: damaged.
        MissingExtraError: the ``dicom`` extra is not installed.
    """
    return _read(stream, name, pixels=False)


def read_dicom_texts(stream: IO[bytes], keywords: Iterable[str], *, name: str) -> dict[str, str]:
    """Tags as one line of text each (see ``dicom_tags.texts_of``); the pixels are not read.

    Raises:
        ImageError: damaged.
        MissingExtraError: the ``dicom`` extra is not installed.
    """
    return texts_of(_read(stream, name, pixels=False), keywords)


def decodable_syntaxes(syntaxes: Iterable[str]) -> list[str]:
    """Those of some transfer syntaxes (UIDs) whose pixels ``decode_dicom`` reads here, in order.

    Raises:
        MissingExtraError: the ``dicom`` extra is not installed.
    """
    uid = require("pydicom", extra="dicom").uid
    return [syntax for syntax in syntaxes if syntax.encode() != _DEFLATED and _is_decodable(uid.UID(syntax))]


class _Measured:
    """A stream that is read in bounded steps, so that a small file costs neither much time nor much memory."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self._name = name
        self._num_reads = 0
        self.refusal: ImageError | None = None

    def read(self, size: int = -1) -> bytes:
        self._num_reads += 1
        if size < 0:
            # Only inflating asks for everything, and does it whole.
            self.refusal = ImageError(
                f"{self._name}: is a deflated DICOM file; rewrite it with another transfer syntax"
            )
        elif self._num_reads > _MOST_READS:
            self.refusal = DamagedImageError(
                f"{self._name}: has far more data elements than any radiograph; it is damaged"
            )
        if self.refusal is not None:
            raise self.refusal
        return self._stream.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _read(stream: IO[bytes], name: str, *, pixels: bool) -> Any:
    pydicom = require("pydicom", extra="dicom")
    is_marked = stream.read(132)[128:] == b"DICM"
    stream.seek(0)
    measured = _Measured(stream, name)
    try:
        dataset = pydicom.dcmread(measured, stop_before_pixels=not pixels, force=not is_marked)
        if "TransferSyntaxUID" not in dataset.file_meta:
            is_implicit, is_little = dataset.original_encoding
            syntax = "1.2.840.10008.1.2" + ("" if is_implicit else ".1" if is_little else ".2")
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        return dataset
    except Exception as error:  # malformed files raise anything in pydicom, which also changes what others raise
        damaged = DamagedImageError(f"{name}: is no readable DICOM file, or truncated: {error}")
        raise (measured.refusal or damaged) from error


def _stored_values(dataset: Any, name: str) -> npt.NDArray[Any]:
    """The decoded stored values (height, width), of an integer type."""
    if "PixelData" not in dataset:
        raise ImageError(f"{name}: has no image in it (no PixelData)")
    syntax = dataset.file_meta.TransferSyntaxUID
    if not _is_decodable(syntax):
        require("gdcm", extra="dicom")
        raise ImageError(
            f"{name}: its transfer syntax ({syntax.name}) cannot be read; rewrite it uncompressed (Explicit VR Little "
            "Endian)"
        )
    try:
        _complete(dataset)
        if str(syntax) in _ENDS_WITH_MARKER and not _ends(dataset):
            raise ValueError("the JPEG stream does not reach its end marker")
        stored = np.asarray(dataset.pixel_array)
    except Exception as error:  # the decoders behind pydicom raise anything on damaged pixels
        told = " ".join(str(error).split())
        raise DamagedImageError(
            f"{name}: its pixels cannot be decoded, they are truncated or damaged: {told}"
        ) from error
    if stored.ndim != 2:
        raise ImageError(f"{name}: its pixels have shape {stored.shape}; one gray image is expected")
    return stored


def _is_decodable(syntax: Any) -> bool:
    pixels = require("pydicom.pixels", extra="dicom")
    try:
        return bool(pixels.get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _complete(dataset: Any) -> None:
    """Fill in what old files leave out, and move values that do not lie in the lowest bits there."""
    for keyword, value in (("PhotometricInterpretation", "MONOCHROME2"), ("SamplesPerPixel", 1)):
        if dataset.get(keyword) in (None, ""):
            setattr(dataset, keyword, value)
    is_native = not dataset.file_meta.TransferSyntaxUID.is_compressed
    if dataset.get("BitsAllocated") is None:
        num_pixels = max(1, int(dataset.Rows) * int(dataset.Columns))
        dataset.BitsAllocated = 8 if is_native and len(dataset.PixelData) < 2 * num_pixels else 16
    if dataset.get("BitsStored") is None:
        dataset.BitsStored = dataset.BitsAllocated
    if dataset.get("PixelRepresentation") is None:
        dataset.PixelRepresentation = 0
    unused = int(number_of(dataset, "HighBit", dataset.BitsStored - 1)) + 1 - dataset.BitsStored
    if is_native and dataset.BitsAllocated == 16 and 0 < unused <= 16 - dataset.BitsStored:
        order = "<u2" if dataset.original_encoding[1] else ">u2"
        data = dataset.PixelData[: len(dataset.PixelData) // 2 * 2]
        dataset.PixelData = (np.frombuffer(data, order) >> unused).astype(order).tobytes()


def _ends(dataset: Any) -> bool:
    """Whether a JPEG stream ends with its marker; the decoder for 12 and 16 bits makes up what is missing, silently."""
    encaps = require("pydicom.encaps", extra="dicom")
    frame: bytes = next(encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    return frame.rstrip(b"\0").endswith(b"\xff\xd9")


@dataclass(frozen=True, slots=True)
class _View:
    """An image on its way: values are ``steps * slope + intercept``, and padding is where there is no image.

    All are per stored value that occurs; ``levels`` paints the image.
    """

    levels: Levels
    steps: npt.NDArray[Any]
    slope: float
    intercept: float
    shown: Shown
    padding: npt.NDArray[np.bool_]
    inverted: bool


def _view(data: bytes, name: str) -> _View:
    dataset = _read(io.BytesIO(data), name, pixels=True)
    levels = Levels.of(_stored_values(dataset, name))
    stored = levels.values
    inverted = str(dataset.PhotometricInterpretation).strip().upper() == "MONOCHROME1"
    try:
        padding = _padding(dataset, stored)
        steps, slope, intercept = modality_of(dataset, stored)
        values = steps
        if (slope, intercept) != (1.0, 0.0):
            values = np.asarray(steps.astype(np.float64) * slope + intercept)
        shown = shown_of(dataset, values, ~padding, is_stored=values is stored)
    except RadwrightError:
        raise
    except Exception as error:  # malformed tags raise anything in pydicom
        raise ImageError(f"{name}: its window or lookup table cannot be applied: {error}") from error
    return _View(levels, steps, slope, intercept, shown, padding, inverted)


def _padding(dataset: Any, stored: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Where the header says that there is no image (PS3.3 C.7.5.1.1.2), which is shown black; nowhere if that is all.

    The value, or all from the value to the limit, whichever is larger. Both are met with the wrong sign.
    """
    ends = [number_of(dataset, keyword, None) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if ends[0] is None:
        return np.zeros(stored.shape, dtype=bool)
    full = 2 ** (8 * stored.dtype.itemsize)
    limits = np.iinfo(stored.dtype)
    known = [
        end - full if end > limits.max else end + full if end < limits.min else end for end in ends if end is not None
    ]
    padded = np.asarray((stored >= min(known)) & (stored <= max(known)))
    return np.zeros_like(padded) if padded.all() else padded
