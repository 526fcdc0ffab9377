"""What a DICOM header says: whether the file holds a chest radiograph, from which side, of whom, in which study.

Works on a dataset that ``radwright.imaging.dicom`` has read; imports no DICOM library.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from radwright.imaging.positions import described_position, view_position
from radwright.types import ViewPosition

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_NO_IMAGE = (
    ("1.2.840.10008.1.3.10", "a DICOMDIR, the index of a DICOM folder; give that folder"),
    (_STORAGE + "88.", "a structured report"),
    (_STORAGE + "104.", "an encapsulated document (PDF, CDA ...)"),
    (_STORAGE + "11.", "a presentation state"),
    (_STORAGE + "9.", "a waveform"),
    (_STORAGE + "66", "raw data, a registration or a segmentation"),
    (_STORAGE + "67", "a real world value mapping"),
)
"""Beginnings of SOP classes that are no images, and what they are."""
_NO_IMAGE_MODALITIES = {
    "SR": "a structured report",
    "KO": "a key object selection",
    "PR": "a presentation state",
    "DOC": "an encapsulated document (PDF, CDA ...)",
}
_RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "DR", "RG", "XR"})
_VAGUE_MODALITIES = frozenset({"", "OT", "SC", "HC"})
"""Modalities that leave open what was captured; then the SOP class is asked."""
_RADIOGRAPH_CLASSES = frozenset(_STORAGE + end for end in ("1", "1.1", "1.1.1", "7", "7.2", "7.3"))
_MODALITY_NAMES = {
    "CT": "computed tomography",
    "MR": "magnetic resonance",
    "MG": "mammography",
    "US": "ultrasound",
    "NM": "nuclear medicine",
    "PT": "positron emission tomography",
    "XA": "angiography",
    "RF": "fluoroscopy",
    "PX": "a panoramic dental radiograph",
    "IO": "an intra-oral dental radiograph",
    "RTIMAGE": "a radiotherapy image",
}
_FLATTEST = 0.1
"""Pixels flatter than that are a mistake in the tags."""
_CHEST = re.compile(
    r"CHEST|THORA[XC](?!IC *SPINE)|TORAX|TORACE|\bLUNG|\bPULMO|\bCXR\b|\bRIBS?\b|RIBCAGE|\bSTERN|\bHEART"
)
_OTHER_PART = re.compile(
    r"\bABD|\bKUB\b|\bPELVI|SPINE\b|\bSACRUM|\bCOCCYX|EXTREMIT|\bHANDS?\b|\bFINGER|\bTHUMB|\bWRIST|\bFOREARM|\bELBOW"
    r"|\bHUMERUS|\bSHOULDER|\bCLAVICLE|\bSCAPULA|\bSKULL|\bORBIT|\bMANDIBLE|\bSINUS|\bZYGOMA|\bHIPS?\b|\bFEMUR|\bTHIGH"
    r"|\bKNEE|\bPATELLA|\bTIBIA|\bFIBULA|\bTIB FIB|\bANKLE|\bCALCANEUS|\bHEEL|\bFOOT\b|\bFEET\b|\bTOES?\b|\bBREAST"
)
_OTHER_PART_CODE = re.compile(r"\b(?:HEAD|NECK|ARM|LEG|JAW|FACE|NOSE|EYE|EAR|BRAIN|TEETH|TOOTH|LIMB|UTERUS)S?\b")
"""Parts that a code names but that mean something else in free text ("head up", "arms down", "C-arm")."""


@dataclass(frozen=True, slots=True)
class DicomHeader:
    """What the tags of one DICOM file say.

    Attributes:
        study_uid: StudyInstanceUID; empty where it is missing.
        image_uid: SOPInstanceUID; empty where it is missing.
        position: frontal or lateral by the tags; unknown where they do not say.
        facts: ``sex``, ``age``, ``scanner`` and ``burned_in`` (only ``YES``), each only where it is there.
        no_image: what the object is where it is none of an image (a report, a DICOMDIR ...); else empty.
        refusal: why it is no chest radiograph: the tag, its value, the cure; else empty.
    """

    study_uid: str = ""
    image_uid: str = ""
    position: ViewPosition = "unknown"
    facts: dict[str, str] = field(default_factory=dict)
    no_image: str = ""
    refusal: str = ""

    @property
    def is_burned_in(self) -> bool:
        """Whether the file says that text is written into its pixels (BurnedInAnnotation)."""
        return "burned_in" in self.facts


def header_of(dataset: Any) -> DicomHeader:
    """Read a dataset's tags; malformed ones count as missing."""
    no_image = _no_image(dataset)
    return DicomHeader(
        study_uid=_text(dataset, "StudyInstanceUID"),
        image_uid=_text(dataset, "SOPInstanceUID"),
        position=_position(dataset),
        facts=_facts(dataset),
        no_image=no_image,
        refusal=f"is {no_image}, no image" if no_image else _refusal(dataset),
    )


def texts_of(dataset: Any, keywords: Iterable[str]) -> dict[str, str]:
    """Tags as one line of text each; empty where absent or malformed.

    Args:
        dataset: as read.
        keywords: DICOM keywords; ``Sequence.Keyword`` is a tag of a sequence's first item.
    """
    return {keyword: _nested_text(dataset, keyword) for keyword in keywords}


def _nested_text(dataset: Any, keyword: str) -> str:
    sequence, _, inner = keyword.rpartition(".")
    if not sequence:
        return _text(dataset, keyword)
    try:
        first = next(iter(dataset.get(sequence) or ()), None)
        return "" if first is None else _text(first, inner)
    except Exception:  # malformed tags raise anything in pydicom
        return ""


