"""From what the reading room keeps to what goes over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from radwright.findings.ontology import concepts
from radwright.serving.drafting import FoundEvidence
from radwright.serving.http import wire
from radwright.serving.names import names_in
from radwright.serving.records import Draft, ModelIdentity, ReadingImage, ReadingStudy, Signature, Version
from radwright.serving.room import ReadingRoom
from radwright.serving.worklist import Row

UNITS = {"occlusion": "nats", "attention": "share"}


def title(finding: str) -> str:
    """What to call a finding."""
    known = concepts().get(finding)
    return known.name if known else finding


def model_out(model: ModelIdentity) -> wire.ModelOut:
    """A network's identity."""
    return wire.ModelOut(**asdict(model))


def row_out(room: ReadingRoom, row: Row) -> wire.StudyRowOut:
    """A study on the worklist.

    Raises:
        UnknownStudyError: there is no such study.
    """
    study, signature = room.studies.study(row.study_id), room.reports.signature(row.study_id)
    shared = {name: getattr(study, name) for name in _SHARED}
    return wire.StudyRowOut(
        **shared,
        num_images=row.num_images,
        thumbnail=f"/v1/studies/{study.id}/images/0/thumbnail" if row.num_images else None,
        findings=[
            wire.RowFindingOut(finding=name, title=title(name), probability=value)
            for name, value in row.findings.items()
        ],
        risk=row.doubt,
        urgency=row.urgency,
        signed_by=signature.observer if signature else None,
        signed_at=signature.signed_at if signature else None,
    )


def _facts_out(room: ReadingRoom, study: ReadingStudy) -> wire.StudyFactsOut:
    row = row_out(room, room.worklist.row(study.id))
    return wire.StudyFactsOut(**dict(row), **{name: getattr(study, name) for name in _FACTS})


_FACTS = ("birth_date", "sex", "study_time", "study_uid", "referring_physician")
_SHARED = (
    "id", "state", "reason", "patient_id", "patient_name", "accession", "study_date", "description", "indication",
    "origin", "received_at", "updated_at",
)  # fmt: skip


def image_out(study: ReadingStudy, image: ReadingImage) -> wire.ImageOut:
    """An image, and where its pixels are."""
    at = f"/v1/studies/{study.id}/images/{image.place}"
    return wire.ImageOut(
        place=image.place,
        position=image.position,
        width=image.width,
        height=image.height,
        kind=image.kind,
        name=image.name,
        burned_in=image.burned_in,
        pixels=f"{at}/pixels",
        thumbnail=f"{at}/thumbnail",
    )


def draft_out(draft: Draft) -> wire.DraftOut:
    """A draft."""
    return wire.DraftOut(
        number=draft.number,
        text=draft.text,
        sentences=[
            wire.DraftSentenceOut(text=each.text, log_prob=each.log_prob, findings=[*each.findings], kept=each.kept)
            for each in draft.sentences
        ],
        findings=[
            wire.DraftFindingOut(
                finding=each.finding,
                title=title(each.finding),
                sentence=each.sentence,
                probability=each.probability,
                kept=each.kept,
            )
            for each in draft.findings
        ],
        clues=None if draft.clues is None else dict(draft.clues),
        forced=dict(draft.forced),
        score=draft.score,
        finished=draft.finished,
        model=model_out(draft.model),
        created_at=draft.created_at,
    )


def version_out(version: Version) -> wire.VersionOut:
    """A version with its text."""
    return wire.VersionOut(**_plain(version))


def version_row_out(version: Version) -> wire.VersionRowOut:
    """A version without its text."""
    return wire.VersionRowOut(**{name: value for name, value in _plain(version).items() if name != "text"})


def signature_out(signature: Signature) -> wire.SignatureOut:
    """A signature."""
    return wire.SignatureOut(**{name: value for name, value in _plain(signature).items() if name != "text"})


def addendum_out(addendum: Signature) -> wire.AddendumOut:
    """An addendum with its text."""
    return wire.AddendumOut(**_plain(addendum))


def _plain(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


def study_out(room: ReadingRoom, study_id: str) -> wire.StudyOut:
    """A study with all that is known of it.

    Raises:
        UnknownStudyError: there is none.
    """
    study, images = room.studies.study(study_id), room.studies.images(study_id)
    versions, drafts = room.reports.versions(study_id), room.studies.drafts(study_id)
    signature = room.reports.signature(study_id)
    shown = versions[(signature.version if signature else len(versions)) - 1] if versions else None
    return wire.StudyOut(
        study=_facts_out(room, study),
        images=[image_out(study, image) for image in images],
        draft=draft_out(drafts[-1]) if drafts else None,
        drafts=[
            wire.DraftRowOut(number=each.number, created_at=each.created_at, forced=dict(each.forced))
            for each in drafts
        ],
        drafting=room.studies.num_ahead(study_id) is not None,
        versions=[version_row_out(each) for each in versions],
        report=version_out(shown) if shown else None,
        signature=signature_out(signature) if signature else None,
        addenda=[addendum_out(each) for each in room.reports.addenda(study_id)],
        deliveries=[wire.DeliveryOut(**_plain(each)) for each in room.outbox.of_study(study_id)],
        notes=[
            *_late(room, study_id, images, drafts, signature),
            *_notes(study, images, drafts[-1] if drafts else None, shown.text if shown else "", bool(signature)),
        ],
    )


def _late(
    room: ReadingRoom,
    study_id: str,
    images: tuple[ReadingImage, ...],
    drafts: list[Draft],
    signature: Signature | None,
) -> Iterator[str]:
    """What came too late to be seen by who wrote or signed."""
    moments = [(signature.signed_at, "the report was signed, and is no part of it")] if signature else []
    if not signature and drafts:
        moments = [(drafts[-1].created_at, "the draft was written; ask for another draft")]
    for moment, what in moments:
        late = images[len(room.studies.images(study_id, until=moment)) :]
        if late:
            names = ", ".join(str(image.place + 1) for image in late)
            yield f"{'Image' if len(late) == 1 else 'Images'} {names} came after {what}."


def _notes(
    study: ReadingStudy, images: tuple[ReadingImage, ...], draft: Draft | None, text: str, is_signed: bool
) -> list[str]:
    notes = [
        f"image {image.place + 1}: the file says that text is written into its pixels; it may name the patient"
        for image in images
        if image.burned_in
    ]
    if any(image.kind == "DICOM" for image in images) and not (study.patient_name or study.patient_id):
        notes.append("The images name no patient, or one longer than DICOM allows: make sure who it is.")
    if draft is not None and not draft.finished:
        notes.append("The draft reached the length limit without ending by itself.")
    if fields := sorted({part.field.replace("_", " ") for part in names_in(text, study)}):
        advice = "" if is_signed else ": take it out unless it is meant"
        notes.append(f"The report repeats the {' and the '.join(fields)}{advice}.")
    return notes


def evidence_out(number: int, found: FoundEvidence) -> wire.EvidenceOut:
    """What a sentence rests on."""
    return wire.EvidenceOut(
        sentence=number,
        text=found.text,
        log_prob=found.log_prob,
        maps={
            name: [wire.GridOut(place=each.place, grid=[[*row] for row in each.grid]) for each in maps]
            for name, maps in found.maps.items()
        },
        unit={name: UNITS[name] for name in found.maps},
        clues=[
            wire.ClueEffectOut(
                disease=clue.disease,
                title=title(clue.disease),
                told=clue.told,
                probability=clue.probability,
                effect=clue.effect,
                redone_on=clue.redone_on,
                redone_off=clue.redone_off,
            )
            for clue in found.clues
        ],
    )
