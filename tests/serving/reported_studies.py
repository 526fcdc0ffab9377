"""Studies with reports, made on the spot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from radwright.serving.records import (
    Draft,
    ModelIdentity,
    ReadingImage,
    ReadingStudy,
    ReportedStudy,
    Signature,
)

TEXT = (
    "The heart is normal in size. There is a small left pleural effusion. No pneumothorax. "
    "Pneumonia cannot be excluded."
)
WHEN = "2026-03-01T08:15:00.123Z"
CR, DX = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"
MODEL = ModelIdentity("vlci_small", "vlci", "ab" * 32, "0.1.0", {"beams": 3}, {"risk": 0.1})


def draft(text: str = TEXT) -> Draft:
    return Draft(1, text, (), (), None, {}, -12.5, True, MODEL, WHEN)


def study(**fields: Any) -> ReadingStudy:
    known: dict[str, Any] = {
        "id": "00112233445566aa",
        "state": "drafted",
        "received_at": WHEN,
        "updated_at": WHEN,
        "origin": "dicom",
        "indication": "Cough for two weeks.",
        "description": "Chest PA and lateral",
        "accession": "ACC-77",
        "patient_id": "PAT-1",
        "patient_name": "Hart^Clara^Maria^Dr.^MD",
        "birth_date": "19500203",
        "sex": "F",
        "study_uid": "1.2.3.4.5",
        "study_id": "S1",
        "study_date": "20260301",
        "study_time": "080000",
        "referring_physician": "Bone^Henry",
    }
    return ReadingStudy(**(known | fields))


def images(count: int = 2) -> tuple[ReadingImage, ...]:
    return tuple(
        ReadingImage(
            place,
            f"{place:064x}",
            f"{place}.dcm",
            "DICOM",
            "lateral" if place else "frontal",
            100,
            120,
            DX if place else CR,
            f"1.2.3.4.5.{place // 2 + 1}.{place + 1}",
            f"1.2.3.4.5.{place // 2 + 1}",
        )
        for place in range(count)
    )


def reported(
    text: str = TEXT, *, signed: bool = True, num_images: int = 2, drafted: bool = True, **fields: Any
) -> ReportedStudy:
    signature = Signature(2, text, "Müller, Anna", "St. Elsewhere", "2026-03-01T09:00:00Z") if signed else None
    return ReportedStudy(
        study(**fields),
        images(num_images),
        text,
        signature,
        draft(text) if drafted else None,
        "2.25.111",
        "2.25.222",
        "2026-03-01T09:00:00Z" if signed else WHEN,
    )


def with_addenda(*texts: str) -> ReportedStudy:
    """A signed report to which something was added since."""
    whole = reported()
    names = ("Müller, Anna", "Stein^Bob")
    addenda = tuple(
        Signature(3 + place, text, names[place % 2], "St. Elsewhere", f"2026-03-0{2 + place}T10:00:00Z")
        for place, text in enumerate(texts)
    )
    return replace(
        whole,
        addenda=addenda,
        predecessor=("2.25.110", "2.25.221"),
        written_at=addenda[-1].signed_at,
    )


def uploaded(text: str = TEXT, *, signed: bool = True) -> ReportedStudy:
    """A study of one PNG, of which nothing is known."""
    nameless = ReadingStudy("ffeeddccbbaa9988", "drafted", WHEN, WHEN)
    image = ReadingImage(0, "cd" * 32, "chest.png", "PNG", "unknown", 100, 100)
    whole = reported(text, signed=signed)
    return ReportedStudy(
        nameless, (image,), text, whole.signature, whole.draft, "2.25.333", "2.25.444", whole.written_at
    )
