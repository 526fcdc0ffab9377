"""What the reading room keeps of a study: its images, drafts, the versions of its report, and who signed it.

Plain values that the store, the HTTP interface, the exports and the PACS side all speak. Times are ISO 8601 in UTC
(``2026-03-01T08:15:00.123Z``); DICOM texts stand as they came, empty where they are not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

LABEL = "AI draft, research"
"""What every text says of itself that no radiologist has signed."""

StudyState = Literal["receiving", "waiting", "drafted", "failed", "signed", "withdrawn"]
STUDY_STATES: tuple[StudyState, ...] = ("receiving", "waiting", "drafted", "failed", "signed", "withdrawn")
"""Images still come in; no draft yet; a draft to be checked; no draft can be had; signed; here by mistake."""
Origin = Literal["upload", "dicom"]
VersionKind = Literal["draft", "edit", "addendum"]
Role = Literal["reader", "radiologist", "admin"]
ROLES: tuple[Role, ...] = ("reader", "radiologist", "admin")
"""Each may do what those before it may: read; edit and sign; read the audit log."""


@dataclass(frozen=True, slots=True)
class ReadingStudy:
    """A study in the reading room.

    Attributes:
        id: 16 hexadecimal digits, drawn at random; says nothing about the patient.
        state: one of ``STUDY_STATES``.
        received_at: when its first image came.
        updated_at: when anything of it changed last.
        origin: how it came: over HTTP, or by DICOM C-STORE.
        reason: why there is no draft, where it failed, or why it was withdrawn and by whom; else empty.
        indication: why it was asked for; the network may read it.
        description: what was done (StudyDescription).
        accession, patient_id, patient_name, birth_date, sex, study_uid, study_id, study_date, study_time,
            referring_physician: DICOM's values.
    """

    id: str
    state: StudyState
    received_at: str
    updated_at: str
    origin: Origin = "upload"
    reason: str = ""
    indication: str = ""
    description: str = ""
    accession: str = ""
    patient_id: str = ""
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    study_uid: str = ""
    study_id: str = ""
    study_date: str = ""
    study_time: str = ""
    referring_physician: str = ""


@dataclass(frozen=True, slots=True)
class ReadingImage:
    """One image of a study, as it was received.

    Attributes:
        place: 0, 1, ... in the order of arrival.
        digest: SHA-256 of the encoded bytes, in hexadecimal: where they are kept.
        name: what the sender called it, its last part only; shown, never opened.
        kind: file type, told from the bytes.
        position: frontal, lateral or unknown.
        width, height: in pixels, upright.
        sop_class_uid, sop_instance_uid, series_uid: of a DICOM image, else empty.
        burned_in: whether the file says that text is written into its pixels.
    """

    place: int
    digest: str
    name: str
    kind: Literal["PNG", "JPEG", "DICOM"]
    position: Literal["frontal", "lateral", "unknown"]
    width: int
    height: int
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    series_uid: str = ""
    burned_in: bool = False


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which network wrote a draft, and how.

    Attributes:
        name: what to call it: the run's folder.
        method: ``vlci``, ``trrg``, ...
        weights: SHA-256 of its weights file, in hexadecimal.
        radwright: version of this software.
        decoding: how the draft was read out.
        settings: what else it depends on (clues, level of risk), as JSON-able values.
    """

    name: str
    method: str
    weights: str
    radwright: str
    decoding: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DraftSentence:
    """One sentence of a draft.

    Attributes:
        text: as it was written.
        log_prob: natural log of its probability behind the words before it; None where nobody asked.
        findings: concepts of the ontology that it asserts.
        kept: False where the calibrated bar marks it or leaves it out.
    """

    text: str
    log_prob: float | None = None
    findings: tuple[str, ...] = ()
    kept: bool = True


@dataclass(frozen=True, slots=True)
class DraftFinding:
    """A finding that a draft asserts.

    Attributes:
        finding: a concept of the ontology.
        sentence: place of its sentence.
        probability: that it is right, by the checkpoint's calibration; None where it has none.
        kept: False where the calibrated bar marks its sentence or leaves it out.
    """

    finding: str
    sentence: int
    probability: float | None = None
    kept: bool = True


@dataclass(frozen=True, slots=True)
class Draft:
    """What the network wrote; never changed, a new one gets the next number.

    Attributes:
        number: 1, 2, ...
        text: the draft, sentence-cased; may be empty.
        sentences: the same, sentence by sentence.
        findings: what it asserts, in the order of sentences.
        clues: disease -> probability as the network was told; None of a network that is told none.
        forced: disease -> whether a reader told the network of it or kept it from it.
        score: summed log-probability (natural log).
        finished: whether it ended by itself.
        model: who wrote it.
        created_at: when.
        token_ids: the draft as the network wrote it, without BOS and EOS: what evidence is sought for.
    """

    number: int
    text: str
    sentences: tuple[DraftSentence, ...]
    findings: tuple[DraftFinding, ...]
    clues: Mapping[str, float] | None
    forced: Mapping[str, bool]
    score: float
    finished: bool
    model: ModelIdentity
    created_at: str
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Version:
    """One state of a study's report; never changed.

    Attributes:
        number: 1, 2, ...
        text: the report.
        author: who wrote it; the network's name for a draft.
        kind: the draft as it came, a person's edit, or what was added, by itself, to a signed report.
        based_on: the version that it was made from; 0 for none.
        draft: number of the draft that it goes back to; 0 for none.
        created_at: when.
    """

    number: int
    text: str
    author: str
    kind: VersionKind
    based_on: int
    draft: int
    created_at: str


@dataclass(frozen=True, slots=True)
class Signature:
    """Who made a version the report of record, or added one to it.

    Attributes:
        version: its number.
        text: its text.
        observer: the radiologist's name.
        organization: where they work; may be empty.
        signed_at: when.
    """

    version: int
    text: str
    observer: str
    organization: str
    signed_at: str


@dataclass(frozen=True, slots=True)
class ReportedStudy:
    """A study with its report, as the exports take it.

    Attributes:
        study: it.
        images: in order.
        text: the report: the signed one, or an unsigned draft.
        signature: None while nobody has signed: an export then says ``LABEL`` and is neither complete nor verified.
        draft: the draft that the report goes back to; None where there was none.
        document_uid: SOPInstanceUID of its structured report; the same for every export of one text.
        series_uid: of the series that its structured reports stand in.
        written_at: when the text was written (signed, added to, or drafted).
        addenda: what was added to the signed text, each signed, in order.
        predecessor: (SOPInstanceUID, series UID) of the document that this one with its last addendum stands in for.
    """

    study: ReadingStudy
    images: tuple[ReadingImage, ...]
    text: str
    signature: Signature | None
    draft: Draft | None
    document_uid: str
    series_uid: str
    written_at: str
    addenda: tuple[Signature, ...] = ()
    predecessor: tuple[str, str] | None = None
