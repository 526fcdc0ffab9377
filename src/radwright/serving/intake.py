"""Bytes that somebody sends -> what the reading room keeps of them: the image, and what its tags say of the study.

Uploads and DICOM C-STORE both pass here. The bytes are read whole, so what passes can be drafted.
"""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from radwright.errors import DamagedImageError, ImageError, StudyError
from radwright.imaging.config import ImageConfig
from radwright.imaging.decode import Encoded, decode, is_dicom, probe
from radwright.imaging.dicom import read_dicom_header, read_dicom_texts
from radwright.imaging.dicom_tags import DicomHeader
from radwright.imaging.positions import SEEN_AT, seen_position
from radwright.serving.records import Origin, ReadingImage, ReadingStudy

MAX_NAME = 200
MAX_TEXT = 1024
"""Characters kept of a file's name, and of any text that a tag holds."""
_EMPTY_FROM, _EMPTY_RATIO = 1_000_000, 200
"""A larger image of fewer bytes than one per so many pixels shows nothing or is a bomb: the least that heavily
compressed radiographs need is ten times that."""
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)
_MAX_UID = 64
_BIDI = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that change the order in which a text is shown: with them a name could be made to look like another."""
_UNSHOWN = frozenset({"Cc", "Cs", "Co", "Zl", "Zp"})

RefusalKind = Literal["too large", "unreadable", "no chest radiograph", "unfit", "damaged"]
"""Too many bytes; no image file that is known; by its tags something else; colour, several frames, without pixels or
with too many; the pixels cannot be decoded. Says nothing of the patient, unlike the message."""
_REASONS = (
    "ReasonForTheRequestedProcedure",
    "RequestAttributesSequence.ReasonForTheRequestedProcedure",
    "ReasonForStudy",
    "AdditionalPatientHistory",
)
"""Where an image says why it was asked for, the first that is filled in counts."""
_FACTS = {
    "accession": ("AccessionNumber", "RequestAttributesSequence.AccessionNumber"),
    "patient_id": ("PatientID",),
    "patient_name": ("PatientName",),
    "birth_date": ("PatientBirthDate",),
    "sex": ("PatientSex",),
    "study_id": ("StudyID",),
    "study_date": ("StudyDate",),
    "study_time": ("StudyTime",),
    "referring_physician": ("ReferringPhysicianName",),
    "description": ("StudyDescription",),
    "indication": _REASONS,
}
_FORMS = {
    "birth_date": re.compile(r"\d{8}", re.ASCII),
    "study_date": re.compile(r"\d{8}", re.ASCII),
    "study_time": re.compile(r"\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?", re.ASCII),
    "sex": re.compile("[MFO]"),
    # As long as DICOM allows (PS3.5 6.2), without the backslash that parts values.
    "accession": re.compile(r"[^\\]{1,16}"),
    "study_id": re.compile(r"[^\\]{1,16}"),
    "patient_id": re.compile(r"[^\\]{1,64}"),
    "patient_name": re.compile(r"[^\\=]{0,64}(?:=[^\\=]{0,64}){0,2}"),
    "referring_physician": re.compile(r"[^\\=]{0,64}(?:=[^\\=]{0,64}){0,2}"),
}
"""What is not of this form is taken as not known: it could not be written into a report again."""
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


class RefusedImageError(ImageError):
    """An image that the reading room does not take; the message may quote its tags, ``kind`` quotes nothing."""

    def __init__(self, message: str, kind: RefusalKind) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Limits:
    """What an image may be at most.

    Attributes:
        max_bytes: encoded.
        max_pixels: width times height.
    """

    max_bytes: int = ImageConfig().max_bytes
    max_pixels: int = ImageConfig().max_pixels


@dataclass(frozen=True, slots=True)
class Described:
    """What a received image is, and what it says of its study.

    Attributes:
        image: at place 0, with the digest of its bytes, which are not kept yet.
        study: what the tags say; without id, state and times; all empty where it is no DICOM.
        picture: digest of its decoded pixels, shown as its file wants; the same however they are packed.
        notes: what a person must know of the image.
    """

    image: ReadingImage
    study: ReadingStudy
    picture: str = ""
    notes: tuple[str, ...] = ()


def describe_image(data: bytes, name: str, limits: Limits | None = None) -> Described:
    """Tell what an image is, from which side, of which study; its pixels are decoded once, so damage is seen.

    Args:
        data: the encoded bytes.
        name: what the sender calls it; cleaned and cut here.
        limits: held before anything is decoded; the default ones if None.

    Raises:
        RefusedImageError: the reading room does not take it; says why.
        MissingExtraError: DICOM without the ``dicom`` extra.
    """
    limits, name = limits or Limits(), clean_name(name)
    if len(data) > limits.max_bytes:
        raise RefusedImageError(f"{name}: has {len(data)} bytes, more than {limits.max_bytes}", "too large")
    header, tags = DicomHeader(), dict[str, str]()
    if is_dicom(data[:136]):
        header, tags = _tags(data, name)
    encoded = _probed(data, name, limits, header)
    size = encoded.width * encoded.height
    if size > _EMPTY_FROM and len(data) < size / _EMPTY_RATIO:
        raise RefusedImageError(
            f"{name}: says that it has {encoded.width} x {encoded.height} pixels, in {len(data)} bytes; so few hold no "
            "radiograph",
            "unfit",
        )
    try:
        # The bytes are never trusted by their header alone: a network that is fed half a radiograph still writes.
        pixels = decode(encoded, at_least=SEEN_AT)
    except ImageError as error:
        raise RefusedImageError(str(error), "damaged") from error
    if pixels.min() == pixels.max():
        raise RefusedImageError(f"{name}: shows nothing: every pixel has the same shade", "unfit")
    position = header.position if header.position != "unknown" else seen_position(pixels)
    image = ReadingImage(
        place=0,
        digest=hashlib.sha256(data).hexdigest(),
        name=name,
        kind=encoded.kind,
        position=position,
        width=encoded.width,
        height=encoded.height,
        sop_class_uid=clean_uid(tags.get("SOPClassUID", "")),
        sop_instance_uid=clean_uid(tags.get("SOPInstanceUID", "")),
        series_uid=clean_uid(tags.get("SeriesInstanceUID", "")),
        burned_in=header.is_burned_in,
    )
    note = f"{name}: the file says that text is written into its pixels; it may name the patient"
    picture = hashlib.sha256(f"{pixels.shape} {pixels.dtype} ".encode() + pixels.tobytes()).hexdigest()
    return Described(image, _facts(tags), picture, (note,) if header.is_burned_in else ())


def one_study(described: Sequence[Described], *, origin: Origin) -> tuple[ReadingStudy, tuple[ReadingImage, ...]]:
    """The study that some images make up, and the images in order, each once.

    A fact is taken from the first image that knows it.

    Raises:
        StudyError: they are of different studies or patients by their tags, or two different ones have one UID.
    """
    for field, what in (("study_uid", "studies (StudyInstanceUID)"), ("patient_id", "patients (PatientID)")):
        if len({getattr(each.study, field) for each in described} - {""}) > 1:
            raise StudyError(
                f"{described[0].image.name} and the images with it are of different {what}; send each study by itself"
            )
    images = {each.image.digest: each.image for each in reversed(described)}
    uids = [image.sop_instance_uid for image in images.values() if image.sop_instance_uid]
    if twice := next((uid for uid in uids if uids.count(uid) > 1), None):
        names = [image.name for image in images.values() if image.sop_instance_uid == twice]
        raise StudyError(f"{names[-1]} and {names[0]} are different images of one SOPInstanceUID; send the right one")
    known: dict[str, Any] = {
        field: next((value for each in described if (value := getattr(each.study, field))), "")
        for field in ("study_uid", *_FACTS)
    }
    merged = ReadingStudy("", "receiving", "", "", origin=origin, **known)
    ordered = [images[digest] for digest in dict.fromkeys(each.image.digest for each in described)]
    return merged, tuple(replace(image, place=place) for place, image in enumerate(ordered))


def clean_text(text: str, *, at_most: int = MAX_TEXT) -> str:
    """One line without control characters and marks that turn the reading order, cut to a length."""
    shown = "".join(" " if unicodedata.category(each) in _UNSHOWN or each in _BIDI else each for each in text)
    return " ".join(shown.split())[:at_most].rstrip()


def without_controls(text: str) -> str:
    """A text of lines as it is kept: control characters, which no document may hold, are spaces."""
    lines = text.replace("\r\n", "\n")
    return "".join(" " if unicodedata.category(each) == "Cc" and each not in "\n\t" else each for each in lines)


def clean_name(name: str) -> str:
    """The last part of a file's name as somebody sent it, clean; ``image`` where nothing is left."""
    last = clean_text(re.split(r"[/\\]", name)[-1], at_most=MAX_NAME)
    return last if last.strip(".") else "image"


