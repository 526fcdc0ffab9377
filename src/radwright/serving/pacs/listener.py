"""What is done with an image that a PACS sends: told what it is, kept durably, acknowledged; or refused with a reason.

The order makes a kill at any moment harmless: the bytes are on disk before the database tells of them, and both before
the sender is told that it may forget the image. What was not acknowledged comes again, and changes nothing then.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum

from radwright.errors import OutputError, StoreError
from radwright.serving.intake import Described, Limits, RefusalKind, RefusedImageError, clean_uid
from radwright.serving.known import image_digest, is_own_report, patient_of_study
from radwright.serving.pacs.part10 import dicom_file
from radwright.serving.pacs.told import Tally, tell
from radwright.serving.refusals import ConflictError
from radwright.serving.room import ReadingRoom

_STORAGE = "1.2.840.10008.5.1.4.1.1."
SOP_CLASSES = tuple(_STORAGE + end for end in ("1", "1.1", "7", "7.2", "7.3"))
"""CR, DX for presentation, secondary capture (single frame; gray, one frame in the multi-frame classes). Not DX for
processing: it is not meant to be looked at, and comes beside the one that is."""
REPORT_CLASS = _STORAGE + "88.11"
"""Basic Text SR. A PACS that forwards whole studies sends our own reports back: those we have. No others are taken."""
TRANSFER_SYNTAXES = tuple(
    f"1.2.840.10008.1.2{end}"
    for end in (".1", "", ".2", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91", ".5")
)
"""Those asked for of our decoder; what it does not read on a machine is not offered there."""


Describe = Callable[[bytes, str], Described]
"""As ``radwright.serving.inspecting.Inspector.describe``."""


class Status(IntEnum):
    """Statuses of a C-STORE response (PS3.4 B.2.3); the last digits of a C... are ours."""

    SUCCESS = 0x0000
    FAILED = 0x0110
    NO_RESOURCES = 0xA700
    NOT_AS_ANNOUNCED = 0xA900
    UNREADABLE = 0xC001
    NO_CHEST_RADIOGRAPH = 0xC002
    UNFIT = 0xC003
    TOO_LARGE = 0xC004
    OTHER_BYTES = 0xC005
    OTHER_PATIENT = 0xC006
    NO_STUDY = 0xC007


_REFUSALS: dict[RefusalKind, Status] = {
    "too large": Status.TOO_LARGE,
    "unreadable": Status.UNREADABLE,
    "no chest radiograph": Status.NO_CHEST_RADIOGRAPH,
    "unfit": Status.UNFIT,
    "damaged": Status.UNREADABLE,
}
_WORDS: dict[RefusalKind, str] = {
    "too large": "more bytes than allowed",
    "unreadable": "no readable DICOM object",
    "no chest radiograph": "by its tags no chest radiograph",
    "unfit": "colour, several frames, no or too many pixels",
    "damaged": "pixels cannot be decoded",
}


@dataclass(frozen=True, slots=True)
class Received:
    """An object as it came.

    Attributes:
        dataset: encoded; where it is longer than allowed, cut one byte behind the limit.
        sop_class_uid, sop_instance_uid: as the sender announced them.
        transfer_syntax_uid: how it is encoded.
        calling_ae: who sent it.
    """

    dataset: bytes = field(repr=False)
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sender is told.

    Attributes:
        status: of the C-STORE response.
        comment: why not, at most 64 characters, nothing of the patient; empty for success.
    """

    status: Status
    comment: str = ""


