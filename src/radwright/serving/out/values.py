"""What any text may become in a DICOM attribute or a FHIR element: lines, exact ids, names, dates, UIDs, times.

Shown texts are cleaned; what tells one patient or study from another is never changed, it is kept or refused. Messages
name the field, not its value, since they end up in logs.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from datetime import UTC, date, datetime

from radwright.errors import OutputError

_NAMESPACE = uuid.UUID("6c1d0f1e-5f0c-5b51-9e58-9a4f3c1b7d20")
"""Of the UIDs that are derived here; drawn once, never to change."""
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)+")
_TIME = re.compile(r"(\d{2})(?:(\d{2})(?:(\d{2})(\.\d{1,6})?)?)?")
MAX_UID, MAX_NAME = 64, 64
NOT_STATED = "not stated"
"""Where a standard demands a text and none is known."""


def derived_uid(*parts: str) -> str:
    """A UID that is always the same for the same parts (``2.25.`` and a name-based UUID; PS3.5 B.2)."""
    name = "\x1f".join(parts).encode("utf-8", "replace").decode()
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"


def study_uid_of(study_id: str, study_uid: str) -> str:
    """StudyInstanceUID: the images', or one derived from the study's id where they have none."""
    return uid(study_uid, "study_uid") or derived_uid("study", study_id)


def uid(value: str, field: str) -> str:
    """A UID as it is, even where its components begin with zeros, since it must meet that of the images.

    Raises:
        OutputError: it holds anything but numbers and dots, or is longer than 64 characters.
    """
    bare = value.strip(" \0")
    if bare and (len(bare) > MAX_UID or not _UID.fullmatch(bare)):
        raise OutputError(f"{field}: is no DICOM UID (numbers and dots, up to {MAX_UID}); correct it at its source")
    return bare


def block(text: str) -> str:
    """Text of several lines: line feeds stay, other control characters become spaces, lone surrogates "?"."""
    whole = text.encode("utf-8", "replace").decode("utf-8") if _is_torn(text) else text
    whole = whole.replace("\r\n", "\n").replace("\r", "\n")
    kept = (each if each == "\n" or unicodedata.category(each) != "Cc" else " " for each in whole)
    return "".join(each for each in kept if each not in "\ufffe\uffff").strip()


def line(text: str, limit: int | None = None) -> str:
    """Text of one line, without backslashes (they part values in DICOM).

    Args:
        text: any.
        limit: bytes in UTF-8 at most; a longer text is cut and ends with an ellipsis. DICOM's limits are of characters,
            but many readers count bytes.
    """
    whole = " ".join(block(text).replace("\\", " ").split())
    if limit is None or len(whole.encode()) <= limit:
        return whole
    return whole.encode()[: limit - 3].decode("utf-8", "ignore").rstrip() + "…"


def exact(value: str, field: str, limit: int = 64) -> str:
    """An identifier, unchanged but for padding.

    Raises:
        OutputError: it cannot stand in a DICOM attribute of ``limit`` characters as it is.
    """
    bare = value.strip(" \0")
    if len(bare) > limit:
        raise OutputError(f"{field}: has {len(bare)} characters, {limit} at most can be kept; correct it at its source")
    if bare != block(bare) or "\\" in bare or "\n" in bare:
        raise OutputError(f"{field}: holds backslashes, line ends or control characters; correct it at its source")
    return bare


def person(name: str, field: str) -> str:
    """A name as DICOM's PN: as it came where it is one, ``Last, First`` in that order, else whole as one component.

    Which of several words is the family name is not guessed.

    Raises:
        OutputError: more than 64 characters, five components or three groups (alphabetic, ideographic, phonetic).
    """
    whole = line(name)
    if "^" not in whole and "=" not in whole and whole.count(",") == 1:
        family, _, given = (part.strip() for part in whole.partition(","))
        whole = f"{family}^{given}".rstrip("^") if family else given
    groups = whole.split("=")
    if len(groups) > 3 or any(len(group) > MAX_NAME or group.count("^") > 4 for group in groups):
        raise OutputError(
            f"{field}: is no name that DICOM can hold (three groups of five parts, {MAX_NAME} characters each); "
            "shorten it"
        )
    return "" if not whole.strip("^= ") else whole


def signer(name: str) -> str:
    """The name of who signed as a PN; one that is none stands whole in the first component, marked so by its ``^``
    where that still fits.

    Raises:
        OutputError: as ``person``.
    """
    whole = person(name, "observer")
    is_full = len(whole.rpartition("=")[2]) == MAX_NAME
    return whole if "^" in whole or not whole or is_full else f"{whole}^"


def name_parts(name: str) -> tuple[str, str, str, str, str]:
    """(family, given, middle, prefix, suffix) of the first group of a PN that holds anything."""
    group = next((each for each in line(name).split("=") if each.strip("^ ")), "")
    family, given, middle, prefix, suffix = (part.strip() for part in (group.split("^") + [""] * 5)[:5])
    return family, given, middle, prefix, suffix


def shown_name(name: str) -> str:
    """A PN as people write it: prefix, given, middle, family, suffix."""
    family, given, middle, prefix, suffix = name_parts(name)
    return " ".join(part for part in (prefix, given, middle, family, suffix) if part)


def day(value: str) -> str:
    """A DICOM date (YYYYMMDD, or the old YYYY.MM.DD); empty for what is no day of the calendar."""
    digits = value.strip(" \0")
    digits = digits.replace(".", "") if re.fullmatch(r"\d{4}\.\d{2}\.\d{2}", digits) else digits
    if not re.fullmatch(r"[0-9]{8}", digits):
        return ""
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return ""
    return digits


def clock(value: str) -> str:
    """A DICOM time (HHMMSS.FFFFFF, shorter or with colons); empty for what is none."""
    digits = value.strip(" \0").replace(":", "")
    match = _TIME.fullmatch(digits) if digits.isascii() else None
    if match is None or int(match[1]) > 23 or int(match[2] or 0) > 59 or int(match[3] or 0) > 59:
        return ""
    return digits


def sex(value: str) -> str:
    """M, F or O; empty for anything else."""
    bare = value.strip(" \0").upper()
    return bare if bare in {"M", "F", "O"} else ""


def moment(value: str, field: str) -> datetime:
    """An ISO 8601 time, in UTC.

    Raises:
        OutputError: it is none, or says no zone.
    """
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise OutputError(f"{field}: is no ISO 8601 time with a zone (2026-03-01T08:15:00.123Z)")
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise OutputError(f"{field}: lies outside the calendar") from error


def _is_torn(text: str) -> bool:
    return any("\ud800" <= each <= "\udfff" for each in text)