def clean_uid(text: str) -> str:
    """A DICOM UID (PS3.5 9.1; leading zeros in its parts, which are met, are let pass); empty where it is none."""
    uid = text.strip().strip("\0")
    return uid if len(uid) <= _MAX_UID and _UID.fullmatch(uid) else ""


def _tags(data: bytes, name: str) -> tuple[DicomHeader, dict[str, str]]:
    keywords = (*_UIDS, *(keyword for keywords in _FACTS.values() for keyword in keywords))
    try:
        header = read_dicom_header(io.BytesIO(data), name=name)
        return header, read_dicom_texts(io.BytesIO(data), keywords, name=name)
    except ImageError as error:
        raise RefusedImageError(str(error), "unreadable") from error


def _probed(data: bytes, name: str, limits: Limits, header: DicomHeader) -> Encoded:
    try:
        return probe(data, name=name, max_pixels=limits.max_pixels)
    except ImageError as error:
        if isinstance(error, DamagedImageError):
            raise RefusedImageError(str(error), "damaged") from error
        is_known = is_dicom(data[:136]) or data.startswith((b"\x89PNG", b"\xff\xd8\xff"))
        kind: RefusalKind = "unfit" if is_known else "unreadable"
        raise RefusedImageError(str(error), "no chest radiograph" if header.refusal else kind) from error


def _is_date(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y%m%d")
    except ValueError:
        return False
    return True


def _facts(tags: Mapping[str, str]) -> ReadingStudy:
    def first(keywords: Sequence[str]) -> str:
        return next((text for keyword in keywords if (text := clean_text(tags.get(keyword, "")))), "")

    facts: dict[str, Any] = {field: first(keywords) for field, keywords in _FACTS.items()}
    for field in ("birth_date", "study_date"):
        facts[field] = facts[field].replace(".", "")  # as dates stood before DICOM 3.0
    for field, form in _FORMS.items():
        facts[field] = facts[field] if form.fullmatch(facts[field]) else ""
    for field in ("birth_date", "study_date"):
        facts[field] = facts[field] if _is_date(facts[field]) else ""
    return ReadingStudy("", "receiving", "", "", study_uid=clean_uid(tags.get("StudyInstanceUID", "")), **facts)