class Listener:
    """Takes objects into a reading room; called from many threads.

    Args:
        room: where they are kept.
        limits: of one image.
        describe: looks at an image; bytes and a name -> what it is. Called one at a time, so that memory is bounded
            whatever is sent at once: decoding takes many times an image's bytes.
        tally: gets ``received``, ``again`` and ``refused``.
    """

    def __init__(self, room: ReadingRoom, limits: Limits, describe: Describe, tally: Tally | None = None) -> None:
        self._room = room
        self._limits = limits
        self._describe = describe
        self._tally = tally or Tally()
        self._decoding = threading.Lock()

    def store(self, received: Received) -> Answer:
        """Keep an object, or say why not; never raises."""
        try:
            return self._store(received)
        except (OutputError, sqlite3.OperationalError) as error:
            # Full, read-only or busy for long: not the object's fault, so the sender may try again later.
            tell("cannot store", level=logging.ERROR, image=_told_uid(received), why=type(error).__name__)
            self._tally.add("refused")
            return Answer(Status.NO_RESOURCES, "cannot be written now, try again later")
        except Exception as error:  # a bug, or an object that breaks a library: the next one must still get in
            tell("failed on image", level=logging.ERROR, image=_told_uid(received), why=type(error).__name__)
            self._tally.add("refused")
            return Answer(Status.FAILED, "failed, see the log of the receiver")
        finally:
            # A connection per thread would stay open as long as the association does.
            self._room.database.close()

    def _store(self, received: Received) -> Answer:
        uid, announced = clean_uid(received.sop_instance_uid), clean_uid(received.sop_class_uid)
        if len(received.dataset) > self._limits.max_bytes:
            return self._refused(received, Status.TOO_LARGE, _WORDS["too large"])
        if announced == REPORT_CLASS and is_own_report(self._room.database, uid):
            return self._again(received, is_same=True)
        if not uid or announced not in SOP_CLASSES:
            return self._refused(received, Status.NOT_AS_ANNOUNCED, "SOP class or instance UID is none that is taken")
        data = dicom_file(
            received.dataset,
            sop_class_uid=announced,
            sop_instance_uid=uid,
            transfer_syntax_uid=received.transfer_syntax_uid,
        )
        if (known := image_digest(self._room.database, uid)) is not None:
            is_same = known == hashlib.sha256(data).hexdigest() or self._is_same_picture(known, data, uid)
            return self._again(received, is_same=is_same)
        try:
            with self._decoding:
                described = self._describe(data, f"{uid}.dcm")
        except RefusedImageError as error:
            return self._refused(received, _REFUSALS[error.kind], _WORDS[error.kind])
        image, study = described.image, described.study
        if (image.sop_instance_uid, image.sop_class_uid) != (uid, announced):
            return self._refused(received, Status.NOT_AS_ANNOUNCED, "the object has other UIDs than announced")
        if not study.study_uid:
            return self._refused(received, Status.NO_STUDY, "the object has no valid StudyInstanceUID")
        return self._keep(received, described, data)

    def _is_same_picture(self, known: str, data: bytes, uid: str) -> bool:
        """Whether an image that is packed otherwise (transfer syntax, file header) shows and says the same."""
        try:
            with self._decoding:
                here, there = (self._describe(each, f"{uid}.dcm") for each in (self._room.blobs.get(known), data))
        except (RefusedImageError, StoreError):
            return False
        return bool(here.picture) and (here.picture, here.study) == (there.picture, there.study)

    def _keep(self, received: Received, described: Described, data: bytes) -> Answer:
        room, study = self._room, replace(described.study, origin="dicom")
        patient = patient_of_study(room.database, study.study_uid)
        if patient and study.patient_id and patient != study.patient_id:
            return self._refused(received, Status.OTHER_PATIENT, "the study is here with another PatientID")
        room.blobs.put(data)
        try:
            study_id = room.studies.receive(study, described.image, actor=f"pacs:{received.calling_ae}")
        except ConflictError:  # another object of this UID came at the same time, and was first
            return self._again(received, is_same=False)
        self._tally.add("received")
        tell("image received", level=logging.DEBUG, study=study_id, sender=received.calling_ae)
        if (state := room.studies.study(study_id).state) != "receiving":
            tell("late image kept", level=logging.WARNING, study=study_id, state=state, why='"the report stays"')
        return Answer(Status.SUCCESS)

    def _again(self, received: Received, *, is_same: bool) -> Answer:
        if not is_same:
            return self._refused(received, Status.OTHER_BYTES, "this SOPInstanceUID is here with other content")
        self._room.studies.came_again(clean_uid(received.sop_instance_uid), actor=f"pacs:{received.calling_ae}")
        self._tally.add("again")
        return Answer(Status.SUCCESS)

    def _refused(self, received: Received, status: Status, why: str) -> Answer:
        self._tally.add("refused")
        tell(
            "image refused",
            level=logging.WARNING,
            image=_told_uid(received),
            sender=received.calling_ae,
            status=f"{status:04X}",
            why=f'"{why}"',
        )
        return Answer(status, why)


def _told_uid(received: Received) -> str:
    """The SOPInstanceUID if it is one: a peer could send any text for it."""
    return clean_uid(received.sop_instance_uid) or "invalid"
