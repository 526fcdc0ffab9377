"""Which tags of a DICOM file still identify its patient, and whether text is written into its pixels.

The tags and what to do with each are in ``confidentiality.csv``, after the Basic Application Level Confidentiality
Profile (DICOM PS3.15, table E.1-1). Nothing is removed here, and no value is ever shown in full.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

_DUMMIES = frozenset(
    {
        *("anonymous", "anonymized", "anonymised", "anon", "deidentified", "de-identified", "removed", "redacted"),
        *("none", "unknown", "na", "n/a", "not available", "dummy", "pseudonym", "no name", "noname", "null"),
    }
)
"""Values that stand for one that was taken out; compared in lower case."""
_DUMMY_MARKS = frozenset("0xX*-_^.#= ")
"""Nor does a value of these alone identify anybody; nor the first of January 1900, which anonymisers write."""
_PRIVATE, _CURVES, _OVERLAYS = "PrivateAttributes", "CurveData", "Overlay"
_MAX_DEPTH = 16


@dataclass(frozen=True, slots=True)
class ProfiledTag:
    """What the profile says of one tag.

    Attributes:
        keyword: DICOM's.
        action: X remove, Z empty (or a dummy), D a dummy, U another UID; several where the object's type decides.
        names: whether it names the patient or another person or place, or numbers the examination; else it helps to
            find out (dates, devices, descriptions).
    """

    keyword: str
    action: str
    names: bool


@dataclass(frozen=True, slots=True)
class IdentifyingTag:
    """A tag of one file that the profile would change.

    Attributes:
        tag: ``(0010,0010)``.
        keyword: DICOM's, or what stands for a group of tags.
        action: the profile's.
        names: as in ``ProfiledTag``.
        value: its first character and its length; never more.
        place: the sequences that it lies in, outermost first.
    """

    tag: str
    keyword: str
    action: str
    names: bool
    value: str
    place: tuple[str, ...] = ()


@cache
def profile() -> dict[int, ProfiledTag]:
    """The profile by tag, without private tags, curves and overlays, which it names by whole groups."""
    text = resources.files("radwright.serving").joinpath("confidentiality.csv").read_text(encoding="utf-8")
    return {
        int(row["tag"], 16): ProfiledTag(row["keyword"], row["action"], row["names"] == "yes")
        for row in csv.DictReader(text.splitlines())
    }


def identifying_tags(dataset: Any) -> list[IdentifyingTag]:
    """The tags with a value that the profile removes, empties or replaces; those that name somebody come first.

    UIDs are not listed: whether they were replaced cannot be told from the file. A value that stands for one taken out
    ("ANONYMOUS", "000") is not listed either. Private tags are listed as one.

    Args:
        dataset: as pydicom reads it.
    """
    found = list(_found(dataset, ()))
    return sorted(found, key=lambda tag: (not tag.names, tag.tag, tag.place))


def burned_in(dataset: Any) -> str:
    """What the file says of text in its pixels: ``yes``, ``no``, or ``not stated``."""
    try:
        said = str(dataset.get("BurnedInAnnotation") or "").strip().upper()
    except Exception:  # malformed tags raise anything in pydicom
        said = ""
    return {"YES": "yes", "NO": "no"}.get(said, "not stated")


def _found(dataset: Any, place: tuple[str, ...]) -> Iterator[IdentifyingTag]:
    num_private = 0
    for tag in sorted(dataset.keys()):
        group = int(tag) >> 16
        if group % 2:
            num_private += 1
            continue
        known = _profiled(int(tag))
        try:
            element = dataset[tag]
            value, is_sequence = element.value, element.VR == "SQ"
        except Exception:  # as above
            value, is_sequence = b"unreadable", False
        if known is not None and "U" not in known.action:
            if shown := _masked(value, is_sequence):
                yield IdentifyingTag(_written(int(tag)), known.keyword, known.action, known.names, shown, place)
        elif is_sequence and len(place) < _MAX_DEPTH:
            name = (known.keyword if known else getattr(element, "keyword", "")) or _written(int(tag))
            for item in value or ():
                yield from _found(item, (*place, name))
    if num_private:
        yield IdentifyingTag("(gggg,eeee)", _PRIVATE, "X", False, f"{num_private} tags", place)


def _profiled(tag: int) -> ProfiledTag | None:
    group, element = tag >> 16, tag & 0xFFFF
    if 0x5000 <= group <= 0x50FF:
        return ProfiledTag(_CURVES, "X", False)
    if 0x6000 <= group <= 0x60FF and element in {0x3000, 0x4000}:
        return ProfiledTag(_OVERLAYS + ("Data" if element == 0x3000 else "Comments"), "X", False)
    return profile().get(tag)


def _written(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _masked(value: Any, is_sequence: bool) -> str:
    """A value's kind and length, and the first character of a text of four or more; empty where it says nothing."""
    if value is None:
        return ""
    if is_sequence:
        return f"{len(value)} items" if len(value) else ""
    if isinstance(value, bytes | bytearray):
        return f"{len(value)} bytes" if value.strip(b"\0 ") else ""
    if not isinstance(value, str) and hasattr(value, "__iter__") and not hasattr(value, "components"):
        several = [str(each).strip() for each in value]
        text = next((each for each in several if not _is_dummy(each)), "")
    else:
        text = str(value).strip(" \0")
    if _is_dummy(text):
        return ""
    return f"{text[0]}… ({len(text)} characters)" if len(text) >= 4 else f"({len(text)} characters)"


def _is_dummy(text: str) -> bool:
    return text.casefold().strip("^ ") in _DUMMIES or set(text) <= _DUMMY_MARKS or text in {"19000101", "000Y"}
