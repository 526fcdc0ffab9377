"""What goes over HTTP, as pydantic models: they check what comes in and describe both ways in OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from radwright.serving.records import Role, StudyState, VersionKind
from radwright.serving.reports import MAX_CHARACTERS

StudyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
MAX_CLUES = 64
LARGEST = 2**31 - 1


class Sent(BaseModel):
    """What a client sends: nothing that is not known."""

    model_config = ConfigDict(extra="forbid")


class FailureDetail(BaseModel):
    """Why a request was refused."""

    code: str
    """For programs: ``not_found``, ``conflict``, ``queue_full``, ``bad_image``, ``invalid``, ``too_large`` ..."""
    message: str
    """For people."""
    field: str | None = None
    """Where in the request."""


class Failure(BaseModel):
    """The body of every answer that is an error."""

    error: FailureDetail


class TokenIn(Sent):
    """Signing in."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=256)]


class SessionOut(BaseModel):
    """Who asks."""

    signed_in: bool
    needs_token: bool
    name: str | None = None
    role: Role | None = None


class ModelOut(BaseModel):
    """Which network writes."""

    name: str
    method: str
    weights: str
    radwright: str
    decoding: dict[str, Any]
    settings: dict[str, Any]


class DiseaseOut(BaseModel):
    """A disease that the network can be told as a clue."""

    name: str
    title: str


class ServedModelOut(BaseModel):
    """The network that is served."""

    model: ModelOut
    told_clues: bool
    diseases: list[DiseaseOut]
    label: str
    calibrated: bool


class FindingOut(BaseModel):
    """A finding of the ontology."""

    finding: str
    title: str


class ListedFindingOut(FindingOut):
    """A finding that the worklist can be filtered by, and how many reports assert it now."""

    num_studies: int


class RowFindingOut(FindingOut):
    """A finding that a report asserts; the probability is the draft's calibrated one, where there is any."""

    probability: float | None


class StudyRowOut(BaseModel):
    """A study on the worklist."""

    id: str
    state: StudyState
    reason: str
    patient_id: str
    patient_name: str
    accession: str
    study_date: str
    description: str
    indication: str
    origin: Literal["upload", "dicom"]
    received_at: str
    updated_at: str
    num_images: int
    thumbnail: str | None
    findings: list[RowFindingOut]
    risk: float | None
    urgency: float
    signed_by: str | None
    signed_at: str | None


class StudyFactsOut(StudyRowOut):
    """A study with who was examined when, as DICOM has it."""

    birth_date: str
    sex: str
    study_time: str
    study_uid: str
    referring_physician: str


class WorklistOut(BaseModel):
    """Part of the worklist."""

    total: int
    studies: list[StudyRowOut]


class ImageOut(BaseModel):
    """An image of a study."""

    place: int
    position: str
    width: int
    height: int
    kind: str
    name: str
    burned_in: bool
    pixels: str
    thumbnail: str


class DraftSentenceOut(BaseModel):
    """A sentence of a draft."""

    text: str
    log_prob: float | None
    findings: list[str]
    kept: bool


class DraftFindingOut(FindingOut):
    """A finding that a draft asserts."""

    sentence: int
    probability: float | None
    kept: bool


class DraftOut(BaseModel):
    """A draft as the network wrote it."""

    number: int
    text: str
    sentences: list[DraftSentenceOut]
    findings: list[DraftFindingOut]
    clues: dict[str, float] | None
    forced: dict[str, bool]
    score: float
    finished: bool
    model: ModelOut
    created_at: str


class DraftRowOut(BaseModel):
    """A draft in the list of drafts."""

    number: int
    created_at: str
    forced: dict[str, bool]


class VersionRowOut(BaseModel):
    """A version of a report, without its text."""

    number: int
    author: str
    kind: VersionKind
    based_on: int
    draft: int
    created_at: str


class VersionOut(VersionRowOut):
    """A version of a report."""

    text: str


class SignatureOut(BaseModel):
    """Who signed which version."""

    version: int
    observer: str
    organization: str
    signed_at: str


class AddendumOut(SignatureOut):
    """What was added to a signed report, who signed it, and as which version."""

    text: str


class DeliveryOut(BaseModel):
    """A report on its way to a PACS; ``sent_at`` is null while it waits."""

    version: int
    signed: bool
    destination: str
    attempts: int
    sent_at: str | None
    error: str


class StudyOut(BaseModel):
    """A study with everything that is known of it."""

    study: StudyFactsOut
    images: list[ImageOut]
    draft: DraftOut | None
    drafts: list[DraftRowOut]
    drafting: bool
    versions: list[VersionRowOut]
    report: VersionOut | None
    signature: SignatureOut | None
    addenda: list[AddendumOut]
    deliveries: list[DeliveryOut]
    notes: list[str]


class UploadedOut(BaseModel):
    """A study that was taken in."""

    study: StudyRowOut


class VersionsOut(BaseModel):
    """All versions of a report."""

    versions: list[VersionOut]


class SavedOut(BaseModel):
    """The version that was made."""

    version: VersionOut


class SignedOut(BaseModel):
    """The signature that was made."""

    signature: SignatureOut


class CluesIn(Sent):
    """Clues that a reader forces."""

    on: list[Name] = Field(default=[], max_length=MAX_CLUES)
    off: list[Name] = Field(default=[], max_length=MAX_CLUES)


class DraftIn(Sent):
    """Another draft."""

    clues: CluesIn = CluesIn()


class ReportIn(Sent):
    """An edited report."""

    text: Annotated[str, StringConstraints(max_length=MAX_CHARACTERS)]
    based_on: int = Field(ge=0, le=LARGEST)
    author: Name | None = None
    """Who wrote it, where a client knows: nobody else's session may save it under another name."""


class SignIn(Sent):
    """A signature."""

    version: int = Field(ge=1, le=LARGEST)
    observer: Name | None = None
    """The radiologist's name, where no tokens are in use; else the token's."""


class AddendumIn(Sent):
    """An addendum to a signed report."""

    text: Annotated[str, StringConstraints(max_length=MAX_CHARACTERS)]
    based_on: int = Field(ge=1, le=LARGEST)
    """The newest version that was read: the report's, or the last addendum's."""
    observer: Name | None = None
    """The radiologist's name, where no tokens are in use; else the token's."""


class AddedOut(BaseModel):
    """The addendum that was made."""

    addendum: AddendumOut


class WithdrawIn(Sent):
    """Why a study is taken off the worklist."""

    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class GridOut(BaseModel):
    """A map on one image; its rows cover exactly the image."""

    place: int
    grid: list[list[float]]


class ClueEffectOut(BaseModel):
    """What a clue does to a sentence."""

    disease: str
    title: str
    told: bool
    probability: float
    effect: float
    redone_on: str | None
    redone_off: str | None


class EvidenceOut(BaseModel):
    """What a sentence rests on."""

    sentence: int
    text: str
    log_prob: float
    maps: dict[str, list[GridOut]]
    unit: dict[str, str]
    clues: list[ClueEffectOut]


class FindingsOut(BaseModel):
    """What reports can be asked for."""

    findings: list[ListedFindingOut]


class AuditEntryOut(BaseModel):
    """A line of the audit log."""

    number: int
    at: str
    actor: str
    action: str
    study: str
    details: dict[str, Any]
    previous: str
    digest: str


class AuditOut(BaseModel):
    """Part of the audit log."""

    entries: list[AuditEntryOut]


class HealthOut(BaseModel):
    """Whether the server works."""

    status: Literal["ok", "draining", "failing"]
    radwright: str
    model: str
    waiting: int
