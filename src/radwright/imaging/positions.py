"""What datasets and DICOM files call a projection -> frontal, lateral or unknown."""

from __future__ import annotations

import re

from radwright.types import ViewPosition

_LATERAL = {"LATERAL", "LAT", "LL", "RL", "L", "LLD", "RLD", "LLO", "RLO"}
_FRONTAL = {"FRONTAL", "PA", "AP", "POSTEROANTERIOR", "ANTEROPOSTERIOR"}
_WORD = re.compile(r"[A-Z]+")


def view_position(text: str | None) -> ViewPosition:
    """Read a projection's name, e.g. ``PA``, ``AP Supine``, ``LATERAL``, ``LL``, ``Frontal``; anything else is unknown.

    ``L`` alone is the common short form of a lateral view, not of the left side.
    """
    words = _WORD.findall((text or "").upper().replace("_", ""))
    if _LATERAL & set(words):
        return "lateral"
    return "frontal" if _FRONTAL & set(words) else "unknown"
