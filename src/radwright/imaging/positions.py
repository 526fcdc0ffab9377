"""Frontal, lateral or unknown: by what datasets and DICOM files call a projection, and by the picture itself."""

from __future__ import annotations

import io
import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from radwright.imaging.decode import Encoded, Pixels
from radwright.types import ViewPosition

_LATERAL = {"LATERAL", "LAT", "LL", "RL", "L", "LLO", "RLO"}
_FRONTAL = {"FRONTAL", "PA", "AP", "POSTEROANTERIOR", "ANTEROPOSTERIOR", "POSTERO", "ANTERO"}
_DECUBITUS = {"LLD", "RLD", "DECUBITUS", "DECUB"}
"""The patient lies on a side, the beam still passes from front to back: these are frontal pictures."""
_WORD = re.compile(r"[A-Z]+")
_INITIALS = re.compile(r"\b([AP])\.\s*([AP])\b")

FRONTAL_FROM = 0.285
"""Least ``pair`` of a frontal view; no lateral view of the phantom reaches it (largest .282)."""
LATERAL_UP_TO = 0.055
"""Largest ``pair`` of a lateral view; no frontal view of the phantom is below it (smallest .058)."""
LATERAL_TOP = 0.75
"""Least ``top`` of a lateral view; no frontal view of the phantom reaches it (largest .742)."""
LATERAL_FIELD = 0.05
"""Least ``field`` of a lateral view (smallest of the phantom's .106); a picture without any structure has 0."""
_SIDE = 32
SEEN_AT = (2 * _SIDE, 2 * _SIDE)
"""(width, height) in pixels at which a position can be seen; a JPEG need not be decoded larger."""


def view_position(text: str | None) -> ViewPosition:
    """Read a projection's name, e.g. ``PA``, ``AP Supine``, ``LATERAL``, ``LL``, ``Frontal``; anything else is unknown.

    ``L`` alone is the common short form of a lateral view, not of the left side. A lateral decubitus is a frontal
    view. A text that names both sides is unknown.
    """
    return _named(set(_WORD.findall(_INITIALS.sub(r"\1\2", (text or "").upper()).replace("_", ""))))


def described_position(text: str | None) -> ViewPosition:
    """The same for free text (a series' description), where a single ``L`` is as a rule the left side."""
    return _named(set(_WORD.findall(_INITIALS.sub(r"\1\2", (text or "").upper()).replace("_", " "))) - {"L"})


def _named(words: set[str]) -> ViewPosition:
    if _DECUBITUS & words:
        return "frontal"
    frontal, lateral = bool(_FRONTAL & words), bool(_LATERAL & words)
    return "unknown" if frontal == lateral else "frontal" if frontal else "lateral"


def image_position(encoded: Encoded, pixels: Pixels) -> ViewPosition:
    """Frontal or lateral by an image's DICOM tags, and where there are none or they do not say, by its picture.

    Args:
        encoded: the image.
        pixels: the same decoded, ``at_least`` as large as ``SEEN_AT``.
    """
    if encoded.kind == "DICOM":
        from radwright.imaging.dicom import read_dicom_header

        position = read_dicom_header(io.BytesIO(encoded.data), name=encoded.name).position
        if position != "unknown":
            return position
    return seen_position(pixels)


def seen_position(pixels: Pixels) -> ViewPosition:
    """Frontal or lateral by the picture; unknown where it is not plain to see.

    A frontal view has two dark lung fields, each closed by brighter chest wall, beside a bright middle. A lateral view
    has one dark field in the middle, no such pair, and is bright at its top, where both shoulders lie over each other.
    Ours: three numbers, with bounds set by the phantom alone; docs/results.md has how often they are right on real
    radiographs. The picture must be upright and bone white; what shows no chest at all can be taken for either.
    """
    fields = lung_fields(pixels)
    if fields.pair >= FRONTAL_FROM:
        return "frontal"
    lateral = fields.pair <= LATERAL_UP_TO and fields.field >= LATERAL_FIELD and fields.top >= LATERAL_TOP
    return "lateral" if lateral else "unknown"


class LungFields(NamedTuple):
    """What ``seen_position`` looks at, in a picture squeezed to 32 x 32.

    Depths are those of one profile from left to right, the mean of the rows from a quarter to two thirds of the height,
    as shares of the picture's contrast (its 5th to 95th percentile).

    Attributes:
        pair: depth of the shallower of two valleys left and right of a brighter middle, each closed by a brighter wall.
        field: depth of one valley in the middle third, between brighter sides.
        top: mean brightness of the upper 6 rows over that of the lower 12.
    """

    pair: float
    field: float
    top: float


def lung_fields(pixels: Pixels) -> LungFields:
    """Measure uint8 or uint16 pixels of any size."""
    unit = Image.fromarray(pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max))
    picture = np.asarray(unit.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
    low, high = np.percentile(picture, [5, 95])
    contrast = max(float(high - low), 1e-6)
    profile = picture[8:22].mean(axis=0)
    pair = max(min(_valley(profile[middle::-1]), _valley(profile[middle:])) for middle in range(12, 21))
    field = max(
        float(min(profile[:place].max(), profile[place + 1 :].max()) - profile[place]) for place in range(10, 22)
    )
    top = float(picture[:6].mean()) / max(float(picture[20:].mean()), 1e-6)
    return LungFields(pair / contrast, field / contrast, top)


def _valley(outwards: npt.NDArray[np.float32]) -> float:
    """Depth of the deepest valley of a profile from the middle outwards, below its middle and the wall behind it."""
    wall = np.maximum.accumulate(outwards[::-1])[::-1]
    return float((np.minimum(outwards[0], wall) - outwards).max())