def _text(dataset: Any, keyword: str) -> str:
    """A tag as one line of text, the values of several joined by spaces; empty where it is absent or malformed."""
    try:
        value = dataset.get(keyword)
    except Exception:  # malformed tags raise anything in pydicom
        return ""
    # A name of a person can be iterated over, but is one value.
    several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return " ".join((" ".join(str(each) for each in value) if several else str(value or "")).split())


def _meaning(dataset: Any, keyword: str) -> str:
    """CodeMeaning of the first item of a sequence; empty where there is none."""
    return _nested_text(dataset, f"{keyword}.CodeMeaning")


def _facts(dataset: Any) -> dict[str, str]:
    maker, model = _text(dataset, "Manufacturer"), _text(dataset, "ManufacturerModelName")
    scanner = model if maker.lower() in model.lower() else f"{maker} {model}".strip()
    burned_in = _text(dataset, "BurnedInAnnotation").upper()
    facts = {
        "sex": _text(dataset, "PatientSex"),
        "age": _text(dataset, "PatientAge"),
        "scanner": scanner,
        "burned_in": burned_in if burned_in == "YES" else "",
    }
    return {key: value for key, value in facts.items() if value}


def _position(dataset: Any) -> ViewPosition:
    """By the first tag that says it, from the one made for it down to free text and the patient's orientation."""
    coded = view_position(_text(dataset, "ViewPosition"))
    if coded != "unknown":
        return coded
    described = [_meaning(dataset, "ViewCodeSequence")]
    described += [_text(dataset, f"{name}Description") for name in ("Series", "AcquisitionDeviceProcessing")]
    for text in (*described, _text(dataset, "ProtocolName")):
        if (position := described_position(text)) != "unknown":
            return position
    # The direction of the rows: towards left or right in a frontal view, anterior or posterior in a lateral one.
    rows = _text(dataset, "PatientOrientation").upper().partition(" ")[0]
    return "frontal" if rows in {"L", "R"} else "lateral" if rows in {"A", "P"} else "unknown"


def _no_image(dataset: Any) -> str:
    sop_class = _text(dataset, "SOPClassUID") or _text(getattr(dataset, "file_meta", {}), "MediaStorageSOPClassUID")
    found = next((what for beginning, what in _NO_IMAGE if sop_class.startswith(beginning)), "")
    return found or _NO_IMAGE_MODALITIES.get(_text(dataset, "Modality").upper(), "")


def _refusal(dataset: Any) -> str:
    modality = _text(dataset, "Modality").upper()
    known = modality in _RADIOGRAPH_MODALITIES
    if not (known or modality in _VAGUE_MODALITIES):
        name = _MODALITY_NAMES.get(modality)
        return (
            f"is no plain radiograph: Modality is {modality!r}{f' ({name})' if name else ''}; leave it out, or correct "
            "the tag (CR, DX) if it is one"
        )
    sop_class = _text(dataset, "SOPClassUID")
    if not known and sop_class.startswith(_STORAGE) and sop_class not in _RADIOGRAPH_CLASSES:
        named = getattr(dataset.get("SOPClassUID"), "name", sop_class)
        return f"is no plain radiograph: its SOP class is {named}; leave it out"
    if _text(dataset, "PresentationIntentType").upper() == "FOR PROCESSING":
        return (
            "holds the detector's raw values (PresentationIntentType is FOR PROCESSING), which nobody reads; give the "
            "image FOR PRESENTATION"
        )
    return _other_part(dataset)


def pixel_aspect(dataset: Any) -> float:
    """How much taller than wide a pixel is (PixelAspectRatio, else the spacings); 1 where nothing sensible says."""
    for keyword in ("PixelAspectRatio", "ImagerPixelSpacing", "PixelSpacing"):
        try:
            down, across = (float(part) for part in _text(dataset, keyword).split())
        except ValueError:
            continue
        if across > 0 and _FLATTEST <= down / across <= 1 / _FLATTEST:
            return down / across
    return 1.0


def number_of(dataset: Any, keyword: str, default: float | None) -> Any:
    """A numeric tag's (first) value, or the default where it is absent, malformed, empty or no number."""
    try:
        value = dataset.get(keyword)
    except Exception:  # malformed tags raise anything in pydicom
        return default
    if value is not None and not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
        value = next(iter(value), None)
    try:
        return default if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        return default


def _other_part(dataset: Any) -> str:
    """Why it shows another part of the body: of the image's own tags any, the study's only where those are silent."""
    code = _text(dataset, "BodyPartExamined")
    own = [
        ("BodyPartExamined", code),
        ("AnatomicRegionSequence", _meaning(dataset, "AnatomicRegionSequence")),
        ("SeriesDescription", _text(dataset, "SeriesDescription")),
    ]
    named = [(keyword, text, _part(text, is_code=keyword == "BodyPartExamined")) for keyword, text in own]
    if not any(part for _, _, part in named):
        text = _text(dataset, "StudyDescription")
        named.append(("StudyDescription", text, _part(text, is_code=False)))
    for keyword, text, part in named:
        if part == "other":
            return (
                f"does not show the chest: {keyword} is {text!r}; leave it out, or correct the tag if it is a chest "
                "radiograph"
            )
    return ""


def _part(text: str, *, is_code: bool) -> str:
    """``chest`` where a text names it, ``other`` where it names another part alone, empty where it names none."""
    words = " ".join(re.findall(r"[A-Z]+", text.upper()))
    if _CHEST.search(words):
        return "chest"
    return "other" if _OTHER_PART.search(words) or (is_code and _OTHER_PART_CODE.search(words)) else ""
